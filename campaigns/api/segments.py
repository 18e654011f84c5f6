"""Segments: which of the customers are meant, and a look at them before and after."""

from typing import Any

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.filters import FilterSet, OneOf, PublicIdFilter
from campaigns.api.pagination import read_integer
from campaigns.api.viewsets import ResourceViewSet, read_body
from campaigns.models import Schema, Segment, Status
from campaigns.services.previews import preview_count, sample_rows
from campaigns.services.segments import (
    create_segment,
    drop_segment,
    refresh_segment,
    update_segment,
)

SAMPLE, MAX_SAMPLE = 20, 100


class SegmentSerializer(CamelModelSerializer[Segment]):
    id = fields.OwnId()
    baseSchemaId = fields.PublicId(Schema, source="base_schema")
    baseSchemaName = serializers.CharField(source="base_schema.name", read_only=True)
    entityType = serializers.ChoiceField(
        Schema.EntityType.choices, source="base_schema.entity_type", read_only=True
    )
    joins = fields.JsonList(required=False)
    filters = serializers.JSONField(required=False)

    class Meta:
        model = Segment
        fields = [
            "id",
            "name",
            "description",
            "status",
            "entityType",
            "baseSchemaId",
            "baseSchemaName",
            "joins",
            "filters",
            "view_name",
            "customer_count",
            "last_refreshed_at",
            "version",
            "created_at",
            "updated_at",
        ]


class UnsavedSegment(StrictSerializer):
    baseSchemaId = fields.PublicId(Schema, source="base_schema")
    joins = fields.JsonList(required=False)
    filters = serializers.JSONField()


class CustomerCount(StrictSerializer):
    count = fields.Integer(min_value=0)


class SampleRows(StrictSerializer):
    rows = serializers.ListField(child=fields.JsonObject())
    total = fields.Integer(allow_null=True, help_text="Customers when last counted.")


class SegmentFilter(FilterSet):
    status = OneOf("status", Status.values)
    baseSchemaId = PublicIdFilter("base_schema", Schema)
    entityType = OneOf("base_schema__entity_type", Schema.EntityType.values)


class SegmentViewSet(ResourceViewSet):
    model = Segment
    serializer_class = SegmentSerializer
    filterset_class = SegmentFilter
    search_fields = ("name", "description")
    query_params = {"act": ("action",), "sample": ("limit",)}

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().select_related("base_schema")

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = {"filters": [], **serializer.validated_data}
        serializer.instance = create_segment(self.tenant, **values)

    def perform_update(self, row: Segment, fields: dict[str, Any], expected: int | None) -> None:
        update_segment(row, expected=expected, **fields)

    def perform_destroy(self, row: Segment) -> None:
        drop_segment(row)

    @extend_schema(request=None, responses={200: SegmentSerializer})
    def refresh(self, request: Request, id: str) -> Response:
        """Count the customers anew; the view is rebuilt if its tables have changed."""
        segment = self.get_object()
        refresh_segment(segment)
        return Response(self.shown(segment))

    @extend_schema(
        request=None,
        parameters=[OpenApiParameter("action", enum=["refresh"], required=True)],
        responses={200: SegmentSerializer},
    )
    def act(self, request: Request, id: str) -> Response:
        """The documented form of refresh."""
        self.get_object()
        if request.query_params.get("action") != "refresh":
            raise ValidationError({"action": ["Must be refresh."]})
        return self.refresh(request, id)

    @extend_schema(request=UnsavedSegment, responses={200: CustomerCount})
    def preview_count(self, request: Request) -> Response:
        """Count the customers that unsaved filters would find."""
        count = preview_count(self.tenant, **read_body(UnsavedSegment, request))
        return Response({"count": count})

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLE, "default": SAMPLE},
            )
        ],
        responses={200: SampleRows},
    )
    def sample(self, request: Request, id: str) -> Response:
        """The first customers by key."""
        segment = self.get_object()
        limit = read_integer(request, "limit", SAMPLE, (1, MAX_SAMPLE))
        return Response({"rows": sample_rows(segment, limit), "total": segment.customer_count})
