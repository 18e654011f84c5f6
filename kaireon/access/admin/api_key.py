"""API keys: made, shown once, revoked. Only admins of the tenant see that they exist."""

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpResponseRedirect
from django.utils import timezone
from unfold.decorators import action, display

from kaireon.access.admin.scoped import ScopedAdmin, become
from kaireon.access.models import ApiKey, Role

ADMIN_ONLY = dict.fromkeys(("view", "add", "change", "delete"), Role.ADMIN)
LABELS = {"active": "success", "expired": "warning", "revoked": "danger"}


@admin.register(ApiKey)
class ApiKeyAdmin(ScopedAdmin):
    needed = ADMIN_ONLY
    list_display = ("name", "shown_part", "state", "role", "expires_at", "last_used_at")
    list_filter = ("role",)
    search_fields = ("name", "public_part")
    fieldsets = ((None, {"fields": ("name", "role", "expires_at")}),)
    facts = ("api_id", "shown_part", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke_selected",)
    actions_detail = ("revoke",)

    def get_readonly_fields(self, request, obj=None):
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else (*fields, "role")

    @display(description="key")
    def shown_part(self, key: ApiKey) -> str:
        return f"krn_{key.public_part}_…"

    @display(description="state", label=LABELS)
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "active"

    def save_model(self, request, obj, form, change):
        if change:
            obj.save(update_fields=["name", "expires_at"])
            return
        key, text = ApiKey.issue(
            obj.tenant, name=obj.name, role=Role(obj.role), expires_at=obj.expires_at
        )
        become(obj, key)
        messages.warning(request, f"Copy this key now, it cannot be shown again: {text}")

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke_selected(self, request, queryset):
        with transaction.atomic():
            keys = list(queryset.filter(revoked_at=None).select_for_update(of=("self",)))
            for key in keys:
                key.revoke()
        messages.success(request, f"{len(keys)} API keys revoked.")

    @action(description="Revoke", icon="block", permissions=["change"])
    def revoke(self, request, object_id):
        key = self.find(request, object_id, "change")
        if request.method != "POST":
            return self.confirm(
                request,
                key,
                title="Revoke API key",
                question=f"Revoke {key}? Whoever uses it is refused from then on, for good.",
                button="Revoke",
            )
        key.revoke()
        self.log_change(request, key, "Revoked.")
        messages.success(request, f"{key} is revoked.")
        return HttpResponseRedirect(self.page_of(key.pk))
