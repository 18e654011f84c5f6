"""The base of every admin page: a user sees and changes rows of the own tenants only.

Roles come from memberships; Django's model permissions are not looked at. What a service refuses
while saving is shown on the form, and nothing is saved.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import RelatedFieldListFilter
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display

from executor.errors import Rejected
from kaireon.access.admin.form import ScopedForm
from kaireon.access.models import Role, Tenant, TenantScoped
from kaireon.access.scope import scope_of

VIEWER_EDITOR_ADMIN: Mapping[str, Role] = {
    "view": Role.VIEWER,
    "add": Role.EDITOR,
    "change": Role.EDITOR,
    "delete": Role.ADMIN,
}


class ScopedRelatedFilter(RelatedFieldListFilter):
    """A filter that offers the rows which the user may see, instead of all."""

    def field_choices(self, field, request, model_admin):
        related = model_admin.admin_site.get_model_admin(field.remote_field.model)
        return [(row.pk, str(row)) for row in related.get_queryset(request)]


class ScopedAdmin(ModelAdmin):
    form = ScopedForm
    #: Lookup from a row to its tenant.
    tenant_path = "tenant"
    needed: ClassVar[Mapping[str, Role]] = VIEWER_EDITOR_ADMIN
    #: Relations that the text of a row needs.
    joined: Sequence[str] = ()
    #: Read-only lines at the end of a change page.
    facts: Sequence[str] = ("api_id",)
    #: What a service raises when the user has to act.
    refusals: ClassVar[tuple[type[Exception], ...]] = (Rejected,)
    #: Field that shows the faults at a path; other paths show where their first word says.
    places: ClassVar[Mapping[str, str]] = {}
    list_per_page = 50

    # Who may do what

    def may(self, request: HttpRequest, verb: str, obj: Model | str | None = None) -> bool:
        """Whether the user's role allows `verb` on the row, or on any row of the model.

        The theme names a row by its key instead of handing it over.
        """
        scope, role = scope_of(request), self.needed[verb]
        if isinstance(obj, str):
            obj = self.get_object(request, unquote(obj))
            if obj is None:
                return False
        return scope.may(role, None if obj is None else self.tenant_key(obj))

    def tenant_key(self, obj: Model) -> int:
        return obj.tenant_id

    def has_module_permission(self, request):
        return self.may(request, "view")

    def has_view_permission(self, request, obj=None):
        return self.may(request, "view", obj)

    def has_add_permission(self, request):
        return self.may(request, "add")

    def has_change_permission(self, request, obj=None):
        return self.may(request, "change", obj)

    def has_delete_permission(self, request, obj=None):
        return self.may(request, "delete", obj)

    def get_queryset(self, request):
        rows = scope_of(request).limit(
            super().get_queryset(request), self.tenant_path, self.needed["view"]
        )
        return rows.select_related(*self.joined) if self.joined else rows

    def find(self, request: HttpRequest, object_id: str, verb: str) -> Any:
        """Return a row for a page of one's own.

        Raises Http404 for a row the user cannot see and PermissionDenied for what the role forbids.
        """
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        if not self.may(request, verb, row):
            raise PermissionDenied
        return row

    # Which rows a form and a list may name

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        self.offer_own_rows(db_field, request, kwargs)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        self.offer_own_rows(db_field, request, kwargs)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def offer_own_rows(self, db_field: Any, request: HttpRequest, options: dict[str, Any]) -> None:
        related = db_field.remote_field.model
        if issubclass(related, Tenant):
            rows = scope_of(request).limit(Tenant.objects.all(), "pk", self.needed["add"])
            options.setdefault("queryset", rows)
        elif issubclass(related, TenantScoped):
            rows = self.admin_site.get_model_admin(related).get_queryset(request)
            options.setdefault("queryset", rows)

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change=change, **kwargs)
        form.scope = scope_of(request)
        form.own_tenant = form.scope.only(self.needed["add"]) if obj is None else None
        form.refusals = getattr(request, "refusals", ())
        form.places = self.places
        return form

    def several_tenants(self, request: HttpRequest, verb: str = "view") -> bool:
        return scope_of(request).only(self.needed[verb]) is None

    def get_fieldsets(self, request, obj=None):
        fieldsets = list(super().get_fieldsets(request, obj))
        if self.several_tenants(request, "view" if obj else "add"):
            title, options = fieldsets[0]
            fieldsets[0] = (title, {**options, "fields": ("tenant", *options["fields"])})
        if obj and self.facts:
            fieldsets.append(("Facts", {"fields": tuple(self.facts)}))
        return fieldsets

    def get_readonly_fields(self, request, obj=None):
        fields = (*super().get_readonly_fields(request, obj), *self.facts)
        return fields if obj is None else (*fields, "tenant")

    def get_list_display(self, request):
        columns = (*super().get_list_display(request),)
        return (*columns, "tenant") if self.several_tenants(request) else columns

    def get_list_select_related(self, request):
        return (*self.joined, "tenant") if self.several_tenants(request) else (*self.joined,)

    def get_list_filter(self, request):
        filters = (*super().get_list_filter(request),)
        if self.several_tenants(request):
            return (*filters, ("tenant", ScopedRelatedFilter))
        return filters

    @display(description="id in the API")
    def api_id(self, row: TenantScoped) -> str:
        return row.public_id

    # What is refused

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (*self.refusals, IntegrityError) as error:
            # Rolled back by now. The same page again shows the faults on its fields.
            request.refusals = faults_of(error)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request, object_id, extra_context=None):
        try:
            return super().delete_view(request, object_id, extra_context)
        except self.refusals as error:
            return self.refuse(request, error, self.page_of(object_id))

    def changelist_view(self, request, extra_context=None):
        if request.method != "POST":
            return super().changelist_view(request, extra_context)
        try:
            with transaction.atomic():
                return super().changelist_view(request, extra_context)
        except self.refusals as error:
            return self.refuse(request, error, self.list_page())

    def delete_queryset(self, request, queryset):
        for row in queryset:
            self.delete_model(request, row)

    def refuse(self, request: HttpRequest, error: Exception, url: str) -> HttpResponse:
        for path, text in faults_of(error):
            messages.error(request, f"{path}: {text}" if path else text)
        return HttpResponseRedirect(url)

    # Pages of one's own

    def page_of(self, key: object) -> str:
        return reverse(self.url_name("change"), args=[key])

    def list_page(self) -> str:
        return reverse(self.url_name("changelist"))

    def url_name(self, page: str) -> str:
        return f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"

    def confirm(self, request: HttpRequest, obj: Model, **context: Any) -> TemplateResponse:
        """A page that asks before it acts: `title`, `question`, `lines` of (name, value), `button`.

        It posts to its own address, together with the `form` if there is one.
        """
        return TemplateResponse(
            request,
            "admin/confirm.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "original": obj,
                "back": self.page_of(obj.pk),
                **context,
            },
        )


class ReadOnly:
    """Rows that are only looked at, by whoever may."""

    actions = None

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


def faults_of(error: Exception) -> list[tuple[str, str]]:
    """Return (path, message) pairs for the user. Raises what is not the user's to act on."""
    if isinstance(error, Rejected):
        return error.errors
    if isinstance(error, IntegrityError):
        if getattr(error.__cause__, "sqlstate", None) not in LOST_RACES:
            raise error
        return [("", "Another request changed the same data first; look and try again.")]
    return [("", str(error))]


#: Violations of a unique or a foreign key, which the form has just found to be fine.
LOST_RACES = ("23505", "23503")


def become(row: Model, saved: Model) -> None:
    """Give the row that a form holds the values of the same row as a service has saved it."""
    for field in row._meta.concrete_fields:
        setattr(row, field.attname, getattr(saved, field.attname))
    row._state.adding = False
