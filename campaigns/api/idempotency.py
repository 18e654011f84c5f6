"""Idempotency-Key: a POST that is sent again gets the answer of the first, and does nothing."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.models import IdempotentRequest
from campaigns.services.errors import Conflict
from kaireon.access.authentication import access_of

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
KEPT = timedelta(hours=24)


def answer_once(request: Request, work: Callable[..., Response], **names: str) -> Response:
    """Do the work and keep its answer, or return the answer kept for this key.

    One transaction holds the work and the answer, so there is never one without the other, and an
    equal request at the same time waits. A refusal is not kept: it changed nothing.
    """
    tenant, key = access_of(request).tenant, read_key(request)
    digest = digest_of(request)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [key, tenant.pk]
            )
        earlier = IdempotentRequest.objects.of(tenant)
        earlier.filter(created_at__lt=timezone.now() - KEPT).delete()
        kept = earlier.filter(key=key).first()
        if kept is not None:
            if kept.digest != digest:
                raise Conflict(f"This {HEADER} was used for another request.")
            return Response(kept.body, kept.status, headers={"Idempotency-Replayed": "true"})
        response = work(request, **names)
        if response.status_code < 400:
            status, body = kept_answer(response)
            IdempotentRequest(tenant=tenant, key=key, digest=digest, status=status, body=body).save(
                force_insert=True
            )
        return response


class ShownOnce(Response):
    """An answer with a secret: it is not kept, and an equal request gets `later`, a 409."""

    def __init__(self, data: Any, status: int, later: Any) -> None:
        super().__init__(data, status)
        self.later = later


def kept_answer(response: Response) -> tuple[int, Any]:
    """Return the status and body that an equal request gets."""
    if isinstance(response, ShownOnce):
        return 409, response.later
    return response.status_code, plain(response.data)


def read_key(request: Request) -> str:
    key = request.headers[HEADER]
    if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= MAX_LENGTH:
        message = f"Must have 1 to {MAX_LENGTH} printable ASCII characters."
        raise ValidationError({HEADER: [message]})
    return key


def digest_of(request: Request) -> str:
    access = access_of(request)
    caller = f"key {access.api_key.pk}" if access.api_key else f"user {request.user.pk}"
    said = [caller, request.method, request.get_full_path(), request.data]
    text = json.dumps(said, sort_keys=True, default=digest_of_file)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(file: Any) -> str:
    """The SHA-256 of an uploaded file, which is all that JSON does not know."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def plain(data: Any) -> Any:
    """The answer as JSON has it."""
    return None if data is None else json.loads(JSONRenderer().render(data))
