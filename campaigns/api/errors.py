"""Every failure leaves as {"error": {"code", "message", "status", "fields"?}}."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import IntegrityError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views import defaults
from psycopg import errors as pg
from rest_framework.exceptions import NotAuthenticated, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from campaigns.services.errors import Conflict, Gone, Missing
from executor.errors import Rejected, Unavailable

logger = logging.getLogger(__name__)

CODES = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}


def body(status: int, message: str, fields: Mapping[str, list[str]] | None = None) -> Any:
    error: dict[str, Any] = {
        "code": CODES.get(status, "error"),
        "message": message,
        "status": status,
    }
    if fields:
        error["fields"] = fields
    return {"error": error}


def handle(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the answer to an exception a view raised, or None if it is our own fault (a 500)."""
    if isinstance(exc, ValidationError):
        return refusal(flatten(exc.detail))
    if isinstance(exc, Rejected):
        return refusal(exc.errors)
    if isinstance(exc, Conflict):
        return Response(body(409, str(exc)), status=409)
    if isinstance(exc, Missing):
        return Response(body(404, str(exc)), status=404)
    if isinstance(exc, Gone):
        return Response(body(410, str(exc)), status=410)
    if isinstance(exc, Unavailable):
        logger.warning("%s", exc)
        message = "What is stored of runs cannot be reached for now; try again in a while."
        return Response(body(503, message), status=503)
    if isinstance(exc, IntegrityError) and lost_race(exc):
        return Response(body(409, "Another request changed the same data first."), status=409)
    response = exception_handler(exc, dict(context))
    if response is not None:
        response.data = body(response.status_code, message_of(exc, response))
    return response


def message_of(exc: Exception, response: Response) -> str:
    if isinstance(exc, NotAuthenticated):
        return "Send an API key, as in: Authorization: Bearer krn_…"
    return str(response.data["detail"])


def lost_race(exc: IntegrityError) -> bool:
    return isinstance(exc.__cause__, pg.UniqueViolation | pg.ForeignKeyViolation)


def refusal(errors: Iterable[tuple[str, str]]) -> Response:
    """A 400 that tells the faults by field; faults of the whole body are in the message only."""
    errors = list(errors)
    fields: dict[str, list[str]] = {}
    for path, text in errors:
        if path:
            fields.setdefault(path, []).append(text)
    if len(errors) > 1 and fields:
        message = f"{len(errors)} things are wrong with: {', '.join(fields)}."
    else:
        message = "; ".join(f"{path}: {text}" if path else text for path, text in errors)
    return Response(body(400, message, fields), status=400)


def flatten(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Turn the nested detail of a ValidationError into (path, message) pairs."""
    if isinstance(detail, dict):
        for key, inner in detail.items():
            yield from flatten(inner, joined(path, key))
    elif isinstance(detail, list | tuple):
        for inner in detail:
            yield from flatten(inner, path)
    else:
        yield path, str(detail)


def joined(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key == "non_field_errors":
        return path
    return f"{path}{key}" if key.startswith("[") or not path else f"{path}.{key}"


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_api(request):
        return JsonResponse(body(400, "The request could not be read."), status=400)
    return defaults.bad_request(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_api(request):
        return JsonResponse(body(404, "There is nothing at this address."), status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if is_api(request):
        message = "Something broke on our side; the server's log says what."
        return JsonResponse(body(500, message), status=500)
    return defaults.server_error(request)
