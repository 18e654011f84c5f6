"""Lists by limit and offset; a bad limit or offset is refused, never silently corrected."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response

MAX_OFFSET = 2**31 - 1


class Paged(LimitOffsetPagination):
    """{"data": […], "total": n}"""

    default_limit = 50
    max_limit = 200
    key = "data"

    def get_limit(self, request: Request) -> int:
        return read_integer(request, "limit", self.default_limit, (1, self.max_limit))

    def get_offset(self, request: Request) -> int:
        return read_integer(request, "offset", 0, (0, MAX_OFFSET))

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.key: data, "total": self.count})


class RunsPaged(Paged):
    """{"runs": […], "total": n}, as documented for campaigns."""

    key = "runs"


class HistoryPaged(RunsPaged):
    max_limit = 50


def read_integer(request: Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    low, high = bounds
    if text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high:
        return int(text)
    raise ValidationError({name: [f"Must be an integer from {low} to {high}."]})
