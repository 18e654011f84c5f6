"""Lists: campaigns by limit and offset as documented, everything else by cursor.

A bad limit, offset, cursor or ordering is refused, never silently corrected.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError as Invalid
from django.db.models import Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination, LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response

MAX_OFFSET = 2**31 - 1


class RunsPaged(LimitOffsetPagination):
    """{"runs": […], "total": n}, as documented for campaigns."""

    default_limit = 50
    max_limit = 200

    def get_limit(self, request: Request) -> int:
        return read_integer(request, "limit", self.default_limit, (1, self.max_limit))

    def get_offset(self, request: Request) -> int:
        return read_integer(request, "offset", 0, (0, MAX_OFFSET))

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"runs": data, "total": self.count})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return described({"runs": schema, "total": {"type": "integer", "minimum": 0, "example": 5}})


class HistoryPaged(RunsPaged):
    max_limit = 50


class CursorPaged(BasePagination):
    """{"data": […], "pagination": {"total", "limit", "hasMore", "nextCursor"}}

    Rows come in the order that `?ordering=` or the view's `default_ordering` names, and by their
    keys where that is equal, so no row is shown twice or left out while others come and go.
    """

    default_limit = 25
    max_limit = 200

    def paginate_queryset(  # type: ignore[override]
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        self.limit = read_integer(request, "limit", self.default_limit, (1, self.max_limit))
        order = read_ordering(request, view.orderings, view.default_ordering, view.cursor_key)
        place = read_cursor(request, queryset, order)
        self.total = queryset.order_by().count()
        if place is not None:
            queryset = queryset.filter(after(order, place))
        rows = list(queryset.order_by(*order)[: self.limit + 1])
        self.next_cursor = cursor_of(rows[self.limit - 1], order) if rows[self.limit :] else None
        return rows[: self.limit]

    def get_paginated_response(self, data: Any) -> Response:
        pagination = {
            "total": self.total,
            "limit": self.limit,
            "hasMore": self.next_cursor is not None,
            "nextCursor": self.next_cursor,
        }
        return Response({"data": data, "pagination": pagination})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        pagination = {
            "total": {"type": "integer", "minimum": 0},
            "limit": {"type": "integer"},
            "hasMore": {"type": "boolean"},
            "nextCursor": {"type": ["string", "null"]},
        }
        return described({"data": schema, "pagination": described(pagination)})


def described(properties: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI schema of an object that always has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_ordering(
    request: Request, allowed: Mapping[str, str], default: tuple[str, ...], key: str = "pk"
) -> tuple[str, ...]:
    """Return the fields to order by, "-" before descending ones, the key last."""
    text = request.query_params.get("ordering")
    if text is None:
        ends_with_key = default[-1:] in ((key,), (f"-{key}",))
        return default if ends_with_key else (*default, key)
    name = text.removeprefix("-")
    if name not in allowed:
        choices = ", ".join(allowed)
        message = f'Must be one of: {choices}; "-" before it reverses the order.'
        raise ValidationError({"ordering": [message]})
    sign = "-" if text.startswith("-") else ""
    return (f"{sign}{allowed[name]}", f"{sign}{key}")


def cursor_of(row: Any, order: tuple[str, ...]) -> str:
    values = [getattr(row, name.removeprefix("-")) for name in order]
    texts = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return urlsafe_b64encode(json.dumps([list(order), *texts]).encode()).decode().rstrip("=")


def read_cursor(
    request: Request, queryset: QuerySet[Any], order: tuple[str, ...]
) -> list[Any] | None:
    """Return the values of the row that the page before ended with."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        fields, *values = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if fields != list(order) or len(values) != len(order):
            raise ValueError("of another list")
        return [clean(queryset, *pair) for pair in zip(order, values, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, Invalid) as error:
        message = "Must be the nextCursor of a page of this list in the same order."
        raise ValidationError({"cursor": [message]}) from error


def clean(queryset: QuerySet[Any], name: str, value: Any) -> Any:
    """Return the value as its field takes it; raises what reading it may raise."""
    if value is None or (isinstance(value, str) and b"\0" in value.encode()):
        raise ValueError("is no value of a row")  # as encode() does of half a surrogate pair
    name = name.removeprefix("-")
    meta = queryset.model._meta
    field = meta.pk if name == "pk" else meta.get_field(name)
    cleaned = field.to_python(value)
    field.run_validators(cleaned)
    return cleaned


def after(order: tuple[str, ...], place: list[Any]) -> Q:
    """The rows behind `place`: greater in the first field that differs."""
    found, equal = Q(), Q()
    for name, value in zip(order, place, strict=True):
        field, comparison = name.removeprefix("-"), "lt" if name.startswith("-") else "gt"
        found |= equal & Q(**{f"{field}__{comparison}": value})
        equal &= Q(**{field: value})
    return found


def read_integer(request: Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    low, high = bounds
    if text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high:
        return int(text)
    raise ValidationError({name: [f"Must be an integer from {low} to {high}."]})
