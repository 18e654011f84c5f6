"""Channels, and the placements inside them. Deleting a channel deletes its placements."""

from typing import Any

from django.db.models import Model
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, OneOf, PublicIdFilter, TextFilter
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import Channel, Placement, Status
from campaigns.services.catalog import create_placement, update_placement

MAX_SLOTS = 1000


class ChannelSerializer(CamelModelSerializer[Channel]):
    """A way to reach customers."""

    id = fields.OwnId()

    class Meta:
        model = Channel
        fields = [
            "id",
            "name",
            "channel_type",
            "delivery_mode",
            "impression_mode",
            "status",
            "version",
            "created_at",
            "updated_at",
        ]


class PlacementSerializer(CamelModelSerializer[Placement]):
    """Without a key it gets one made of its name."""

    id = fields.OwnId()
    channelId = fields.PublicId(Channel, source="channel")
    key = fields.Key(max_length=100, required=False)
    maxSlots = fields.Integer(source="max_slots", min_value=1, max_value=MAX_SLOTS, required=False)

    class Meta:
        model = Placement
        fields = [
            "id",
            "channelId",
            "key",
            "name",
            "description",
            "slot_type",
            "maxSlots",
            "status",
            "version",
            "created_at",
            "updated_at",
        ]
        # A key that the channel has already is a conflict.
        validators: list[Any] = []


class ChannelFilter(FilterSet):
    status = OneOf("status", Status)
    channelType = TextFilter("channel_type")
    deliveryMode = OneOf("delivery_mode", Channel.DeliveryMode)
    impressionMode = OneOf("impression_mode", Channel.ImpressionMode)


class PlacementFilter(FilterSet):
    status = OneOf("status", Status)
    channelId = PublicIdFilter("channel_id", Channel)
    slotType = TextFilter("slot_type")


class ChannelViewSet(ResourceViewSet):
    """Deleting a channel deletes its placements and creatives, unless something uses them."""

    model = Channel
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilter
    search_fields = ("name", "channel_type")


class PlacementViewSet(ResourceViewSet):
    """Deleting a placement leaves its creatives in the channel, without a placement."""

    model = Placement
    serializer_class = PlacementSerializer
    filterset_class = PlacementFilter
    search_fields = ("name", "key", "description")
    orderings = {**ResourceViewSet.orderings, "key": "key"}

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_placement(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_placement(row, fields, expected)
