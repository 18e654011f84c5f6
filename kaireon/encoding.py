"""Requests are read as UTF-8, whatever charset they claim.

Django believes any codec that Python has, also those that are no encodings of text (hex, rot13),
and fails while it reads the query with them.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase


def utf8(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Middleware that stands before all that reads a request's query or form."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        request.encoding = "utf-8"
        return get_response(request)

    return answer
