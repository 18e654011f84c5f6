"""Checks JSON against a model and words every fault for the person who wrote the JSON."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from executor.flow.model import FIELD_TAG, PATTERNS, FieldSource
from executor.flow.operators import quoted

Errors = list[tuple[str, str]]
ModelT = TypeVar("ModelT", bound=BaseModel)


def check_shape(model: type[ModelT], data: object) -> tuple[ModelT | None, Errors]:
    """The model, or None and what is wrong, with paths below the data."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        faults = [fault for fault in error.errors(include_url=False) if not _is_echo(fault)]
        return None, [(_path(fault["loc"]), _message(model, fault)) for fault in faults]


def _is_echo(fault: ErrorDetails) -> bool:
    """Whether a list is only too short because its faulty items do not count."""
    shortest = fault.get("ctx", {}).get("min_length", 0)
    return fault["type"] == "too_short" and len(fault["input"]) >= shortest


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part}" if path else part
    return path


def _message(model: type[BaseModel], fault: ErrorDetails) -> str:
    kind, loc = fault["type"], fault["loc"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        allowed = ", ".join(_keys(model, loc[:-1])) or "none"
        return f"unknown key; allowed here: {allowed}"
    if kind == "model_type" and loc[-1:] == (FIELD_TAG,):
        allowed = 'a number from 0 to 1, or an object as {"field": "customer.propensity"}'
    else:
        allowed = _allowed(kind, fault.get("ctx", {})) or fault["msg"]
    return f"must be {allowed}, got {quoted(fault['input'])}"


def _allowed(kind: str, context: dict[str, Any]) -> str:
    phrases = {
        "literal_error": "{expected}",
        "string_type": "text",
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "tuple_type": "a list",
        "model_type": "an object",
        "greater_than_equal": "at least {ge:g}",
        "less_than_equal": "at most {le:g}",
        "too_short": "a list with at least {min_length} item(s)",
        "too_long": "a list with at most {max_length} items",
        "string_too_long": "at most {max_length} characters long",
        "string_pattern_mismatch": PATTERNS.get(context.get("pattern", ""), ""),
    }
    return phrases.get(kind, "").format(**context).replace("'", '"')


def _keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys of the object at this place."""
    for part in loc:
        known = {field.alias: field.annotation for field in model.model_fields.values()}
        inside = known.get(str(part))
        if part == FIELD_TAG:
            model = FieldSource
        elif (below := _model_in(inside)) is not None:
            model = below
    return [str(field.alias) for field in model.model_fields.values()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, be it in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inside) for inside in get_args(annotation))
    return next((one for one in found if one is not None), None)
