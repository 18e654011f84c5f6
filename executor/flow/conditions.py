"""Conditions: JSON read once into leaves and groups whose operands already fit their columns."""

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from executor.errors import Rejected
from executor.flow.operators import (
    OPERATORS,
    Op,
    Operand,
    Takes,
    Value,
    allowed_operators,
    find_operator,
    normalise,
    quoted,
)
from executor.flow.types import Kind

MAX_DEPTH = 10
MAX_LEAVES = 200

#: The fields a condition may name; a function may raise Rejected to say why it refuses one.
Kinds = Mapping[str, Kind] | Callable[[str], Kind | None]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One comparison. The operand has the type of the column: int, float, str, bool, date, UTC
    datetime, a tuple of them for `in` and `not_in`, None for the null tests."""

    field: str
    operator: Op
    operand: Operand


@dataclass(frozen=True, slots=True)
class Group:
    """All or any of the children; an `and` without children is always true."""

    combinator: Literal["and", "or"]
    children: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the child is false; no child is ever null. Only the compiler makes one."""

    child: "Condition"


Condition = Leaf | Group | Not


def parse_condition(data: object, kinds: Kinds, path: str) -> Condition:
    """Read {field, operator, value}, {combinator, conditions} or a list (all must hold).

    A group of one is its child; an empty list or AND group at the root is always true.
    Raises Rejected with every fault, each under its path below `path`.
    """
    parser = _Parser(kinds)
    condition = parser.read(data, path, 1)
    if parser.leaves > MAX_LEAVES:
        parser.errors.append((path, f"has more than {MAX_LEAVES} conditions"))
    if parser.errors or condition is None:
        raise Rejected.of(parser.errors)
    return condition


def fields(condition: Condition) -> frozenset[str]:
    """Every field the condition reads."""
    if isinstance(condition, Leaf):
        return frozenset({condition.field})
    if isinstance(condition, Not):
        return fields(condition.child)
    return frozenset().union(*map(fields, condition.children))


def to_json(condition: Condition) -> dict[str, Any]:
    """The canonical JSON of a condition without Not: parsing it gives an equal condition."""
    assert not isinstance(condition, Not)  # noqa: S101 - parsing makes none
    if isinstance(condition, Group):
        return {
            "combinator": condition.combinator.upper(),
            "conditions": [to_json(child) for child in condition.children],
        }
    data: dict[str, Any] = {"field": condition.field, "operator": str(condition.operator)}
    operand = condition.operand
    if isinstance(operand, tuple):
        data["value"] = [_json_value(value) for value in operand]
    elif operand is not None:
        data["value"] = _json_value(operand)
    return data


def describe(condition: Condition) -> str:
    """One line for people: `balance > 1000 and (loan = "no" or loan is null)`."""
    if isinstance(condition, Leaf):
        words = [condition.field, OPERATORS[condition.operator].symbol]
        if OPERATORS[condition.operator].takes is not Takes.NOTHING:
            words.append(_describe_operand(condition.operand))
        return " ".join(words)
    if isinstance(condition, Not):
        return f"not ({describe(condition.child)})"
    parts = [
        f"({describe(child)})" if isinstance(child, Group) else describe(child)
        for child in condition.children
    ]
    return f" {condition.combinator} ".join(parts) or "always"


