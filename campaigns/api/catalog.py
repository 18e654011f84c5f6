"""What can be offered, and how it looks in each channel."""

from typing import Any

from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import Category, Channel, Creative, Offer, Placement, SubCategory


def required(message: str, **fields_wrong: bool) -> None:
    """Raise ValidationError with `message` for every field that is wrong."""
    faults = {name: [message] for name, wrong in fields_wrong.items() if wrong}
    if faults:
        raise serializers.ValidationError(faults)


class CategorySerializer(CamelModelSerializer[Category]):
    id = fields.OwnId()

    class Meta:
        model = Category
        fields = ["id", "name", "description", "color", "icon", "status", "ordinal"]


class OfferSerializer(CamelModelSerializer[Offer]):
    id = fields.OwnId()
    categoryId = fields.PublicId(Category, source="category", required=False, allow_null=True)
    subCategoryId = fields.PublicId(
        SubCategory, source="sub_category", required=False, allow_null=True
    )
    tags = serializers.ListField(child=fields.Text(), max_length=500, required=False)
    metadata = fields.JsonObject(required=False)
    priority = fields.Integer(min_value=0, max_value=100, required=False)
    weight = fields.Integer(min_value=0, max_value=100, required=False)
    businessValue = fields.Number(
        source="business_value", min_value=0, max_value=100, required=False
    )

    class Meta:
        model = Offer
        fields = [
            "id",
            "name",
            "description",
            "short_desc",
            "status",
            "categoryId",
            "subCategoryId",
            "priority",
            "weight",
            "businessValue",
            "margin",
            "revenue_value",
            "product_type",
            "tags",
            "metadata",
            "version",
            "version",
            "created_at",
            "updated_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        inner, outer = attrs.get("sub_category"), attrs.get("category")
        required(
            "Must be a sub-category of categoryId.",
            subCategoryId=inner is not None and (outer is None or inner.category_id != outer.pk),
        )
        return attrs


class ChannelSerializer(CamelModelSerializer[Channel]):
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


class CreativeSerializer(CamelModelSerializer[Creative]):
    id = fields.OwnId()
    offerId = fields.PublicId(Offer, source="offer")
    channelId = fields.PublicId(Channel, source="channel")
    placementId = fields.PublicId(Placement, source="placement", required=False, allow_null=True)
    content = fields.JsonObject(required=False)
    personalization = serializers.ListField(
        child=fields.JsonObject(), max_length=500, required=False
    )
    weight = fields.Integer(min_value=0, max_value=100, required=False)

    class Meta:
        model = Creative
        fields = [
            "id",
            "name",
            "offerId",
            "channelId",
            "placementId",
            "status",
            "template_type",
            "content",
            "personalization",
            "ab_test_variant",
            "weight",
            "version",
            "created_at",
            "updated_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        placement = attrs.get("placement")
        required(
            "Must be a placement of channelId.",
            placementId=placement is not None and placement.channel_id != attrs["channel"].pk,
        )
        return attrs


class CategoryViewSet(ResourceViewSet):
    model = Category
    serializer_class = CategorySerializer


class OfferViewSet(ResourceViewSet):
    model = Offer
    serializer_class = OfferSerializer


class ChannelViewSet(ResourceViewSet):
    model = Channel
    serializer_class = ChannelSerializer


class CreativeViewSet(ResourceViewSet):
    model = Creative
    serializer_class = CreativeSerializer
