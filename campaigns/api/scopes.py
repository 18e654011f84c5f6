"""The field `scopeId`: the id of whatever the field `scope` beside it names."""

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
