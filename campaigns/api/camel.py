"""Serializers of the API: camelCase names outside, snake_case inside, JSON values untouched."""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models
from rest_framework import serializers
from rest_framework.fields import SkipField

from campaigns.api import fields

ModelT = TypeVar("ModelT", bound=models.Model)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


class StrictSerializer(serializers.Serializer[Any]):
    """Reads a JSON object: every fault of every field at once, unknown names refused."""

    def read(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values by attribute name, and the faults by field name."""
        values: dict[str, Any] = {}
        faults: dict[str, Any] = {
            name: ["Unknown field."] for name in data if name not in self.fields
        }
        for name, field in self.fields.items():
            if field.read_only:
                if name in data:
                    faults[name] = ["Is set by the server; it cannot be given."]
                continue
            try:
                value = field.run_validation(field.get_value(data))
            except SkipField:
                continue
            except serializers.ValidationError as error:
                faults[name] = error.detail
            else:
                values[field.source or name] = value
        return values, faults

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            message = ["Must be a JSON object."]
            raise serializers.ValidationError({"non_field_errors": message})
        values, faults = self.read(data)
        if faults:
            raise serializers.ValidationError(faults)
        return values


class CamelModelSerializer(StrictSerializer, serializers.ModelSerializer[ModelT]):
    """`Meta.fields` names attributes in snake_case; declared fields carry their own camelCase."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.BigIntegerField: fields.Integer,
        models.BooleanField: fields.Flag,
        models.CharField: fields.Text,
        models.DateTimeField: fields.UtcDateTime,
        models.FloatField: fields.Number,
        models.IntegerField: fields.Integer,
        models.PositiveIntegerField: fields.Integer,
        models.PositiveSmallIntegerField: fields.Integer,
        models.SmallIntegerField: fields.Integer,
        models.TextField: fields.Text,
    }
    serializer_choice_field = fields.Choice

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        named: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
        for name, field in super().get_fields().items():
            if field.source is None and camel(name) != name:
                field.source = name
            named[camel(name)] = field
        return named
