"""Custom fields of offers: their definitions on categories, their values on offers."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from executor.errors import Rejected
from executor.flow.fields import did_you_mean, read_ref
from executor.flow.formula import parse_formula
from executor.flow.operators import quoted

Fault = tuple[str, str]
Definition = Mapping[str, Any]

MAX_FIELDS = 500
MAX_OPTIONS = 500
MAX_KEY = 100
MAX_VALUE = 10_000
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = frozenset(("true", "false", "null", "and", "or", "not"))
TYPES = ("text", "number", "boolean", "select", "date", "computed")
OUTPUTS = ("number", "text")
_KNOWN = frozenset(
    ["key", "name", "label", "type", "required", "options", "defaultValue", "formula", "outputType"]
)
#: Which types of field may have what else.
_ONLY = {"options": ("select",), "formula": ("computed",), "outputType": ("computed",)}


def read_definitions(
    given: Sequence[Any], outer: Sequence[Definition] = ()
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """The definitions as they are stored, and what is wrong with them.

    `outer` are the fields of the category that a sub-category adds these to.
    """
    if len(given) > MAX_FIELDS:
        return [], [("", f"has {len(given)} fields; at most {MAX_FIELDS} are allowed")]
    read: list[dict[str, Any]] = []
    faults: list[Fault] = []
    taken = {field["key"] for field in outer}
    for number, each in enumerate(given):
        if not isinstance(each, Mapping):
            faults.append((f"[{number}]", "must be a JSON object"))
            continue
        field = {"key": each.get("key", each.get("name")), **each}
        field.pop("name", None)
        found = [*_key_faults(each, field["key"], taken), *_field_faults(field)]
        faults += [(f"[{number}].{path}", text) for path, text in found]
        taken.add(field["key"] if isinstance(field["key"], str) else "")
        read.append(field)
    return read, faults or [*_formula_faults(read, outer)]


def _key_faults(given: Definition, key: object, taken: set[str]) -> Iterator[Fault]:
    if "key" in given and "name" in given and given["key"] != given["name"]:
        yield "name", "is the older word for key: give one of them"
    if not isinstance(key, str) or not KEY.fullmatch(key) or len(key) > MAX_KEY:
        yield (
            "key",
            f"must be letters, digits and _, not begin with a digit, and at most {MAX_KEY} long",
        )
    elif key in RESERVED:
        yield "key", f"{quoted(key)} is a word of formulas"
    elif key in taken:
        yield "key", f"{quoted(key)} is there already"


def _field_faults(field: Definition) -> Iterator[Fault]:
    kind = field.get("type")
    for name in sorted(field.keys() - _KNOWN):
        yield name, f"is unknown; a field has {', '.join(sorted(_KNOWN))}"
    if kind not in TYPES:
        yield "type", f"must be one of: {', '.join(TYPES)}"
        return
    for name, kinds in _ONLY.items():
        if name in field and field[name] is not None and kind not in kinds:
            yield name, f"belongs to fields of the type {kinds[0]}"
    if not isinstance(field.get("label", ""), str):
        yield "label", "must be a text"
    if not isinstance(field.get("required", False), bool):
        yield "required", "must be true or false"
    options = [*_option_faults(field.get("options"))] if kind == "select" else []
    yield from options
    if kind == "computed":
        yield from _computed_faults(field)
    elif field.get("defaultValue") is not None and not options:
        fault = value_fault(field, field["defaultValue"])
        yield from [("defaultValue", fault)] if fault else []


def _option_faults(options: object) -> Iterator[Fault]:
    if (
        not isinstance(options, list)
        or not 1 <= len(options) <= MAX_OPTIONS
        or not all(isinstance(option, str) and option for option in options)
        or len({*options}) < len(options)
    ):
        yield "options", f"must be 1 to {MAX_OPTIONS} different texts"


def _computed_faults(field: Definition) -> Iterator[Fault]:
    if field.get("outputType") not in OUTPUTS:
        yield "outputType", f"must be one of: {', '.join(OUTPUTS)}"
    for name in ("required", "defaultValue"):
        if field.get(name):
            yield name, "has no meaning for a computed field"
    if not isinstance(field.get("formula"), str):
        yield "formula", "a computed field needs a formula"


def _formula_faults(fields: Sequence[Definition], outer: Sequence[Definition]) -> Iterator[Fault]:
    """Formulas that cannot be read, names that mean nothing, and fields that need themselves."""
    known = {field["key"] for field in (*outer, *fields)}
    needs: dict[str, tuple[str, ...]] = {}
    for field in outer:
        if field["type"] == "computed":
            needs[field["key"]] = _bare_names(field["formula"])
    computed = [(n, field) for n, field in enumerate(fields) if field["type"] == "computed"]
    for number, field in computed:
        path = f"[{number}].formula"
        try:
            names = parse_formula(field["formula"]).names
        except Rejected as error:
            yield path, str(error)
            continue
        yield from ((path, fault) for name in names if (fault := _name_fault(name, known)))
        needs[field["key"]] = tuple(name for name in names if "." not in name)
    for number, field in computed:
        circle = _circle(field["key"], needs)
        if circle:
            yield f"[{number}].formula", f"needs itself: {' -> '.join(circle)}"


def _bare_names(formula: str) -> tuple[str, ...]:
    return tuple(name for name in parse_formula(formula).names if "." not in name)


def _name_fault(name: str, known: set[str]) -> str | None:
    namespace = name.partition(".")[0]
    if namespace == name:
        if name in known:
            return None
        return f"there is no custom field {quoted(name)}{did_you_mean(name, known)}"
    if namespace == "attributes":
        return f"{quoted(name)} is not available: a batch run has no request"
    try:
        read_ref(name)
    except Rejected as error:
        return str(error)
    return None


def _circle(start: str, needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A way from the field back to itself; empty if there is none."""
    waiting, seen = [[start]], set[str]()
    while waiting:
        way = waiting.pop()
        for name in needs.get(way[-1], ()):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                waiting.append([*way, name])
    return []


