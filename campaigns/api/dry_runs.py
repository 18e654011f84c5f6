"""Dry runs: what a campaign would do, for the whole segment or a sample, without doing it."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.pagination import HistoryPaged
from campaigns.api.runs import RunSerializer, Triggered, readable_runs
from campaigns.api.runs_of_campaign import RUN_ID, RunOfCampaignViewSet
from campaigns.api.summaries import names_in, summary_parts
from campaigns.api.viewsets import find_row, read_body
from campaigns.models import CampaignRun
from campaigns.services.runs import request_dry_run
from kaireon.access.models import Tenant

MAX_SAMPLE = 2**31 - 1
ALL = "How many customers it decides about; null: all of the segment."


@extend_schema_field(
    {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLE, "description": f"{ALL} Default: null."}
)
class SampleSize(fields.Integer):
    pass


class DryRunInput(StrictSerializer):
    """What to try out."""

    sample = SampleSize(required=False, allow_null=True, min_value=1, max_value=MAX_SAMPLE)


@extend_schema_serializer(component_name="TriggeredDryRun")
class TriggeredDryRun(Triggered):
    """The answer to a trigger."""

    sample = SampleSize(allow_null=True)

    class Meta(Triggered.Meta):
        fields = [*Triggered.Meta.fields, "sample"]


@extend_schema_serializer(component_name="DryRun")
class DryRunSerializer(RunSerializer):
    """A dry run: how far it is and what it comes to. It has no files."""

    sample = SampleSize(allow_null=True)

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "sample"]


class DryRunViewSet(RunOfCampaignViewSet):
    pagination_class = HistoryPaged
    list_component = "DryRunHistory"

    @extend_schema(responses={200: DryRunSerializer})
    def list(self, request: Request, id: str) -> Response:
        """The dry runs of a campaign, by number from the last."""
        runs = readable_runs(self.tenant).filter(campaign=self.get_object(), dry_run=True)
        page = self.paginate_queryset(runs.order_by("-run_number"))
        return self.get_paginated_response(present_dry_runs(self.tenant, page or ()))

    @extend_schema(request=DryRunInput, responses={201: TriggeredDryRun})
    def trigger(self, request: Request, id: str) -> Response:
        """Have a run made that delivers nothing: no file, no contacts, only its results.

        A campaign that is paused can be tried out, too.
        """
        campaign = self.get_object()
        given = read_body(DryRunInput, request)
        run = request_dry_run(campaign, sample=given.get("sample"))
        return Response(TriggeredDryRun(run).data, status=201)

    @extend_schema(parameters=[RUN_ID], responses={200: DryRunSerializer})
    def retrieve(self, request: Request, id: str, runId: str) -> Response:
        """One dry run. Its results, events and explanations are found by its id as a run's are."""
        runs = readable_runs(self.tenant).filter(campaign=self.get_object(), dry_run=True)
        (shown,) = present_dry_runs(self.tenant, [find_row(runs, runId)])
        return Response(shown)


def present_dry_runs(tenant: Tenant, runs: Iterable[CampaignRun]) -> list[dict[str, Any]]:
    """Show the dry runs with names resolved, in two queries whatever their number."""
    runs = list(runs)
    names = names_in(tenant, (part for run in runs for part in summary_parts(run.summary)))
    rows = DryRunSerializer(runs, many=True, context={"names": names}).data
    return [dict(row) for row in rows]
