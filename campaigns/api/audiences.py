"""Schemas and segments: where customers come from, and which of them are meant."""

from django.db.models import Model
from rest_framework import serializers
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import Schema, Segment
from campaigns.services.segments import create_segment


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
            "version",
            "created_at",
            "updated_at",
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
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["status"]


class SchemaViewSet(ResourceViewSet):
    model = Schema
    serializer_class = SchemaSerializer


class SegmentViewSet(ResourceViewSet):
    model = Segment
    serializer_class = SegmentSerializer

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = {"filters": [], **serializer.validated_data}
        serializer.instance = create_segment(self.tenant, **values)
