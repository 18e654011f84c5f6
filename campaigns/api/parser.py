"""Request bodies: UTF-8 JSON that the database can store, and nothing else."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1


class TooLarge(APIException):
    status_code = 413
    default_detail = "The body is too large."


class StrictJSONParser(BaseParser):
    """Refuses what Python reads but PostgreSQL cannot hold: NUL, lone surrogates, NaN, 1e999."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit:,} bytes.")
        try:
            data = json.loads(body.decode("utf-8-sig"), parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from error
        refuse_unstorable(data)
        return data


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def refuse_unstorable(data: Any) -> None:
    """Raise ValidationError naming each top-level field that holds something unstorable."""
    parts = data.items() if isinstance(data, dict) else [("", data)]
    faults = {}
    for name, part in parts:
        fault = find_unstorable(name) or find_unstorable(part)
        if fault:
            faults[name.encode(errors="replace").decode()] = [fault]
    if faults:
        raise ValidationError(faults)


def find_unstorable(part: Any) -> str | None:
    stack = [(part, 1)]
    while stack:
        value, depth = stack.pop()
        if depth > MAX_DEPTH:
            return f"Is nested deeper than {MAX_DEPTH} levels."
        if isinstance(value, dict):
            stack.extend((item, depth + 1) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            stack.extend((item, depth + 1) for item in value)
        elif fault := scalar_fault(value):
            return fault
    return None


def scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return text_fault(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "Holds a number too large to store."
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "Holds an integer of more than 64 bits."
    return None


def text_fault(text: str) -> str | None:
    if "\0" in text:
        return "Holds a NUL character."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "Holds half of a surrogate pair."
    return None
