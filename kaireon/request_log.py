"""A line in the log for every request, and an id by which its lines are found."""

import re
import uuid
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django_structlog.middlewares import RequestMiddleware

from kaireon import logs

GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
#: Asked for every few seconds by machines.
SILENT = ("/health/", "/metrics")


class RequestLog(RequestMiddleware):
    """Binds the request's id to all its lines, and returns it as `X-Request-ID`.

    A caller, or a proxy, may give the id; anything but a short plain word is replaced. Neither
    bodies nor query strings nor headers are logged.
    """

    async_capable = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(SILENT):
            return cast(HttpResponse, self.get_response(request))
        given = request.headers.get("X-Request-ID", "")
        name = given if GIVEN_ID.fullmatch(given) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = name
        token = logs.answering.set(request)
        try:
            response = cast(HttpResponse, super().__call__(request))
        finally:
            logs.answering.reset(token)
        response["X-Request-ID"] = name
        return response

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {escape_uri_path(request.path)}"
