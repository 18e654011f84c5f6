"""Creatives: what an offer looks like in a channel."""

from typing import Any

from django.contrib import admin

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.models import Creative
from campaigns.services.creatives import check_creative
from kaireon.access.admin.form import ScopedForm
from kaireon.access.admin.scoped import ScopedRelatedFilter


class CreativeForm(ScopedForm):
    bounds = {"weight": (0, 100)}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        placement, channel = cleaned.get("placement"), cleaned.get("channel")
        if placement and placement.channel_id != getattr(channel, "pk", None):
            self.add_error("placement", "Must be a placement of the channel.")
        return cleaned


@admin.register(Creative)
class CreativeAdmin(ConfigurationAdmin):
    form = CreativeForm
    joined = ("offer", "channel")
    list_display = ("name", "offer", "channel", "status_label", "template_type", "weight")
    list_filter = ("status", ("channel", ScopedRelatedFilter))
    search_fields = ("name", "offer__name")
    autocomplete_fields = ("offer",)
    fieldsets = (
        (None, {"fields": ("name", "offer", "channel", "placement", "status")}),
        ("Content", {"fields": ("template_type", "content", "personalization")}),
        ("Variants", {"fields": ("ab_test_variant", "weight")}),
    )
    facts = ("api_id", "created_at", "updated_at")

    def save_model(self, request, obj, form, change):
        check_creative(obj)
        super().save_model(request, obj, form, change)
