"""Interactions: impressions and outcomes, reported in bulk and read back newest first."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.filters import FilterSet, Moment, OneOf, PublicIdFilter, TextFilter
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.models import Campaign, Channel, Creative, Interaction, Offer
from campaigns.services.interactions import record_interactions
from kaireon import ids

MAX_BATCH = 1000
MAX_CUSTOMER_ID = 255


class ReferredId(fields.PublicId):
    """Read as a key; the service looks whether all rows there are, with one query for each kind."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, str):
            self.fail("invalid")
        key = ids.decode(self.model.__name__, data)
        if key is None:
            self.fail("unknown", **fields.described(self.model))
        return key


class InteractionSerializer(StrictSerializer):
    """One impression or outcome; without `at` it is of now."""

    id = fields.OwnId()
    customerId = fields.Text(
        source="customer_key", max_length=MAX_CUSTOMER_ID, trim_whitespace=False
    )
    interactionType = fields.Text(source="interaction_type", max_length=50)
    outcome = fields.Text(max_length=50, required=False, allow_blank=True)
    direction = fields.Choice(Interaction.Direction.choices, required=False)
    offerId = ReferredId(Offer, source="offer")
    channelId = ReferredId(Channel, source="channel", required=False, allow_null=True)
    creativeId = ReferredId(Creative, source="creative", required=False, allow_null=True)
    campaignId = ReferredId(Campaign, source="campaign", required=False, allow_null=True)
    at = fields.UtcDateTime(required=False)
    context = fields.JsonObject(required=False)  # type: ignore[assignment]

    class Meta:
        model = Interaction


class InteractionBatch(StrictSerializer):
    """Interactions that are stored all or none."""

    interactions = serializers.ListField(
        child=InteractionSerializer(), min_length=1, max_length=MAX_BATCH
    )


class Inserted(serializers.Serializer[Any]):
    """How many interactions were stored."""

    inserted = serializers.IntegerField()


class InteractionFilter(FilterSet):
    customerId = TextFilter("customer_key")
    interactionType = TextFilter("interaction_type")
    outcome = TextFilter("outcome")
    direction = OneOf("direction", Interaction.Direction)
    offerId = PublicIdFilter("offer_id", Offer)
    channelId = PublicIdFilter("channel_id", Channel)
    creativeId = PublicIdFilter("creative_id", Creative)
    campaignId = PublicIdFilter("campaign_id", Campaign)

    @classmethod
    def get_filters(cls) -> dict[str, Any]:
        # `from` cannot be the name of an attribute.
        times = {"from": Moment("at", "gte"), "to": Moment("at", "lt")}
        return {**super().get_filters(), **times}


class InteractionViewSet(TenantViewSet):
    """`from` is included, `to` is not; the newest come first unless `ordering=at`."""

    model = Interaction  # type: ignore[assignment]
    serializer_class = InteractionSerializer
    filterset_class = InteractionFilter
    orderings = {"at": "at"}
    default_ordering = ("-at", "-id")
    cursor_key = "id"

    def get_queryset(self) -> QuerySet[Interaction]:
        return Interaction.objects.filter(tenant_id=self.tenant.pk)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        summary="Record interactions", request=InteractionBatch, responses={201: Inserted}
    )
    def create(self, request: Request) -> Response:
        """Store all of them or none."""
        items = read_body(InteractionBatch, request)["interactions"]
        return Response({"inserted": record_interactions(self.tenant, items)}, status=201)
