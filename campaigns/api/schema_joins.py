"""Schema joins: columns of other tables that the customers of a schema have by themselves."""

from typing import Any

from django.db.models import Model
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, Flag, OneOf, PublicIdFilter
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import Schema, SchemaJoin, Status
from campaigns.services.schema_joins import create_join, update_join


class SchemaJoinSerializer(CamelModelSerializer[SchemaJoin]):
    """Column `c` of the foreign schema becomes `customer.<name>.c`, null without a row."""

    id = fields.OwnId()
    primarySchemaId = fields.PublicId(Schema, source="primary_schema")
    foreignSchemaId = fields.PublicId(Schema, source="foreign_schema")

    class Meta:
        model = SchemaJoin
        fields = [
            "id",
            "name",
            "primarySchemaId",
            "primary_key",
            "foreignSchemaId",
            "foreign_key",
            "join_type",
            "auto_enrich",
            "status",
            "version",
            "created_at",
            "updated_at",
        ]


class SchemaJoinFilter(FilterSet):
    status = OneOf("status", Status.values)
    primarySchemaId = PublicIdFilter("primary_schema", Schema)
    foreignSchemaId = PublicIdFilter("foreign_schema", Schema)
    autoEnrich = Flag("auto_enrich")


class SchemaJoinViewSet(ResourceViewSet):
    """The foreign key must be unique, so that nobody is there twice."""

    model = SchemaJoin
    serializer_class = SchemaJoinSerializer
    filterset_class = SchemaJoinFilter
    search_fields = ("name",)
    default_ordering = ("name",)

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_join(self.tenant, serializer.validated_data)

    def perform_update(self, row: SchemaJoin, fields: dict[str, Any], expected: int | None) -> None:
        update_join(row, fields, expected)
