"""What can be offered, and how it looks in each channel."""

from typing import Any

from django.db.models import Model
from rest_framework import serializers
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, OneOf, PublicIdFilter, TextFilter
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import Category, Channel, Creative, Offer, Placement, Status, SubCategory
from campaigns.services.catalog import update_sub_category
from campaigns.services.creatives import create_creative, update_creative
from campaigns.services.custom_fields import (
    create_category,
    create_sub_category,
    update_category,
)
from campaigns.services.offers import create_offer, update_offer
from kaireon.access.authentication import access_of


def given_or_stored(
    serializer: serializers.BaseSerializer[Any], attrs: dict[str, Any], name: str
) -> Any:
    """The value as it will be stored: a change need not name what stays."""
    return attrs[name] if name in attrs else getattr(serializer.instance, name, None)


class CategorySerializer(CamelModelSerializer[Category]):
    """A group of offers."""

    id = fields.OwnId()
    customFields = serializers.ListField(
        source="custom_fields", child=fields.JsonObject(), max_length=500, required=False
    )

    class Meta:
        model = Category
        fields = [
            "id",
            "name",
            "description",
            "color",
            "icon",
            "status",
            "ordinal",
            "customFields",
            "version",
            "created_at",
            "updated_at",
        ]


class SubCategorySerializer(CamelModelSerializer[SubCategory]):
    """A group of offers inside a category."""

    id = fields.OwnId()
    categoryId = fields.PublicId(Category, source="category")
    customFields = serializers.ListField(
        source="custom_fields", child=fields.JsonObject(), max_length=500, required=False
    )

    class Meta:
        model = SubCategory
        fields = [
            "id",
            "categoryId",
            "name",
            "status",
            "ordinal",
            "customFields",
            "version",
            "created_at",
            "updated_at",
        ]
        # A name that the category has already is a conflict.
        validators: list[Any] = []


class OfferSerializer(CamelModelSerializer[Offer]):
    """Something a customer may be given."""

    id = fields.OwnId()
    categoryId = fields.PublicId(Category, source="category", required=False, allow_null=True)
    subCategoryId = fields.PublicId(
        SubCategory, source="sub_category", required=False, allow_null=True
    )
    tags = serializers.ListField(child=fields.Text(), max_length=500, required=False)
    metadata = fields.JsonObject(required=False)
    customFields = fields.JsonObject(source="custom_fields", required=False)
    priority = fields.Integer(min_value=0, max_value=100, required=False)
    weight = fields.Integer(min_value=0, max_value=100, required=False)
    businessValue = fields.Number(
        source="business_value", min_value=0, max_value=100, required=False
    )
    budget = fields.JsonObject(required=False)
    schedule = fields.JsonObject(required=False)

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
            "customFields",
            "budget",
            "schedule",
            "mandatory",
            "mandatory_reason",
            "mandatory_expires_at",
            "mandatory_approved_by",
            "version",
            "created_at",
            "updated_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        inner = given_or_stored(self, attrs, "sub_category")
        outer = given_or_stored(self, attrs, "category")
        if inner is not None and (outer is None or inner.category_id != outer.pk):
            message = "Must be a sub-category of categoryId."
            raise serializers.ValidationError({"subCategoryId": [message]})
        return attrs


class CreativeSerializer(CamelModelSerializer[Creative]):
    """What an offer looks like in a channel."""

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
        placement = given_or_stored(self, attrs, "placement")
        channel = given_or_stored(self, attrs, "channel")
        if placement is not None and placement.channel_id != channel.pk:
            message = "Must be a placement of channelId."
            raise serializers.ValidationError({"placementId": [message]})
        return attrs


class CategoryFilter(FilterSet):
    status = OneOf("status", Status)


class SubCategoryFilter(FilterSet):
    status = OneOf("status", Status)
    categoryId = PublicIdFilter("category_id", Category)


class OfferFilter(FilterSet):
    status = OneOf("status", Status)
    categoryId = PublicIdFilter("category_id", Category)
    subCategoryId = PublicIdFilter("sub_category_id", SubCategory)
    productType = TextFilter("product_type")


class CreativeFilter(FilterSet):
    status = OneOf("status", Status)
    offerId = PublicIdFilter("offer_id", Offer)
    channelId = PublicIdFilter("channel_id", Channel)
    placementId = PublicIdFilter("placement_id", Placement)
    templateType = TextFilter("template_type")


class CategoryViewSet(ResourceViewSet):
    """A category cannot be deleted while it has sub-categories or offers."""

    model = Category
    serializer_class = CategorySerializer
    filterset_class = CategoryFilter
    search_fields = ("name", "description")
    orderings = {**ResourceViewSet.orderings, "ordinal": "ordinal"}
    default_ordering = ("ordinal", "name")

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_category(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_category(row, fields, expected)


class SubCategoryViewSet(ResourceViewSet):
    """A sub-category cannot be deleted, nor moved to another category, while it has offers."""

    model = SubCategory
    serializer_class = SubCategorySerializer
    filterset_class = SubCategoryFilter
    search_fields = ("name",)
    orderings = {**ResourceViewSet.orderings, "ordinal": "ordinal"}
    default_ordering = ("ordinal", "name")

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_sub_category(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_sub_category(row, fields, expected)


class OfferViewSet(ResourceViewSet):
    """Deleting an offer deletes its creatives, unless something uses them."""

    model = Offer
    serializer_class = OfferSerializer
    filterset_class = OfferFilter
    search_fields = ("name", "short_desc", "description", "product_type")
    orderings = {
        **ResourceViewSet.orderings,
        "priority": "priority",
        "weight": "weight",
        "businessValue": "business_value",
    }

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        role = access_of(self.request).role
        serializer.instance = create_offer(self.tenant, serializer.validated_data, role)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_offer(row, fields, expected, access_of(self.request).role)


class CreativeViewSet(ResourceViewSet):
    model = Creative
    serializer_class = CreativeSerializer
    filterset_class = CreativeFilter
    search_fields = ("name", "ab_test_variant")

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_creative(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_creative(row, fields, expected)
