"""Fields that take exactly the JSON type they name; nothing is guessed from another type."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import models
from rest_framework import serializers
from rest_framework.fields import empty

from kaireon import ids
from kaireon.access.authentication import access_of
from kaireon.access.models import TenantScoped


class Text(serializers.CharField):
    default_error_messages = {"invalid": "Must be a string."}

    def run_validation(self, data: Any = empty) -> Any:
        # As it is sent: what is left of spaces without those around it may be short enough.
        if isinstance(data, str) and len(data) > (self.max_length or math.inf):
            self.fail("max_length", max_length=self.max_length)
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TextOrNull(serializers.CharField):
    """Shows an empty text as null."""

    def to_representation(self, value: str) -> str | None:  # type: ignore[override]
        return value or None


class Key(Text):
    """A machine name."""

    default_error_messages = {
        "slug": "May hold only letters (a to z), digits, hyphens and underscores."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
            self.fail("slug")
        return text


class Integer(serializers.IntegerField):
    default_error_messages = {"invalid": "Must be an integer."}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if type(data) is not int:
            self.fail("invalid")
        return data


class Number(serializers.FloatField):
    default_error_messages = {"invalid": "Must be a number."}

    def to_internal_value(self, data: Any) -> float:
        if type(data) not in (int, float):
            self.fail("invalid")
        return float(data)


class Flag(serializers.BooleanField):
    default_error_messages = {"invalid": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class Choice(serializers.ChoiceField):
    default_error_messages = {"invalid_choice": "Must be one of: {allowed}."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", allowed=", ".join(self.choices))
        return data


class JsonObject(serializers.JSONField):
    default_error_messages = {"invalid": "Must be a JSON object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class JsonList(serializers.JSONField):
    default_error_messages = {"invalid": "Must be a JSON array."}

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("invalid")
        return data


class UtcDateTime(serializers.DateTimeField):
    """ISO-8601 in UTC with milliseconds: 2026-03-22T09:00:00.000Z."""

    def to_representation(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class OwnId(serializers.Field[Any, Any, str, Any]):
    """The public id of the row itself."""

    def __init__(self) -> None:
        super().__init__(source="*", read_only=True)

    def to_representation(self, row: Any) -> str:
        return ids.encode(type(row).__name__, row.id)


class PublicId(serializers.Field[Any, Any, str, Any]):
    """The public id of another row of the caller's tenant; reading it out costs no query."""

    default_error_messages = {
        "invalid": "Must be a string.",
        "unknown": "There is no {kind} with this id; ids of this kind begin with {prefix}_.",
    }

    def __init__(self, model: type[TenantScoped], **options: Any) -> None:
        self.model = model
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        tenant = access_of(self.context["request"]).tenant
        key = ids.decode(self.model.__name__, data)
        row: TenantScoped | None = self.model.objects.of(tenant).filter(pk=key).first()
        if row is None:
            self.fail("unknown", **described(self.model))
        return row

    def get_attribute(self, instance: Any) -> Any:
        return getattr(instance, f"{self.source}_id")

    def to_representation(self, key: int) -> str:
        return ids.encode(self.model.__name__, key)


class PublicIds(serializers.Field[Any, Any, list[str], Any]):
    """Ids of several rows of one kind, none twice; found with one query."""

    default_error_messages = {
        "invalid": "Must be an array of strings.",
        "too_many": "May hold at most {limit} ids.",
        "unknown": "There is no {kind} with this id; ids of this kind begin with {prefix}_.",
    }
    limit = 1000

    def __init__(self, model: type[TenantScoped], **options: Any) -> None:
        self.model = model
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> list[TenantScoped]:
        if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
            self.fail("invalid")
        if len(data) > self.limit:
            self.fail("too_many", limit=self.limit)
        tenant = access_of(self.context["request"]).tenant
        keys = [ids.decode(self.model.__name__, item) for item in data]
        found = self.model.objects.of(tenant).in_bulk({key for key in keys if key is not None})
        text = self.error_messages["unknown"].format(**described(self.model))
        faults = {f"[{n}]": text for n, key in enumerate(keys) if key not in found}
        faults |= {f"[{n}]": "Is there twice." for n, key in enumerate(keys) if key in keys[:n]}
        if faults:
            raise serializers.ValidationError(faults)
        return [found[key] for key in keys if key is not None]

    def to_representation(self, rows: models.Manager[Any]) -> list[str]:
        return [row.public_id for row in rows.all()]


class NotYet(serializers.Field[Any, Any, Any, Any]):
    """A documented field that this version refuses instead of ignoring."""

    default_error_messages = {"invalid": "Is not available in this version."}

    def to_internal_value(self, data: Any) -> None:
        if data is not None:
            self.fail("invalid")


def id_schema(*models: str) -> dict[str, Any]:
    """What OpenAPI is told of an id of a row of one of the models."""
    prefixes = [ids.PREFIXES[model] for model in models]
    begin = f"({'|'.join(prefixes)})" if prefixes[1:] else prefixes[0]
    return {
        "type": "string",
        "pattern": f"^{begin}_[A-Za-z0-9]+$",
        "example": f"{prefixes[0]}_Uk1pLm4z",
    }


def described(model: type[models.Model]) -> Mapping[str, str]:
    return {"kind": str(model._meta.verbose_name), "prefix": ids.PREFIXES[model.__name__]}
