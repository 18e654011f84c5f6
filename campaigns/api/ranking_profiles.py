"""Ranking profiles: how much each objective counts."""

from typing import Any

from django.db.models import Model
from drf_spectacular.utils import extend_schema_field
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, TextFilter
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import RankingProfile
from campaigns.services.ranking_profiles import OBJECTIVES, create_profile, update_profile


@extend_schema_field(
    {
        "type": "object",
        "properties": {name: {"type": "number", "minimum": 0, "maximum": 1} for name in OBJECTIVES},
        "minProperties": 1,
        "additionalProperties": False,
    }
)
class Weights(fields.JsonObject):
    """Objectives and how much each counts; the service reads it."""


class RankingProfileSerializer(CamelModelSerializer[RankingProfile]):
    """Weights need not add up to 1, but one must be above 0; without a key it gets one."""

    id = fields.OwnId()
    key = fields.Key(max_length=100, required=False)
    weights = Weights()

    class Meta:
        model = RankingProfile
        fields = [
            "id",
            "name",
            "key",
            "description",
            "weights",
            "version",
            "created_at",
            "updated_at",
        ]


class RankingProfileFilter(FilterSet):
    key = TextFilter("key")


class RankingProfileViewSet(ResourceViewSet):
    model = RankingProfile
    serializer_class = RankingProfileSerializer
    filterset_class = RankingProfileFilter
    search_fields = ("name", "key", "description")
    orderings = {**ResourceViewSet.orderings, "key": "key"}
    default_ordering = ("name",)

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_profile(self.tenant, serializer.validated_data)

    def perform_update(
        self, row: RankingProfile, fields: dict[str, Any], expected: int | None
    ) -> None:
        update_profile(row, fields, expected)
