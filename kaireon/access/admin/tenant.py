"""Tenants, and who may do what in them."""

from zoneinfo import available_timezones

from django import forms
from django.contrib import admin
from django.db.models import Model
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from kaireon import ids
from kaireon.access.admin.scoped import ScopedAdmin
from kaireon.access.models import Membership, Role, Tenant
from kaireon.access.scope import scope_of


class TenantForm(forms.ModelForm):
    timezone = forms.ChoiceField(
        choices=lambda: [(zone, zone) for zone in sorted(available_timezones())],
        initial="UTC",
        widget=UnfoldAdminSelectWidget,
    )
    holdout_percent = forms.FloatField(
        min_value=0,
        max_value=100,
        initial=0,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Percent of the customers who are given nothing by any campaign, always the same"
        " ones. A campaign may hold out more.",
    )


@admin.register(Tenant)
class TenantAdmin(ScopedAdmin):
    form = TenantForm
    tenant_path = "pk"
    needed = {"view": Role.VIEWER, "add": Role.ADMIN, "change": Role.ADMIN, "delete": Role.ADMIN}
    list_display = ("name", "slug", "timezone", "created_at")
    search_fields = ("name", "slug")
    fieldsets = (
        (None, {"fields": ("name", "slug", "timezone", "s3_locations", "holdout_percent")}),
    )
    facts = ("api_id", "created_at")

    def tenant_key(self, obj: Model) -> int:
        return obj.pk

    def has_add_permission(self, request):
        return scope_of(request).roles is None

    def has_delete_permission(self, request, obj=None):
        return scope_of(request).roles is None

    def several_tenants(self, request, verb="view"):
        return False  # a tenant belongs to none

    def get_readonly_fields(self, request, obj=None):
        # Where the server's own S3 credentials may write is for whoever runs the server to say.
        of_server = () if scope_of(request).roles is None else ("slug", "s3_locations")
        return (*self.facts, *of_server)

    @display(description="id in the API")
    def api_id(self, row: Tenant) -> str:
        return ids.encode("Tenant", row.pk)


@admin.register(Membership)
class MembershipAdmin(ScopedAdmin):
    """Only a superuser brings somebody in: the choice of users would show those of others."""

    needed = {"view": Role.VIEWER, "add": Role.ADMIN, "change": Role.ADMIN, "delete": Role.ADMIN}
    joined = ("user", "tenant")
    list_display = ("user", "role")
    list_filter = ("role",)
    search_fields = ("user__username", "user__email")
    autocomplete_fields = ("user",)
    fieldsets = ((None, {"fields": ("user", "role")}),)
    facts = ()

    def has_add_permission(self, request):
        return scope_of(request).roles is None

    def get_readonly_fields(self, request, obj=None):
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else (*fields, "user")
