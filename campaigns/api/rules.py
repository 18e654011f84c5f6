"""Qualification rules: what a candidate must survive."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Model
from rest_framework import serializers
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.catalog import required
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import (
    Category,
    Channel,
    Creative,
    Offer,
    Placement,
    QualificationRule,
    Segment,
    SubCategory,
)
from campaigns.services.rules import create_rule
from kaireon import ids
from kaireon.access.models import TenantScoped

SCOPE_MODELS: Mapping[str, type[TenantScoped]] = {
    "segment": Segment,
    "channel": Channel,
    "category": Category,
    "subcategory": SubCategory,
    "offer": Offer,
    "creative": Creative,
    "placement": Placement,
}


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
            "version",
            "created_at",
            "updated_at",
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


class RuleViewSet(ResourceViewSet):
    model = QualificationRule
    serializer_class = RuleSerializer

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_rule(self.tenant, serializer.validated_data)
