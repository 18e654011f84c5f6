"""A run named below its campaign: who was held out of it."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.results import RecommendationSerializer, ResultsPaged, present_results
from campaigns.api.viewsets import TenantViewSet, find_row
from campaigns.models import Campaign, CampaignRun, HeldOut
from campaigns.services.progress import COMPLETED
from kaireon import ids

RUN_ID = OpenApiParameter(
    "runId",
    {"type": "string", "pattern": f"^{ids.PREFIXES['CampaignRun']}_[A-Za-z0-9]+$"},
    OpenApiParameter.PATH,
)


class RunOfCampaignViewSet(TenantViewSet):
    """One run of a campaign."""

    model = Campaign

    def get_queryset(self) -> QuerySet[Campaign]:
        return Campaign.objects.of(self.tenant).only("tenant_id")

    def find_run(self) -> CampaignRun:
        """The run, real or dry; of another campaign it is a 404."""
        runs = CampaignRun.objects.of(self.tenant).filter(campaign=self.get_object())
        run: CampaignRun = find_row(runs.defer("summary", "traceback"), self.kwargs["runId"])
        return run


class HoldoutViewSet(RunOfCampaignViewSet):
    pagination_class = ResultsPaged

    def known_parameters(self) -> list[str]:
        return [name for name in super().known_parameters() if name != "ordering"]

    @extend_schema(parameters=[RUN_ID], responses={200: RecommendationSerializer})
    def list(self, request: Request, id: str, runId: str) -> Response:
        """Who was held out of the run, and what they would have got; none before it has completed.

        As if there were no volume constraints: held out customers take no part in those.
        """
        run = self.find_run()
        rows: QuerySet[Any] = HeldOut.objects.filter(run_id=run.pk)
        if run.status not in COMPLETED:
            rows = rows.none()
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(present_results(self.tenant, page or ()))
