"""Schema joins, checked by the service that reads both tables."""

from django.contrib import admin

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.models import SchemaJoin
from campaigns.services.schema_joins import create_join, update_join
from kaireon.access.admin.scoped import ScopedRelatedFilter, become

SIDES = ("primary_schema", "primary_key", "foreign_schema", "foreign_key")


@admin.register(SchemaJoin)
class SchemaJoinAdmin(ConfigurationAdmin):
    joined = ("primary_schema", "foreign_schema")
    list_display = ("name", "status_label", *SIDES, "auto_enrich")
    list_filter = ("status", "auto_enrich", ("primary_schema", ScopedRelatedFilter))
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "status", "auto_enrich")}),
        ("What is joined", {"fields": (*SIDES, "join_type")}),
    )
    facts = ("api_id", "created_at", "updated_at")
    places = {"primarySchemaId": "primary_schema", "foreignSchemaId": "foreign_schema"}

    def save_model(self, request, obj, form, change):
        cleaned = {name: value for name, value in form.cleaned_data.items() if name != "tenant"}
        if change:
            stored = SchemaJoin.objects.of(obj.tenant_id).select_for_update(no_key=True)
            saved = update_join(stored.get(pk=obj.pk), cleaned)
        else:
            saved = create_join(obj.tenant, cleaned)
        become(obj, saved)
