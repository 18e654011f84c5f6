"""Channels and their placements."""

from django.contrib import admin

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.models import Channel, Placement
from kaireon.access.admin.form import ScopedForm
from kaireon.access.admin.scoped import ScopedRelatedFilter


@admin.register(Channel)
class ChannelAdmin(ConfigurationAdmin):
    list_display = ("name", "channel_type", "delivery_mode", "impression_mode", "status_label")
    list_filter = ("status", "delivery_mode")
    search_fields = ("name", "channel_type")
    fieldsets = (
        (None, {"fields": ("name", "channel_type", "status")}),
        ("How it is delivered", {"fields": ("delivery_mode", "impression_mode")}),
    )
    facts = ("api_id", "created_at", "updated_at")


class PlacementForm(ScopedForm):
    bounds = {"max_slots": (1, 1000)}


@admin.register(Placement)
class PlacementAdmin(ConfigurationAdmin):
    form = PlacementForm
    joined = ("channel",)
    list_display = ("name", "channel", "key", "slot_type", "max_slots", "status_label")
    list_filter = ("status", ("channel", ScopedRelatedFilter))
    search_fields = ("name", "key", "channel__name")
    fieldsets = (
        (None, {"fields": ("channel", "key", "name", "description", "status")}),
        ("Slots", {"fields": ("slot_type", "max_slots")}),
    )
