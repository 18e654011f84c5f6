"""Offers and the categories they belong to."""

from typing import Any

from django.contrib import admin
from django.utils import timezone

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.models import Category, Offer, SubCategory
from campaigns.services.custom_fields import check_category, check_sub_category
from campaigns.services.offers import offer_faults
from kaireon.access.admin.form import ScopedForm
from kaireon.access.admin.scoped import ScopedRelatedFilter
from kaireon.access.models import Role


@admin.register(Category)
class CategoryAdmin(ConfigurationAdmin):
    list_display = ("name", "status_label", "ordinal")
    list_filter = ("status",)
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "description", "status", "ordinal", "color", "icon")}),
        ("Custom fields of its offers", {"fields": ("custom_fields",)}),
    )

    def save_model(self, request, obj, form, change):
        check_category(obj)
        super().save_model(request, obj, form, change)


@admin.register(SubCategory)
class SubCategoryAdmin(ConfigurationAdmin):
    joined = ("category",)
    list_display = ("name", "category", "status_label", "ordinal")
    list_filter = ("status", ("category", ScopedRelatedFilter))
    search_fields = ("name", "category__name")
    fieldsets = (
        (None, {"fields": ("category", "name", "status", "ordinal")}),
        ("Custom fields of its offers", {"fields": ("custom_fields",)}),
    )

    def save_model(self, request, obj, form, change):
        check_sub_category(obj)
        super().save_model(request, obj, form, change)


class OfferForm(ScopedForm):
    bounds = {"priority": (0, 100), "weight": (0, 100), "business_value": (0, 100)}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        inner, outer = cleaned.get("sub_category"), cleaned.get("category")
        if inner and inner.category_id != getattr(outer, "pk", None):
            self.add_error("sub_category", "Must be a sub-category of the category.")
        tenant = getattr(cleaned.get("tenant"), "pk", self.instance.tenant_id)
        stored = Offer.unscoped.filter(pk=self.instance.pk).first() or Offer(tenant_id=tenant)
        role = Role.ADMIN if tenant and self.scope.may(Role.ADMIN, tenant) else Role.EDITOR
        for path, text in offer_faults(stored, cleaned, role, timezone.now()):
            self.add_refusal(path, text)
        return cleaned


@admin.register(Offer)
class OfferAdmin(ConfigurationAdmin):
    form = OfferForm
    joined = ("category",)
    list_display = ("name", "status_label", "category", "priority", "business_value", "updated_at")
    list_filter = ("status", ("category", ScopedRelatedFilter))
    search_fields = ("name", "short_desc", "product_type")
    fieldsets = (
        (None, {"fields": ("name", "short_desc", "description", "status")}),
        ("Where it belongs", {"fields": ("category", "sub_category", "product_type", "tags")}),
        (
            "What it is worth",
            {"fields": ("priority", "weight", "business_value", "margin", "revenue_value")},
        ),
        ("When and how often", {"fields": ("schedule", "budget")}),
        (
            "Mandatory",
            {
                "fields": (
                    "mandatory",
                    "mandatory_reason",
                    "mandatory_expires_at",
                    "mandatory_approved_by",
                )
            },
        ),
        ("More", {"fields": ("custom_fields", "metadata")}),
    )
    facts = ("api_id", "created_at", "updated_at")
