"""Checks of single values of an algorithm model's JSON; each yields (path, message) faults."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Fault = tuple[str, str]
MAX_TEXT = 255


def is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def number(
    path: str,
    data: Mapping[str, Any],
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    required: bool = False,
    whole: bool = False,
) -> Iterator[Fault]:
    if name not in data:
        if required:
            yield f"{path}.{name}", "Is required."
        return
    value = data[name]
    is_kind = is_number(value) and (not whole or value == int(value))
    is_high = low is None or (is_kind and value >= low)
    is_low = high is None or (is_kind and value <= high)
    if not (is_kind and is_high and is_low):
        kind = "an integer" if whole else "a number"
        yield f"{path}.{name}", f"Must be {kind}{span(low, high)}."


def span(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f" of at least {low}" if high is None else f" from {low} to {high}"


def numbers_by_name(
    path: str, data: Mapping[str, Any], name: str, *, required: bool = False
) -> Iterator[Fault]:
    values = object_at(data, name)
    if values is None or (required and not values):
        yield f"{path}.{name}", "Must be a JSON object of numbers by name."
    for key in values or {}:
        yield from number(f"{path}.{name}", values or {}, key)


def object_at(data: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The object of this name, empty if there is none, or None if it is something else."""
    value = data.get(name, {})
    return value if isinstance(value, Mapping) else None


def named_text(
    path: str, data: Mapping[str, Any], name: str, *, required: bool = False
) -> Iterator[Fault]:
    if name not in data:
        if required:
            yield f"{path}.{name}", "Is required."
        return
    value = data[name]
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        yield f"{path}.{name}", f"Must be a string of 1 to {MAX_TEXT} characters."


def one_of(
    path: str,
    data: Mapping[str, Any],
    name: str,
    choices: Sequence[str],
    *,
    required: bool = False,
) -> Iterator[Fault]:
    if name not in data and not required:
        return
    if data.get(name) not in choices:
        yield f"{path}.{name}", f"Must be one of: {', '.join(choices)}."


def unknown_keys(path: str, data: Mapping[str, Any], known: Sequence[str]) -> Iterator[Fault]:
    for name in data:
        if name not in known:
            yield f"{path}.{name}", f"Unknown key; known are: {', '.join(known)}."
