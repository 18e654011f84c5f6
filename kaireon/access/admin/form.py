"""The form of every admin page: rows of one tenant only, and faults on the fields they concern."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet

from kaireon.access.models import TenantScoped
from kaireon.access.scope import Scope


class ScopedForm(forms.ModelForm):
    """The attributes below are set for each request on the class that the admin makes for it."""

    scope: ClassVar[Scope]
    #: The tenant of a new row, when the user has no choice.
    own_tenant: ClassVar[int | None] = None
    #: What a service has refused, as (path, message).
    refusals: ClassVar[Sequence[tuple[str, str]]] = ()
    places: ClassVar[Mapping[str, str]] = {}
    #: Least and greatest value by field.
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.own_tenant and self.instance._state.adding:
            self.instance.tenant_id = self.own_tenant
        for field in self.fields.values():
            self._narrow(field)
        for name, (least, greatest) in self.bounds.items():
            if name in self.fields:
                bound(self.fields[name], least, greatest)

    def _narrow(self, field: forms.Field) -> None:
        """Once the tenant is known, a choice has its rows only."""
        rows = getattr(field, "queryset", None)
        if self.instance.tenant_id and rows is not None and issubclass(rows.model, TenantScoped):
            field.queryset = rows.filter(tenant_id=self.instance.tenant_id)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        tenant = cleaned.get("tenant") or self.instance.tenant_id
        key = getattr(tenant, "pk", tenant)
        for name, value in list(cleaned.items()):
            rows = value if isinstance(value, QuerySet) else [value]
            if any(isinstance(row, TenantScoped) and row.tenant_id != key for row in rows):
                self.add_error(name, "Belongs to another tenant.")
        for path, text in self.refusals:
            self.add_refusal(path, text)
        return cleaned

    def add_refusal(self, path: str, text: str) -> None:
        """Show a fault on the field that its path names, with what of the path is left."""
        whole = max((p for p in self.places if path.startswith(p)), key=len, default=None)
        first = re.split(r"[.\[]", path)[0]
        name = self.places[whole] if whole is not None else snake(first)
        shown = path in (whole, first)
        self.add_error(name if name in self.fields else None, text if shown else f"{path}: {text}")

    def _get_validation_exclusions(self) -> set[str]:
        # The tenant is never left to the form, so what is unique within it can be checked.
        exclusions: set[str] = super()._get_validation_exclusions()
        return exclusions - {"tenant"} if self.instance.tenant_id else exclusions

    def _update_errors(self, errors: ValidationError) -> None:
        """What must be unique is said on its field, without the tenant that nobody typed."""
        for fault in getattr(errors, "error_dict", {}).pop(NON_FIELD_ERRORS, ()):
            self.add_constraint_fault(fault)
        if getattr(errors, "error_dict", True):
            super()._update_errors(errors)

    def add_constraint_fault(self, fault: ValidationError) -> None:
        name = fault.params["unique_check"][-1] if fault.code == "unique_together" else None
        if name in self.fields:
            kind = self.instance._meta.verbose_name
            self.add_error(name, f"There is a {kind} with this {name} already.")
        else:
            self.add_error(None, fault)


def bound(field: forms.Field, least: int, greatest: int) -> None:
    field.validators += [MinValueValidator(least), MaxValueValidator(greatest)]
    field.widget.attrs.update(min=least, max=greatest)
    field.help_text = field.help_text or f"{least} to {greatest}."


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
