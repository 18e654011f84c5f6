"""Schemas: looked at here; made by importing customers or registering a table."""

from django.contrib import admin
from unfold.decorators import display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.tables import number, table
from campaigns.models import Schema
from kaireon.access.admin.scoped import ReadOnly


@admin.register(Schema)
class SchemaAdmin(ReadOnly, ConfigurationAdmin):
    list_display = ("name", "entity_type", "origin", "rows", "key_column", "updated_at")
    list_filter = ("entity_type", "origin")
    search_fields = ("name", "relation_name")
    fieldsets = (
        (None, {"fields": ("name", "entity_type", "origin", "key_column", "rows")}),
        ("Columns", {"fields": ("column_table",)}),
    )
    facts = ("api_id", "relation_schema", "relation_name", "created_at", "updated_at")
    readonly_fields = ("rows", "column_table")

    @display(description="rows", ordering="row_count")
    def rows(self, schema: Schema) -> str:
        return number(schema.row_count)

    @display(description="columns")
    def column_table(self, schema: Schema) -> str:
        names = ("name", "type", "kind")
        return table(
            ("Column", "PostgreSQL type", "Kind"),
            [[column.get(name, "") for name in names] for column in schema.columns],
        )
