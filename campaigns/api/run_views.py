"""The endpoints of runs: looked at, paused, resumed, cancelled, retried, and their files."""

from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, quote_etag
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.camel import StrictSerializer
from campaigns.api.filters import FilterSet, OneOf, PublicIdFilter
from campaigns.api.runs import (
    Event,
    File,
    RunDetail,
    RunSerializer,
    Triggered,
    present_run,
    present_runs,
    readable_runs,
)
from campaigns.api.viewsets import TenantViewSet, find_row, read_body
from campaigns.models import Campaign, CampaignRun, RunEvent, RunFile
from campaigns.services.cancellation import cancel_run
from campaigns.services.files import content_type, open_file
from campaigns.services.pausing import pause_run, resume_run
from campaigns.services.retrying import retry
from kaireon import ids


class RunFilter(FilterSet):
    campaignId = PublicIdFilter("campaign_id", Campaign)
    status = OneOf("status", CampaignRun.Status.values)


class CampaignRunViewSet(TenantViewSet):
    """Runs of all campaigns."""

    model = CampaignRun
    filterset_class = RunFilter
    orderings = {"createdAt": "created_at", "runNumber": "run_number"}
    default_ordering = ("-created_at", "-pk")

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return readable_runs(self.tenant)

    @extend_schema(responses={200: RunSerializer})
    def list(self, request: Request) -> Response:
        """Runs of all campaigns, newest first."""
        runs = self.get_queryset().filter(dry_run=False)
        page = self.paginate_queryset(self.filter_queryset(runs))
        return self.get_paginated_response(present_runs(self.tenant, page or ()))

    @extend_schema(responses={200: RunDetail})
    def retrieve(self, request: Request, id: str) -> Response:
        """One run with its latest events."""
        return Response(present_run(self.tenant, self.get_object()))

    @extend_schema(request=None, responses={200: RunDetail})
    def cancel(self, request: Request, id: str) -> Response:
        """End a run that has not begun; have one that has stopped by its worker."""
        run = self.get_object()
        read_body(StrictSerializer, request)
        cancel_run(run)
        return Response(present_run(self.tenant, self.get_object()))

    @extend_schema(request=None, responses={200: RunDetail})
    def pause(self, request: Request, id: str) -> Response:
        """Have a pending or running run wait until it is resumed: chunks in work are ended."""
        run = self.get_object()
        read_body(StrictSerializer, request)
        pause_run(run)
        return Response(present_run(self.tenant, self.get_object()))

    @extend_schema(request=None, responses={200: RunDetail})
    def resume(self, request: Request, id: str) -> Response:
        """Have a paused run go on where it was."""
        run = self.get_object()
        read_body(StrictSerializer, request)
        resume_run(run)
        return Response(present_run(self.tenant, self.get_object()))

    @extend_schema(request=None, responses={200: Triggered, 201: Triggered})
    def retry(self, request: Request, id: str) -> Response:
        """Have the chunks done again that a run gave up, or a new run for one that failed.

        200 with the same run, which keeps all it has delivered and adds to it, where it ended with
        errors; 201 with the new run where it failed or was cancelled.
        """
        run = self.get_object()
        read_body(StrictSerializer, request)
        found = retry(run)
        return Response(Triggered(found).data, status=200 if found == run else 201)


class RunEventViewSet(TenantViewSet):
    """What happened to one run, oldest first."""

    model = CampaignRun
    orderings = {"at": "at"}
    default_ordering = ()

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return CampaignRun.objects.of(self.tenant).only("tenant_id")

    @extend_schema(responses={200: Event})
    def list(self, request: Request, id: str) -> Response:
        page = self.paginate_queryset(RunEvent.objects.filter(run=self.get_object()))
        return self.get_paginated_response(Event(page, many=True).data)


class TakesAnyAccept(BaseContentNegotiation):
    """A download is what it is, whatever media types the client prefers."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RunFileViewSet(TenantViewSet):
    """The files of one run."""

    model = CampaignRun
    orderings = {"createdAt": "created_at", "name": "name"}
    default_ordering = ()

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return CampaignRun.objects.of(self.tenant).only("tenant_id")

    @extend_schema(responses={200: File})
    def list(self, request: Request, id: str) -> Response:
        page = self.paginate_queryset(self.files())
        return self.get_paginated_response(File(page, many=True).data)

    def files(self) -> QuerySet[RunFile]:
        return RunFile.objects.of(self.tenant).filter(run=self.get_object()).order_by("pk")


#: Octets come first: a client that picks one of these must not change a byte.
CONTENTS: dict[str, Any] = {
    "application/octet-stream": OpenApiTypes.BINARY,
    "text/csv": OpenApiTypes.BINARY,
    "application/json": {"type": "array", "items": {"type": "object"}},
    "application/vnd.apache.parquet": OpenApiTypes.BINARY,
}
BYTES: dict[Any, Any] = {
    (200, media_type): OpenApiResponse(content, description="The file.")
    for media_type, content in CONTENTS.items()
}
UNCHANGED = {304: OpenApiResponse(description="The client has the file of this ETag.")}
HEADERS = [
    OpenApiParameter("If-None-Match", location=OpenApiParameter.HEADER, description="An ETag."),
    OpenApiParameter(
        "ETag", location=OpenApiParameter.HEADER, response=[200, 304], description="SHA-256."
    ),
    OpenApiParameter(
        "Content-Disposition",
        location=OpenApiParameter.HEADER,
        response=[200],
        description="The name of the file.",
    ),
]
FILE = OpenApiParameter(
    "file",
    {"type": "string", "pattern": f"^{ids.PREFIXES['RunFile']}_[A-Za-z0-9]+$"},
    OpenApiParameter.PATH,
)
download_schema = partial(extend_schema, request=None, responses={**BYTES, **UNCHANGED})


class DownloadViewSet(RunFileViewSet):
    """The bytes of a run's files."""

    content_negotiation_class = TakesAnyAccept

    @download_schema(parameters=[*HEADERS, FILE])
    def download(self, request: Request, id: str, file: str) -> HttpResponseBase:
        """The bytes of one file of the run."""
        return send(request, find_row(self.files(), file))

    @download_schema(operation_id="campaign_runs_file", parameters=HEADERS)
    def only_file(self, request: Request, id: str) -> HttpResponseBase:
        """The bytes of the run's file; a 404 if there is none yet, or more than one."""
        files = list(self.files()[:2])
        if len(files) != 1:
            raise NotFound(
                "This run has several files: name one." if files else "This run has no file yet."
            )
        return send(request, files[0])


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
    return StreamingHttpResponse(pieces, content_type=content_type(file), headers=headers)
