"""What a rule or a policy applies to: one choice in the form for its scope and its key."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.db.models import Model
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.models import (
    Category,
    Channel,
    Creative,
    Offer,
    Placement,
    Segment,
    SubCategory,
)
from kaireon import ids
from kaireon.access.admin.form import ScopedForm
from kaireon.access.models import Role, TenantScoped

EVERYTHING = "Everything"
MODELS: Mapping[str, type[TenantScoped]] = {
    "segment": Segment,
    "channel": Channel,
    "category": Category,
    "subcategory": SubCategory,
    "offer": Offer,
    "creative": Creative,
    "placement": Placement,
}
#: What the texts of the rows need.
JOINED = {"subcategory": "category", "placement": "channel"}


class TargetForm(ScopedForm):
    applies_to = forms.ChoiceField(
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Restricts it to the candidates of one object. Of several, as the API can name"
        " them, it is the first; choosing another forgets them.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.targets: dict[str, tuple[str, int, int]] = {}
        if "applies_to" in self.fields:
            self.fields["applies_to"].choices = [("", EVERYTHING), *self._groups()]
            self.initial["applies_to"] = self._present()

    def _groups(self) -> Iterable[tuple[str, list[tuple[str, str]]]]:
        """The rows of every kind that may be named, with one query for each kind."""
        for scope in self._meta.model.Scope.values:
            if scope not in MODELS:
                continue
            model = MODELS[scope]
            rows = self.scope.limit(model.unscoped.all(), "tenant", Role.VIEWER)
            if self.instance.tenant_id:
                rows = rows.filter(tenant_id=self.instance.tenant_id)
            if scope in JOINED:
                rows = rows.select_related(JOINED[scope])
            found = [(row.public_id, str(row), row.tenant_id, row.pk) for row in rows]
            self.targets |= {name: (scope, key, owner) for name, _, owner, key in found}
            yield (
                model._meta.verbose_name_plural.capitalize(),
                [(name, f"{scope}: {text}") for name, text, _, _ in found],
            )

    def _present(self) -> str:
        row = self.instance
        if row.scope_key is None:
            return ""
        name = ids.encode(MODELS[row.scope].__name__, row.scope_key)
        if name not in self.targets:
            # Without a choice for it, saving would silently extend it to everything.
            self.targets[name] = (row.scope, row.scope_key, row.tenant_id)
            self.fields["applies_to"].choices += [(name, f"{row.scope}: {name}, which is gone")]
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if "applies_to" not in cleaned:
            return cleaned
        name, tenant = cleaned["applies_to"], cleaned.get("tenant")
        scope, key, owner = self.targets.get(name, ("global", None, None))
        if (scope, key) != (self.instance.scope, self.instance.scope_key):
            self.instance.scopes = []
        self.instance.scope, self.instance.scope_key = scope, key
        if owner is not None and owner != (tenant.pk if tenant else self.instance.tenant_id):
            self.add_error("applies_to", "Belongs to another tenant.")
        return cleaned


def name_targets(rows: Iterable[Model]) -> None:
    """Set `target` on every row to the text of what it applies to, with one query for each kind."""
    rows = list(rows)
    for scope, model in MODELS.items():
        mine = [row for row in rows if row.scope == scope]
        if not mine:
            continue
        candidates = model.unscoped.filter(tenant__in={row.tenant_id for row in mine})
        if scope in JOINED:
            candidates = candidates.select_related(JOINED[scope])
        found = candidates.in_bulk({row.scope_key for row in mine})
        for row in mine:
            target = found.get(row.scope_key)
            more = f" and {len(row.scopes) - 1} more" if len(row.scopes) > 1 else ""
            row.target = f"{scope}: {target or 'gone'}{more}"
    for row in rows:
        if row.scope == "global":
            row.target = EVERYTHING
