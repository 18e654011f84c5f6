"""What all pages of configuration share: JSON fields, status labels, and conflicts as messages."""

import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.utils.html import format_html
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from campaigns.services.errors import Conflict
from executor.errors import Rejected, Unavailable
from kaireon.access.admin.scoped import ScopedAdmin

STATUS_LABELS = {"draft": "info", "active": "success", "paused": "warning", "archived": "default"}
KINDS = {dict: "a JSON object", list: "a JSON array"}


class JsonField(forms.JSONField):
    """JSON as text that a person can read, and that PostgreSQL can store."""

    def __init__(self, *, empty: Any, kinds: tuple[type, ...], **options: Any) -> None:
        super().__init__(**options)
        self.empty = empty
        self.kinds = kinds

    def bound_data(self, data: Any, initial: Any) -> Any:
        # As it was typed, right or wrong.
        return None if data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, InvalidJSONInput) else pretty(value)

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        try:
            return json.loads(value)
        except RecursionError:
            raise ValidationError("Is nested too deeply.") from None
        except ValueError as error:
            raise ValidationError(f"Is not JSON: {error}") from error

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        if cleaned is None:
            return type(self.empty)()
        if not isinstance(cleaned, self.kinds):
            allowed = " or ".join(KINDS[kind] for kind in self.kinds)
            raise ValidationError(f"Must be {allowed}.")
        check_storable(cleaned)
        return cleaned


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def check_storable(value: Any) -> None:
    """Raise ValidationError for what Python calls JSON and PostgreSQL does not."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        raise ValidationError("Holds NaN, Infinity or half a character.") from error
    if "\\u0000" in text:
        raise ValidationError("May not hold the character U+0000.")


class ConfigurationAdmin(ScopedAdmin):
    refusals = (Rejected, Conflict, Unavailable)
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget({"rows": 3})}}
    #: JSON fields that may also be of another kind than their default.
    json_kinds: ClassVar[dict[str, tuple[type, ...]]] = {}
    json_rows = 6

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        if isinstance(db_field, models.JSONField):
            return self.json_field(db_field)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def json_field(self, db_field: models.JSONField) -> JsonField:
        empty = db_field.get_default()
        return JsonField(
            empty=empty,
            kinds=self.json_kinds.get(db_field.name, (type(empty),)),
            required=not db_field.blank,
            label=db_field.verbose_name.capitalize(),
            help_text=db_field.help_text,
            initial=empty,
            widget=UnfoldAdminTextareaWidget(
                attrs={
                    "rows": self.json_rows,
                    "spellcheck": "false",
                    "style": "font-family: monospace",
                }
            ),
        )

    @display(description="status", ordering="status", label=STATUS_LABELS)
    def status_label(self, row: models.Model) -> tuple[str, str]:
        return row.status, row.get_status_display()


def preformatted(value: Any, summary: str) -> str:
    """JSON behind a summary that opens on a click."""
    return format_html(
        "<details><summary>{}</summary><pre>{}</pre></details>", summary, pretty(value)
    )
