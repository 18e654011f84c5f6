"""What lists can be filtered by. An empty or impossible value is refused, never ignored.

A well-formed id finds the rows that refer to it: none if it is unknown or of another tenant.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field

from campaigns.api.fields import id_schema
from campaigns.api.scopes import scoped_models
from kaireon import ids
from kaireon.access.models import TenantScoped


class GivenText(forms.CharField):
    """Tells a parameter that is empty from one that is not there."""

    def clean(self, value: Any) -> Any:
        if value == "":
            raise ValidationError("May not be empty.")
        return super().clean(value)


class GivenMoment(filters.IsoDateTimeFilter.field_class):
    def clean(self, value: Any) -> Any:
        if value == "":
            raise ValidationError("May not be empty.")
        try:
            moment = super().clean(value)
        except (ValidationError, OverflowError) as error:
            text = "Must be a time in ISO-8601, such as 2026-03-22T09:00:00Z."
            raise ValidationError(text) from error
        return moment and in_utc(moment)


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC: PostgreSQL takes no offset of 16 hours or more, which ISO-8601 has."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # before the year 1 or after 9999, when nothing was or will be
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return first if moment.year == 1 else last


class FilterSet(filters.FilterSet):
    """The filters of one list, by the names of their query parameters."""


class TextFilter(filters.Filter):
    """Rows whose field equals the text; `check` raises ValidationError for impossible texts."""

    field_class = GivenText

    def __init__(self, field_name: str, schema: Mapping[str, Any] | None = None) -> None:
        super().__init__(field_name=field_name, strip=False, validators=[self.check])
        extend_schema_field(dict(schema or {"type": "string", "minLength": 1}))(self)

    def check(self, value: str) -> None:
        pass


class OneOf(TextFilter):
    """Rows whose field is one word of a closed set."""

    def __init__(self, field_name: str, words: Iterable[str]) -> None:
        self.words = tuple(map(str, words))
        super().__init__(field_name, {"type": "string", "enum": [*self.words]})

    def check(self, value: str) -> None:
        if value not in self.words:
            raise ValidationError(f"Must be one of: {', '.join(self.words)}.")


class Flag(OneOf):
    """Rows whose field is true or false."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name, ("true", "false"))

    def filter(self, qs: QuerySet[Any], value: Any) -> Any:
        return super().filter(qs, value and value == "true")


class PublicIdFilter(TextFilter):
    """Rows that refer to the row with this public id."""

    def __init__(self, field_name: str, *models: type[TenantScoped]) -> None:
        self.models = models
        super().__init__(field_name, id_schema(*(model.__name__ for model in models)))

    def check(self, value: str) -> None:
        self.decode(value)

    def decode(self, value: str) -> tuple[type[TenantScoped], int]:
        """Return what kind of row is meant, and its key."""
        for model in self.models:
            key = ids.decode(model.__name__, value)
            if key is not None:
                return model, key
        prefixes = ", ".join(f"{ids.PREFIXES[model.__name__]}_" for model in self.models)
        raise ValidationError(f"Must be an id that begins with: {prefixes}.")

    def filter(self, qs: QuerySet[Any], value: Any) -> Any:
        return super().filter(qs, self.decode(value)[1] if value else None)


class ScopeIdFilter(PublicIdFilter):
    """Rows whose scope is the row with this id; its prefix says of what kind that is."""

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = {model: scope for scope, model in scoped_models(scopes).items()}
        super().__init__("scope_key", *self.scopes)

    def filter(self, qs: QuerySet[Any], value: Any) -> Any:
        if not value:
            return qs
        model, key = self.decode(value)
        return qs.filter(scope=self.scopes[model], scope_key=key)


class Moment(filters.IsoDateTimeFilter):
    """Rows from a time on (`gte`) or before it (`lt`)."""

    field_class = GivenMoment

    def __init__(self, field_name: str, lookup_expr: str) -> None:
        super().__init__(field_name=field_name, lookup_expr=lookup_expr)
