"""The field `scopeId`, the id of what `scope` beside it names, and `scopes`, several of both."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.drainage import set_override
from rest_framework import serializers

from campaigns.api import fields
from campaigns.services.references import SCOPES
from kaireon import ids
from kaireon.access.models import TenantScoped


def scoped_models(scopes: Iterable[str]) -> dict[str, type[TenantScoped]]:
    """What each of the scopes names; "global" names nothing."""
    return {str(scope): SCOPES[scope] for scope in scopes if scope in SCOPES}


class ScopeId(serializers.Field[Any, Any, str, Any]):
    """Read as text: its kind is known only together with `scope`, so the service finds the row."""

    default_error_messages = {"invalid": "Must be a string."}

    def __init__(self, scopes: Iterable[str], **options: Any) -> None:
        super().__init__(source="scope_id", **options)
        models = scoped_models(scopes).values()
        set_override(self, "field", fields.id_schema(*(model.__name__ for model in models)))

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data

    def get_attribute(self, instance: Any) -> tuple[str, int] | None:
        return None if instance.scope_key is None else (instance.scope, instance.scope_key)

    def to_representation(self, value: Any) -> str:
        scope, key = value
        return ids.encode(SCOPES[scope].__name__, key)


class Scopes(serializers.Field[Any, Any, list[Any], Any]):
    """Several places to act; the service finds the rows."""

    default_error_messages = {
        "invalid": "Must be an array of objects.",
        "too_many": "May hold at most {limit} scopes.",
    }
    limit = 100

    def __init__(self, scopes: Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        self.scopes = tuple(map(str, scopes))
        set_override(self, "field", scopes_schema(self.scopes, self.limit))

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            self.fail("invalid")
        if len(data) > self.limit:
            self.fail("too_many", limit=self.limit)
        faults: dict[str, Any] = {}
        for number, item in enumerate(data):
            faults |= {f"[{number}].{name}": [text] for name, text in self._faults(item)}
        if faults:
            raise serializers.ValidationError(faults)
        return data

    def _faults(self, item: dict[str, Any]) -> Iterable[tuple[str, str]]:
        yield from ((name, "Unknown field.") for name in item if name not in ("scope", "scopeId"))
        if item.get("scope") not in self.scopes:
            yield "scope", f"Must be one of: {', '.join(self.scopes)}."
        if not isinstance(item.get("scopeId"), str | None):
            yield "scopeId", "Must be a string."

    def to_representation(self, value: list[Any]) -> list[Any]:
        return value


def scopes_schema(scopes: Iterable[str], limit: int) -> dict[str, Any]:
    """What OpenAPI is told of several scopes."""
    models = scoped_models(scopes).values()
    one = fields.id_schema(*(model.__name__ for model in models))
    return {
        "type": "array",
        "maxItems": limit,
        "items": {
            "type": "object",
            "properties": {
                "scope": {"type": "string", "enum": [*scopes]},
                "scopeId": {**one, "type": ["string", "null"]},
            },
            "required": ["scope"],
            "additionalProperties": False,
        },
    }