def in_order(computed: Mapping[str, str]) -> list[str]:
    """The keys of formulas, each behind those it needs; they must not go in circles."""
    needs = {key: _bare_names(formula) for key, formula in computed.items()}
    done: dict[str, None] = {}

    def place(key: str) -> None:
        waiting = [key]
        while waiting:
            open_ = [name for name in needs[waiting[-1]] if name in needs and name not in done]
            if open_:
                waiting += open_
            else:
                done.setdefault(waiting.pop())

    for key in needs:
        place(key)
    return [*done]


def value_faults(definitions: Sequence[Definition], values: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with the values of an offer, by the key of the field."""
    fields = {field["key"]: field for field in definitions}
    for key, value in values.items():
        if key not in fields:
            given = [k for k, field in fields.items() if field["type"] != "computed"]
            yield f".{key}", f"is no custom field of the offer's category{did_you_mean(key, given)}"
        elif fields[key]["type"] == "computed":
            yield f".{key}", "is computed: it cannot be given"
        elif value is not None and (fault := value_fault(fields[key], value)):
            yield f".{key}", fault
    for key, field in fields.items():
        missing = values.get(key) is None and field.get("defaultValue") is None
        if field.get("required") and missing:
            yield f".{key}", "is required"


def value_fault(field: Definition, value: object) -> str | None:
    """What is wrong with a value of a field that is not computed."""
    kind = field["type"]
    if kind == "text":
        right = isinstance(value, str) and len(value) <= MAX_VALUE
        return None if right else f"must be a text of at most {MAX_VALUE} characters"
    if kind == "number":
        right = type(value) in (int, float) and abs(value) < math.inf  # type: ignore[arg-type]
        return None if right else "must be a number"
    if kind == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if kind == "select":
        options = field["options"]
        return None if value in options else f"must be one of: {', '.join(options)}"
    return None if _is_day(value) else "must be a date such as 2026-03-22"


def _is_day(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def with_defaults(definitions: Sequence[Definition], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an offer, what is missing by its default, without the computed ones."""
    return {
        field["key"]: field.get("defaultValue")
        if values.get(field["key"]) is None
        else values[field["key"]]
        for field in definitions
        if field["type"] != "computed"
    }
