"""Qualification rules and contact policies."""

from django.contrib import admin
from django.db.models import Model
from unfold.decorators import display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.target import TargetForm, name_targets
from campaigns.models import ContactPolicy, QualificationRule


class TargetedAdmin(ConfigurationAdmin):
    form = TargetForm
    search_fields = ("name", "description")

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        name_targets(changelist.result_list)
        return changelist

    @display(description="applies to")
    def applies_to(self, row: Model) -> str:
        if not hasattr(row, "target"):
            name_targets([row])
        return row.target


@admin.register(QualificationRule)
class RuleAdmin(TargetedAdmin):
    list_display = ("name", "status_label", "rule_type", "applies_to", "stage", "priority")
    list_filter = ("status", "rule_type", "scope", "stage")
    fieldsets = (
        (None, {"fields": ("name", "description", "status")}),
        ("Condition", {"fields": ("rule_type", "config", "on_missing")}),
        ("Where it acts", {"fields": ("applies_to", "stage", "priority")}),
    )
    facts = ("api_id", "created_at", "updated_at")


@admin.register(ContactPolicy)
class PolicyAdmin(TargetedAdmin):
    list_display = ("name", "status_label", "rule_type", "applies_to", "priority")
    list_filter = ("status", "rule_type", "scope")
    fieldsets = (
        (None, {"fields": ("name", "description", "status")}),
        ("Policy", {"fields": ("rule_type", "config")}),
        ("Where it acts", {"fields": ("applies_to", "priority")}),
    )
    facts = ("api_id", "created_at", "updated_at")
