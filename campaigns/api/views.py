"""The documented endpoints of campaigns: read the request, call a service, answer."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import examples
from campaigns.api.camel import StrictSerializer
from campaigns.api.campaign_input import RUN_OR_CAMPAIGN, CampaignInput, ExecuteInline, refuse
from campaigns.api.campaigns import (
    CampaignConfig,
    CampaignDetail,
    CampaignRow,
    with_latest_run,
)
from campaigns.api.filters import FilterSet, OneOf
from campaigns.api.pagination import HistoryPaged, RunsPaged
from campaigns.api.results import present_results
from campaigns.api.runs import (
    Executing,
    RunDetail,
    RunSerializer,
    Triggered,
    present_run,
    present_runs,
    readable_runs,
)
from campaigns.api.viewsets import ResourceViewSet, TenantViewSet, find_row, read_body
from campaigns.models import Campaign, CampaignRun, Recommendation, Status
from campaigns.services.campaigns import (
    CampaignFields,
    create_campaign,
    find_faults,
    update_campaign,
)
from campaigns.services.deletion import delete_campaign
from campaigns.services.execution import execute_campaign, execute_pending
from campaigns.services.progress import COMPLETED
from campaigns.services.runs import request_run
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.models import Tenant

DETAIL_RUNS = 10
DETAIL_RESULTS = 100
FORCE = OpenApiParameter(
    "force",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    description="Cancel a run in progress first; without it that is a 409.",
)
EITHER_ID = OpenApiParameter(
    "id", {"type": "string", "pattern": RUN_OR_CAMPAIGN}, OpenApiParameter.PATH
)
CAMPAIGN_OR_RUN = PolymorphicProxySerializer(
    component_name="CampaignOrRun",
    serializers=[CampaignDetail, RunDetail],
    resource_type_field_name=None,
)


class CampaignFilter(FilterSet):
    status = OneOf("status", Status.values)


class CampaignViewSet(ResourceViewSet):
    """Campaigns: which flow, for which segment, when, how much, and into which file."""

    model = Campaign
    pagination_class = RunsPaged
    filterset_class = CampaignFilter
    search_fields = ("name", "description")
    query_params = {"destroy": ("force",)}

    def get_queryset(self) -> QuerySet[Campaign]:
        return with_latest_run(self.tenant)

    @extend_schema(responses={200: CampaignRow}, examples=[examples.LISTED])
    def list(self, request: Request) -> Response:
        """Campaigns, newest first, each with its latest run."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(CampaignRow(page, many=True).data)

    @extend_schema(parameters=[EITHER_ID], responses={200: CAMPAIGN_OR_RUN})
    def retrieve(self, request: Request, id: str) -> Response:
        """A campaign, or the run of this id, for whoever follows what execute-inline began."""
        if is_run(id):
            run = find_row(readable_runs(self.tenant), id)
            return Response(present_run(self.tenant, run))
        campaign = self.get_object()
        runs = readable_runs(self.tenant).filter(campaign=campaign, dry_run=False)
        runs = runs.order_by("-run_number")
        return Response(
            {
                **CampaignConfig(campaign).data,
                "runs": present_runs(self.tenant, runs[:DETAIL_RUNS]),
                **latest_results(self.tenant, campaign),
            }
        )

    @extend_schema(
        request=CampaignInput, responses={201: CampaignConfig}, examples=[examples.CREATE]
    )
    def create(self, request: Request) -> Response:
        """Make a campaign; this starts nothing."""
        fields = self.read_fields(request.data, Campaign(tenant=self.tenant), partial=False)
        campaign = create_campaign(self.tenant, fields)
        return Response(self.shown(campaign), status=201)

    @extend_schema(request=CampaignInput, responses={200: CampaignConfig})
    def update(self, request: Request, id: str) -> Response:
        """Change any subset of the fields, by PUT and PATCH alike."""
        with transaction.atomic():
            campaign = self.get_locked_object()
            expected, data = self.read_version(request)
            fields = self.read_fields(data, campaign, partial=True)
            update_campaign(campaign, fields, expected)
        return Response(self.shown(campaign))

    @extend_schema(parameters=[FORCE], responses={204: None})
    def destroy(self, request: Request, id: str) -> Response:
        """Delete a campaign with its runs, their results and files."""
        delete_campaign(self.get_object(), force=read_flag(request, "force"))
        return Response(status=204)

    @extend_schema(
        request=ExecuteInline,
        responses={200: Executing},
        examples=[examples.EXECUTE, examples.EXECUTING],
    )
    def execute_inline(self, request: Request) -> Response:
        """Have a run executed with the given flow and segment; answers before any work."""
        given = read_body(ExecuteInline, request)
        targets = given["flow"], given["segment"]
        if is_run(given["run_id"]):
            runs = CampaignRun.objects.of(self.tenant).filter(dry_run=False)
            run = find_row(runs, given["run_id"])
            run = execute_pending(run, *targets)
        else:
            campaign = find_row(Campaign.objects.of(self.tenant), given["run_id"])
            run = execute_campaign(campaign, *targets)
        return Response({"status": "executing", "runId": run.public_id})

    def read_fields(self, data: Any, campaign: Campaign, *, partial: bool) -> CampaignFields:
        """Return the fields of the body; raises Rejected with faults of type and value together."""
        if not isinstance(data, Mapping):
            raise Rejected("The body must be a JSON object.")
        reader = CampaignInput(partial=partial, context=self.get_serializer_context())
        fields, mistyped = reader.read_fields(data)
        if mistyped:
            refuse(mistyped, find_faults(campaign, fields))
        return fields

    def shown(self, campaign: Campaign) -> Any:
        return CampaignConfig(self.get_queryset().get(pk=campaign.pk)).data


class HistoryViewSet(TenantViewSet):
    """The runs of one campaign."""

    model = Campaign
    pagination_class = HistoryPaged
    list_component = "RunHistory"

    @extend_schema(responses={200: RunSerializer})
    def list(self, request: Request, id: str) -> Response:
        """The runs of a campaign, by number from the last."""
        runs = readable_runs(self.tenant).filter(campaign=self.get_object(), dry_run=False)
        page = self.paginate_queryset(runs.order_by("-run_number"))
        return self.get_paginated_response(present_runs(self.tenant, page or ()))

    @extend_schema(request=None, responses={201: Triggered}, examples=[examples.TRIGGERED])
    def trigger(self, request: Request, id: str) -> Response:
        """Make a run of the campaign and have it executed."""
        campaign = self.get_object()
        read_body(StrictSerializer, request)
        return Response(Triggered(request_run(campaign)).data, status=201)


def is_run(public_id: object) -> bool:
    return ids.decode("CampaignRun", public_id) is not None


def read_flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return text == "true"


def latest_results(tenant: Tenant, campaign: Campaign) -> dict[str, Any]:
    """What the first customers by key got from the latest finished run, and where the rest is."""
    runs = CampaignRun.objects.of(tenant).filter(campaign=campaign, dry_run=False)
    finished = runs.filter(status__in=COMPLETED).only("tenant_id").order_by("-run_number").first()
    if finished is None:
        return {"recommendations": [], "resultsUrl": None}
    rows = Recommendation.objects.filter(run_id=finished.pk).order_by("customer_key", "rank")
    return {
        "recommendations": present_results(tenant, rows[:DETAIL_RESULTS]),
        "resultsUrl": reverse("run-results", args=[finished.public_id]),
    }
