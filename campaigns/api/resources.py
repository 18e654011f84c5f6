"""The rows a campaign refers to, as they are written and read."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.models import (
    Category,
    Channel,
    Creative,
    Flow,
    FlowVersion,
    Offer,
    Placement,
    QualificationRule,
    Schema,
    Segment,
    SubCategory,
)
from kaireon import ids
from kaireon.access.models import TenantScoped

STAMPS = ["created_at", "updated_at"]
SCOPE_MODELS: Mapping[str, type[TenantScoped]] = {
    "segment": Segment,
    "channel": Channel,
    "category": Category,
    "subcategory": SubCategory,
    "offer": Offer,
    "creative": Creative,
    "placement": Placement,
}


def required(message: str, **fields_wrong: bool) -> None:
    """Raise ValidationError with `message` for every field that is wrong."""
    faults = {name: [message] for name, wrong in fields_wrong.items() if wrong}
    if faults:
        raise serializers.ValidationError(faults)


class SchemaSerializer(CamelModelSerializer[Schema]):
    id = fields.OwnId()

    class Meta:
        model = Schema
        fields = [
            "id",
            "name",
            "entity_type",
            "origin",
            "relation_schema",
            "relation_name",
            "key_column",
            "columns",
            "row_count",
            *STAMPS,
        ]


class SegmentSerializer(CamelModelSerializer[Segment]):
    id = fields.OwnId()
    baseSchemaId = fields.PublicId(Schema, source="base_schema")
    joins = fields.JsonList(required=False)
    filters = serializers.JSONField(required=False)

    class Meta:
        model = Segment
        fields = [
            "id",
            "name",
            "description",
            "status",
            "baseSchemaId",
            "joins",
            "filters",
            "view_name",
            "customer_count",
            "last_refreshed_at",
            *STAMPS,
        ]
        read_only_fields = ["status"]


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
            *STAMPS,
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
            *STAMPS,
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
            *STAMPS,
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        placement = attrs.get("placement")
        required(
            "Must be a placement of channelId.",
            placementId=placement is not None and placement.channel_id != attrs["channel"].pk,
        )
        return attrs


class ScopeId(serializers.Field[Any, Any, str, Any]):
    """The id of whatever `scope` names; its kind is known only together with `scope`."""

    default_error_messages = {"invalid": "Must be a string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data

    def get_attribute(self, instance: QualificationRule) -> tuple[str, int] | None:
        return None if instance.scope_key is None else (instance.scope, instance.scope_key)

    def to_representation(self, value: Any) -> str:
        scope, key = value
        return ids.encode(SCOPE_MODELS[scope].__name__, key)


class RuleSerializer(CamelModelSerializer[QualificationRule]):
    id = fields.OwnId()
    scopeId = ScopeId(source="scope_key", required=False, allow_null=True)
    config = fields.JsonObject()

    class Meta:
        model = QualificationRule
        fields = [
            "id",
            "name",
            "description",
            "status",
            "rule_type",
            "scope",
            "scopeId",
            "config",
            "priority",
            "stage",
            "on_missing",
            *STAMPS,
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        model, public_id = SCOPE_MODELS.get(attrs.get("scope", "global")), attrs.get("scope_key")
        if model is None:
            required("A global rule has no scopeId.", scopeId=public_id is not None)
            return attrs
        required(f'The scope "{attrs["scope"]}" needs a scopeId.', scopeId=public_id is None)
        field = fields.PublicId(model)
        field.bind("scopeId", self)
        try:
            attrs["scope_key"] = field.to_internal_value(public_id).pk
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"scopeId": error.detail}) from error
        return attrs


class Version(CamelModelSerializer[FlowVersion]):
    class Meta:
        model = FlowVersion
        fields = ["version", "published_at", "notes"]


class FlowSerializer(CamelModelSerializer[Flow]):
    id = fields.OwnId()
    key = fields.Key(max_length=255)
    draftConfig = fields.JsonObject(source="draft_config", required=False)
    rowVersion = fields.Integer(source="version", read_only=True)
    publishedVersions = Version(source="versions", many=True, read_only=True)

    class Meta:
        model = Flow
        fields = [
            "id",
            "key",
            "name",
            "description",
            "status",
            "draftConfig",
            "publishedVersions",
            "is_default",
            "rowVersion",
            *STAMPS,
        ]
        read_only_fields = ["status", "is_default"]


class Publish(StrictSerializer):
    id = fields.Text()
    notes = fields.Text(required=False, allow_blank=True)
