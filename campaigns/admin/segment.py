"""Segments: filters as JSON, checked and counted by the service that keeps their views."""

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from unfold.decorators import action, display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.tables import number
from campaigns.models import Segment
from campaigns.services.segments import (
    create_segment,
    drop_segment,
    refresh_segment,
    update_segment,
)
from kaireon.access.admin.scoped import become

FILTERS_HELP = (
    "A list of conditions that all hold, such as "
    '[{"field": "balance", "operator": "gt", "value": 1000}]; empty for everyone.'
)


@admin.register(Segment)
class SegmentAdmin(ConfigurationAdmin):
    joined = ("base_schema",)
    list_display = ("name", "status_label", "base_schema", "customers", "last_refreshed_at")
    list_filter = ("status",)
    search_fields = ("name", "description")
    fieldsets = (
        (None, {"fields": ("name", "description", "base_schema")}),
        ("Who is in it", {"fields": ("filters", "joins")}),
    )
    facts = ("api_id", "customers", "last_refreshed_at", "view_name", "created_at", "updated_at")
    json_kinds = {"filters": (list, dict)}
    places = {"baseSchemaId": "base_schema"}
    actions_row = ("refresh",)
    actions_detail = ("refresh",)

    def get_readonly_fields(self, request, obj=None):
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else (*fields, "base_schema")

    def json_field(self, db_field):
        field = super().json_field(db_field)
        if db_field.name == "filters":
            field.help_text = FILTERS_HELP
        return field

    @display(description="customers", ordering="customer_count")
    def customers(self, segment: Segment) -> str:
        return number(segment.customer_count)

    def save_model(self, request, obj, form, change):
        cleaned = form.cleaned_data
        if change:
            changed = {name: cleaned[name] for name in form.changed_data}
            saved = update_segment(obj, **changed)
        else:
            fields = ("name", "description", "base_schema", "filters", "joins")
            saved = create_segment(obj.tenant, **{name: cleaned[name] for name in fields})
        become(obj, saved)
        messages.info(request, f"The segment has {number(saved.customer_count)} customers.")

    def delete_model(self, request, obj):
        drop_segment(obj)

    @action(description="Refresh", icon="refresh", permissions=["change"])
    def refresh(self, request, object_id):
        segment = self.find(request, object_id, "change")
        if request.method != "POST":
            return self.confirm(
                request,
                segment,
                title="Refresh segment",
                question=f'Count the customers of "{segment}" anew?',
                lines=[
                    ("Customers", number(segment.customer_count)),
                    ("Last refreshed", segment.last_refreshed_at or "never"),
                ],
                button="Refresh",
            )
        try:
            count = refresh_segment(segment)
        except self.refusals as error:
            return self.refuse(request, error, self.page_of(segment.pk))
        self.log_change(request, segment, f"Refreshed: {count} customers.")
        messages.success(request, f"{segment} has {number(count)} customers.")
        return HttpResponseRedirect(self.page_of(segment.pk))
