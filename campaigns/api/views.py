"""The endpoints of campaigns and their runs: read the request, call a service, answer."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, quote_etag
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.camel import StrictSerializer
from campaigns.api.campaigns import CampaignConfig, CampaignInput, CampaignRow, with_latest_run
from campaigns.api.errors import flatten
from campaigns.api.pagination import HistoryPaged, RunsPaged
from campaigns.api.runs import Triggered, first_recommendations, present_run, present_runs
from campaigns.api.viewsets import TenantViewSet, find_row, read_body
from campaigns.models import Campaign, CampaignRun, RunFile
from campaigns.services.campaigns import (
    CampaignFields,
    create_campaign,
    find_faults,
    update_campaign,
)
from campaigns.services.files import open_file
from campaigns.services.runs import request_run
from executor.errors import Rejected

DETAIL_RUNS = 10


class CampaignViewSet(TenantViewSet):
    model = Campaign
    pagination_class = RunsPaged

    def get_queryset(self) -> QuerySet[Campaign]:
        return with_latest_run(self.tenant)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(CampaignRow(page, many=True).data)

    def retrieve(self, request: Request, id: str) -> Response:
        campaign = self.get_object()
        runs = readable_runs(self).filter(campaign=campaign).order_by("-run_number")
        return Response(
            {
                **CampaignConfig(campaign).data,
                "runs": present_runs(self.tenant, runs[:DETAIL_RUNS]),
                "recommendations": first_recommendations(self.tenant, campaign),
            }
        )

    def create(self, request: Request) -> Response:
        fields = self.read_fields(request, Campaign(tenant=self.tenant), partial=False)
        campaign = create_campaign(self.tenant, fields)
        return Response(self.shown(campaign), status=201)

    def update(self, request: Request, id: str) -> Response:
        campaign = self.get_object()
        fields = self.read_fields(request, campaign, partial=True)
        return Response(self.shown(update_campaign(campaign, fields)))

    def read_fields(self, request: Request, campaign: Campaign, *, partial: bool) -> CampaignFields:
        """Return the fields of the body; raises Rejected with faults of type and value together."""
        if not isinstance(request.data, dict):
            raise Rejected("The body must be a JSON object.")
        reader = CampaignInput(partial=partial, context=self.get_serializer_context())
        fields, mistyped = reader.read_fields(request.data)
        if mistyped:
            others = find_faults(campaign, fields)
            faults = list(flatten(mistyped))
            faults += [fault for fault in others if fault[0].partition(".")[0] not in mistyped]
            raise Rejected.of(faults)
        return fields

    def shown(self, campaign: Campaign) -> Any:
        return CampaignConfig(self.get_queryset().get(pk=campaign.pk)).data


class HistoryViewSet(TenantViewSet):
    """The runs of one campaign."""

    model = Campaign
    pagination_class = HistoryPaged

    def list(self, request: Request, id: str) -> Response:
        runs = readable_runs(self).filter(campaign=self.get_object()).order_by("-run_number")
        page = self.paginate_queryset(runs)
        return self.get_paginated_response(present_runs(self.tenant, page or ()))

    def trigger(self, request: Request, id: str) -> Response:
        campaign = self.get_object()
        read_body(StrictSerializer, request)
        return Response(Triggered(request_run(campaign)).data, status=201)


class CampaignRunViewSet(TenantViewSet):
    model = CampaignRun

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return readable_runs(self)

    def retrieve(self, request: Request, id: str) -> Response:
        return Response(present_run(self.tenant, self.get_object()))


class TakesAnyAccept(BaseContentNegotiation):
    """A download is what it is, whatever media types the client prefers."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RunFileViewSet(TenantViewSet):
    model = CampaignRun
    content_negotiation_class = TakesAnyAccept

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return CampaignRun.objects.of(self.tenant)

    def download(self, request: Request, id: str, file: str) -> HttpResponseBase:
        return send(request, find_row(self.files(), file))

    def only_file(self, request: Request, id: str) -> HttpResponseBase:
        files = list(self.files()[:2])
        if len(files) != 1:
            raise NotFound(
                "This run has several files: name one." if files else "This run has no file yet."
            )
        return send(request, files[0])

    def files(self) -> QuerySet[RunFile]:
        return RunFile.objects.of(self.tenant).filter(run=self.get_object()).order_by("pk")


def readable_runs(view: TenantViewSet) -> QuerySet[CampaignRun]:
    """Runs of the caller's tenant with their files, without their bulky insides."""
    runs = CampaignRun.objects.of(view.tenant).defer("spec", "traceback")
    return runs.prefetch_related("files")


def send(request: Request, file: RunFile) -> HttpResponseBase:
    """Stream the file, or answer 304 to a client that has it."""
    etag = quote_etag(file.sha256)
    unchanged = get_conditional_response(request._request, etag=etag)
    if unchanged is not None:
        return unchanged
    try:
        pieces = open_file(file) if request.method == "GET" else iter(())
    except FileNotFoundError as error:
        raise NotFound("The file is no longer stored.") from error
    headers = {
        "Content-Disposition": content_disposition_header(True, file.name),
        "Content-Length": str(file.size_bytes),
        "ETag": etag,
    }
    return StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8", headers=headers)
