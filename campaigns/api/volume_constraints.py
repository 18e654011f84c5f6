"""Volume constraints, also known as frequency caps: limits that all campaigns share."""

from typing import Any

from django.db.models import Model, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, Flag, OneOf, ScopeIdFilter
from campaigns.api.scopes import ScopeId
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import VolumeConstraint
from campaigns.services.volume_constraints import (
    create_constraint,
    present_count,
    update_constraint,
)

MAX_VOLUME = 2**53


class VolumeConstraintSerializer(CamelModelSerializer[VolumeConstraint]):
    """A limit that all campaigns share; `currentCount` begins anew at `resetAt`."""

    id = fields.OwnId()
    scopeId = ScopeId(VolumeConstraint.Scope)
    maxVolume = fields.Integer(source="max_volume", min_value=1, max_value=MAX_VOLUME)
    currentCount = serializers.SerializerMethodField()
    resetAt = serializers.SerializerMethodField()

    class Meta:
        model = VolumeConstraint
        fields = [
            "id",
            "name",
            "scope",
            "scopeId",
            "maxVolume",
            "period",
            "enabled",
            "currentCount",
            "resetAt",
            "version",
            "created_at",
            "updated_at",
        ]

    def get_currentCount(self, row: VolumeConstraint) -> int:
        return present_count(row)[0]

    @extend_schema_field(fields.UtcDateTime())
    def get_resetAt(self, row: VolumeConstraint) -> str:
        return fields.UtcDateTime().to_representation(present_count(row)[1])


class ConstraintFilter(FilterSet):
    scope = OneOf("scope", VolumeConstraint.Scope)
    scopeId = ScopeIdFilter(VolumeConstraint.Scope)
    period = OneOf("period", VolumeConstraint.Period)
    enabled = Flag("enabled")


class ConstraintViewSet(ResourceViewSet):
    """A second one of the same scope, id and period is bad input."""

    model = VolumeConstraint
    serializer_class = VolumeConstraintSerializer
    filterset_class = ConstraintFilter
    search_fields = ("name",)
    orderings = {**ResourceViewSet.orderings, "maxVolume": "max_volume"}

    def get_queryset(self) -> QuerySet[Any]:
        # Its zone says when a period ends.
        return super().get_queryset().select_related("tenant")

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_constraint(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_constraint(row, fields, expected)
