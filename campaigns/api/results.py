"""What each customer got from a run, a page at a time in the order of customer and rank."""

import math
import re
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.filters import FilterSet, PublicIdFilter, TextFilter
from campaigns.api.pagination import CursorPaged, cursor_of, read_cursor, read_integer
from campaigns.api.summaries import names_in
from campaigns.api.viewsets import TenantViewSet
from campaigns.models import CampaignRun, Channel, Creative, HeldOut, Offer, Recommendation
from kaireon import ids
from kaireon.access.models import Tenant

#: As JSON writes it: float() would take "1_0" and "infinity", too.
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
ORDER = ("customer_key", "rank")


class MinimumFilter(TextFilter):
    """Rows whose field is a number, and at least this one."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name, {"type": "number"})
        self.lookup_expr = "gte"

    def check(self, value: str) -> None:
        if not NUMBER.fullmatch(value) or not math.isfinite(float(value)):
            raise ValidationError("Must be a number.")


@extend_schema_serializer(component_name="Recommendation")
class RecommendationSerializer(StrictSerializer):
    """An offer that a customer got. Only describes the answer, which `result` makes."""

    customerId = serializers.CharField()
    rank = serializers.IntegerField(min_value=1)
    offerId = fields.PublicId(Offer)
    offerName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    channelId = fields.PublicId(Channel)
    channel = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    creativeId = fields.PublicId(Creative, allow_null=True)
    score = serializers.FloatField()


class ResultFilter(FilterSet):
    offerId = PublicIdFilter("offer_id", Offer)
    channelId = PublicIdFilter("channel_id", Channel)
    customerId = TextFilter("customer_key")
    minScore = MinimumFilter("score")


class ResultsPaged(CursorPaged):
    """By the primary key of the results, so that every page is read off its index."""

    default_limit = 100
    max_limit = 1000

    def paginate_queryset(  # type: ignore[override]
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        self.limit = read_integer(request, "limit", self.default_limit, (1, self.max_limit))
        place = read_cursor(request, queryset, ORDER)
        self.total = queryset.count()
        if place is not None:
            key, rank = place
            # Said in this way, PostgreSQL estimates it well and begins in the index at the key.
            queryset = queryset.filter(customer_key__gte=key)
            queryset = queryset.exclude(customer_key=key, rank__lte=rank)
        rows = list(queryset.order_by(*ORDER)[: self.limit + 1])
        self.next_cursor = cursor_of(rows[self.limit - 1], ORDER) if rows[self.limit :] else None
        return rows[: self.limit]

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": self.max_limit}
        size["default"] = self.default_limit
        return [
            {"name": "limit", "in": "query", "schema": size},
            {"name": "cursor", "in": "query", "schema": {"type": "string"}},
        ]


class ResultsViewSet(TenantViewSet):
    """The results of one run; none before it has completed."""

    model = CampaignRun
    pagination_class = ResultsPaged
    filterset_class = ResultFilter

    def get_queryset(self) -> QuerySet[CampaignRun]:
        return CampaignRun.objects.of(self.tenant).only("tenant_id")

    def known_parameters(self) -> list[str]:
        return [name for name in super().known_parameters() if name != "ordering"]

    @extend_schema(responses={200: RecommendationSerializer})
    def list(self, request: Request, id: str) -> Response:
        rows = Recommendation.objects.filter(run_id=self.get_object().pk)
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(present_results(self.tenant, page or ()))


def present_results(
    tenant: Tenant, rows: Iterable[Recommendation | HeldOut]
) -> list[dict[str, Any]]:
    """Show rows with the names of offers and channels, in two queries whatever their number."""
    shown = [result(row) for row in rows]
    names = names_in(tenant, shown)
    for row in shown:
        row["offerName"] = names.offers.get(row["offerId"])
        row["channel"] = names.channels.get(row["channelId"])
    return shown


def result(row: Recommendation | HeldOut) -> dict[str, Any]:
    return {
        "customerId": row.customer_key,
        "rank": row.rank,
        "offerId": ids.encode("Offer", row.offer_id),
        "offerName": None,
        "channelId": ids.encode("Channel", row.channel_id),
        "channel": None,
        "creativeId": ids.encode("Creative", row.creative_id) if row.creative_id else None,
        "score": row.score,
    }
