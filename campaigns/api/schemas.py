"""Schemas: the tables that customers come from, imported or registered, and their rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.filters import FilterSet, OneOf
from campaigns.api.pagination import MAX_OFFSET, read_integer
from campaigns.api.viewsets import ResourceViewSet, read_body
from campaigns.models import Schema
from campaigns.services.imports import add_rows
from campaigns.services.previews import schema_rows
from campaigns.services.schemas import drop_schema, refresh_catalog, register_table
from executor.errors import Rejected
from kaireon.access.models import Role

ROWS, MAX_ROWS = 50, 500
MAX_ADDED = 1000
TEXT = {"type": "string"}
#: What the service calls the fields of a registration.
OUTSIDE_NAMES = {"schema": "name", "relation": "relationName", "key": "keyColumn"}


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": TEXT,
                "type": {**TEXT, "description": "The type that PostgreSQL's catalog names."},
                "kind": {"type": ["string", "null"], "description": "null: it cannot be used."},
                "displayName": TEXT,
                "nullable": {"type": "boolean"},
            },
            "required": ["name", "type"],
        },
    }
)
class Columns(fields.JsonList):
    """What `Schema.columns` keeps."""


class SchemaSerializer(CamelModelSerializer[Schema]):
    id = fields.OwnId()
    columns = Columns(read_only=True)

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
        read_only_fields = ["origin", "relation_schema", "relation_name", "key_column", "row_count"]


class RegistrationInput(StrictSerializer):
    name = fields.Text(max_length=255)
    relationSchema = fields.Text(max_length=63, required=False)
    relationName = fields.Text(max_length=63)
    keyColumn = fields.Text(max_length=63)
    entityType = fields.Choice(Schema.EntityType.choices, required=False)


class NewRows(StrictSerializer):
    rows = serializers.ListField(child=fields.JsonObject(), min_length=1, max_length=MAX_ADDED)


class AddedRows(StrictSerializer):
    inserted = fields.Integer(min_value=0)
    tableName = serializers.CharField()


class SchemaRows(StrictSerializer):
    rows = serializers.ListField(child=fields.JsonObject())
    total = fields.Integer(allow_null=True, help_text="Rows when last counted.")


class SchemaFilter(FilterSet):
    origin = OneOf("origin", Schema.Origin.values)
    entityType = OneOf("entity_type", Schema.EntityType.values)


class SchemaViewSet(ResourceViewSet):
    model = Schema
    serializer_class = SchemaSerializer
    filterset_class = SchemaFilter
    search_fields = ("name", "relation_name")
    query_params = {"rows": ("limit", "offset")}
    roles: Mapping[str, Role] = {"create": Role.ADMIN}

    @extend_schema(request=RegistrationInput, responses={201: SchemaSerializer})
    def create(self, request: Request) -> Response:
        """Make a schema of an existing table or view, which is only ever read."""
        given = read_body(RegistrationInput, request)
        place = given.get("relationSchema", "public")
        with called_outside(OUTSIDE_NAMES):
            registration = register_table(
                self.tenant,
                f"{place}.{given['relationName']}",
                name=given["name"],
                key=given["keyColumn"],
                entity_type=given.get("entityType", Schema.EntityType.CUSTOMER),
            )
        return Response(self.shown(registration.schema), status=201)

    def perform_destroy(self, row: Schema) -> None:
        drop_schema(row)

    @extend_schema(request=None, responses={200: SchemaSerializer})
    def refresh(self, request: Request, id: str) -> Response:
        """Read the columns of the table again, and count its rows."""
        schema = self.get_object()
        with called_outside(OUTSIDE_NAMES):
            refresh_catalog(schema)
        return Response(self.shown(schema))

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": ROWS}
            ),
            OpenApiParameter(
                "offset", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
            ),
        ],
        responses={200: SchemaRows},
    )
    def rows(self, request: Request, id: str) -> Response:
        """Rows of the table by key."""
        schema = self.get_object()
        limit = read_integer(request, "limit", ROWS, (1, MAX_ROWS))
        offset = read_integer(request, "offset", 0, (0, MAX_OFFSET))
        return Response({"rows": schema_rows(schema, limit, offset), "total": schema.row_count})

    @extend_schema(request=NewRows, responses={201: AddedRows})
    def add_rows(self, request: Request, id: str) -> Response:
        """Add rows to an imported table; those whose key it has already are left out."""
        schema = self.get_object()
        inserted = add_rows(schema, read_body(NewRows, request)["rows"])
        return Response({"inserted": inserted, "tableName": schema.relation_name}, status=201)


@contextmanager
def called_outside(names: Mapping[str, str]) -> Iterator[None]:
    """Tell of a service's faults by the names that its arguments have in the API."""
    try:
        yield
    except Rejected as error:
        raise Rejected.of((names.get(path, path), text) for path, text in error.errors) from error