@dataclass(slots=True)
class _Parser:
    kinds: Kinds
    errors: list[tuple[str, str]] = field(default_factory=list)
    leaves: int = 0

    def read(self, data: object, path: str, depth: int) -> Condition | None:
        """The condition, or None once a fault below is noted."""
        if isinstance(data, list):
            return self._group("and", data, path, depth)
        if not isinstance(data, dict):
            self._fault(path, "", f"must be a condition, a group or a list, got {quoted(data)}")
            return None
        if "conditions" not in data and "combinator" not in data:
            return self._leaf(data, path)
        self._unknown_keys(data, ("combinator", "conditions"), path)
        combinator = data.get("combinator", "AND")
        word = combinator.lower() if isinstance(combinator, str) else ""
        if word not in ("and", "or"):
            self._fault(path, "combinator", f'must be "AND" or "OR", got {quoted(combinator)}')
            word = "and"
        children = data.get("conditions")
        inside = _join(path, "conditions")
        if not isinstance(children, list):
            self._fault(inside, "", f"must be a list of conditions, got {quoted(children)}")
            return None
        return self._group("or" if word == "or" else "and", children, inside, depth)

    def _group(
        self, combinator: Literal["and", "or"], items: list[Any], path: str, depth: int
    ) -> Condition | None:
        if depth > MAX_DEPTH:
            self._fault(path, "", f"groups are nested more than {MAX_DEPTH} deep")
            return None
        if not items and (combinator == "or" or depth > 1):
            self._fault(path, "", "needs at least one condition")
            return None
        children = []
        for position, item in enumerate(items):
            if max(self.leaves, len(self.errors)) > MAX_LEAVES:
                return None
            children.append(self.read(item, f"{path}[{position}]", depth + 1))
        good = tuple(child for child in children if child is not None)
        if len(good) != len(children):
            return None
        return good[0] if len(good) == 1 else Group(combinator, good)

    def _leaf(self, data: dict[Any, Any], path: str) -> Leaf | None:
        self.leaves += 1
        before = len(self.errors)
        self._unknown_keys(data, ("field", "operator", "value"), path)
        kind = self._kind(data.get("field"), path)
        row = find_operator(data.get("operator"))
        if row is None or (kind is not None and kind not in row.kinds):
            self._bad_operator(data.get("operator"), kind, path)
            return None
        if "value" not in data and row.takes is not Takes.NOTHING:
            self._fault(path, "value", f"is required: {row.op} takes {row.takes}")
        elif kind is not None:
            try:
                op, operand = normalise(row, kind, data.get("value"))
            except Rejected as error:
                self.errors.extend((_join(path, where), text) for where, text in error.errors)
            else:
                return Leaf(data["field"], op, operand) if len(self.errors) == before else None
        return None

    def _kind(self, name: object, path: str) -> Kind | None:
        if not isinstance(name, str) or not name:
            self._fault(path, "field", f"must name a field, got {quoted(name)}")
            return None
        try:
            kind = self.kinds.get(name) if isinstance(self.kinds, Mapping) else self.kinds(name)
        except Rejected as error:
            for _, text in error.errors:
                self._fault(path, "field", text)
            return None
        if kind is None:
            self._fault(path, "field", f"unknown field {quoted(name)}{self._suggest(name)}")
        return kind

    def _suggest(self, name: str) -> str:
        if not isinstance(self.kinds, Mapping):
            return ""
        names = sorted(self.kinds)
        close = difflib.get_close_matches(name[:100], names, 3)
        hint = f"; did you mean {' or '.join(map(quoted, close))}?" if close else ""
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        return f"{hint or ';'} available: {listed or 'none'}"

    def _bad_operator(self, name: object, kind: Kind | None, path: str) -> None:
        allowed = ", ".join(map(str, Op) if kind is None else allowed_operators(kind))
        if find_operator(name) is None:
            self._fault(path, "operator", f"unknown operator {quoted(name)}; allowed: {allowed}")
        else:
            problem = f"{quoted(name)} does not work on a field of kind {kind}"
            self._fault(path, "operator", f"{problem}; allowed: {allowed}")

    def _unknown_keys(self, data: dict[Any, Any], allowed: tuple[str, ...], path: str) -> None:
        for key in [key for key in data if key not in allowed][:5]:
            self._fault(path, "", f"unknown key {quoted(key)}; allowed: {', '.join(allowed)}")

    def _fault(self, path: str, key: str, message: str) -> None:
        self.errors.append((_join(path, key), message))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _json_value(value: Value) -> bool | int | float | str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def _describe_operand(operand: Operand) -> str:
    if isinstance(operand, tuple):
        shown = ", ".join(_describe_value(value) for value in operand[:10])
        more = f" and {len(operand) - 10} more" if len(operand) > 10 else ""
        return f"({shown}{more})"
    return "" if operand is None else _describe_value(operand)


def _describe_value(value: Value) -> str:
    if isinstance(value, date):
        return str(_json_value(value))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, ensure_ascii=False)
