"""The one table of condition operators, and how an operand is made to fit its column.

Both compilers follow these rules. NULL matches nothing but `is_null`. Text compares byte by byte
and case matters. NaN equals itself and exceeds every number; -0.0 equals 0.0.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from executor.errors import Rejected
from executor.flow import regex
from executor.flow.types import Kind

Value = bool | int | float | str | date | datetime
Operand = Value | tuple[Value, ...] | None

MAX_LIST = 10_000
MAX_TEXT = 10_000
#: Faults reported of one list of values.
MAX_FAULTS = 10
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Op(StrEnum):
    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    REGEX = "regex"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"


class Takes(StrEnum):
    """How many values an operator compares with."""

    NOTHING = "no value"
    ONE = "one value"
    LIST = "a list of values"


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table; `symbol` is how a condition prints it."""

    op: Op
    symbol: str
    takes: Takes
    kinds: frozenset[Kind]


_ALL = frozenset(Kind)
_ORDERED = _ALL - {Kind.BOOLEAN}
_TEXT = frozenset({Kind.TEXT})

OPERATORS: Mapping[Op, Operator] = {
    row.op: row
    for row in (
        Operator(Op.EQ, "=", Takes.ONE, _ALL),
        Operator(Op.NEQ, "!=", Takes.ONE, _ALL),
        Operator(Op.GT, ">", Takes.ONE, _ORDERED),
        Operator(Op.GTE, ">=", Takes.ONE, _ORDERED),
        Operator(Op.LT, "<", Takes.ONE, _ORDERED),
        Operator(Op.LTE, "<=", Takes.ONE, _ORDERED),
        Operator(Op.IN, "in", Takes.LIST, _ALL),
        Operator(Op.NOT_IN, "not in", Takes.LIST, _ALL),
        Operator(Op.CONTAINS, "contains", Takes.ONE, _TEXT),
        Operator(Op.STARTS_WITH, "starts with", Takes.ONE, _TEXT),
        Operator(Op.REGEX, "matches", Takes.ONE, _TEXT),
        Operator(Op.IS_NULL, "is null", Takes.NOTHING, _ALL),
        Operator(Op.IS_NOT_NULL, "is not null", Takes.NOTHING, _ALL),
    )
}

ALIASES: Mapping[str, Op] = {
    "=": Op.EQ,
    "==": Op.EQ,
    "equals": Op.EQ,
    "!=": Op.NEQ,
    ">": Op.GT,
    ">=": Op.GTE,
    "<": Op.LT,
    "<=": Op.LTE,
    "exists": Op.IS_NOT_NULL,
    "not_exists": Op.IS_NULL,
}


def find_operator(name: object) -> Operator | None:
    """The row of a documented name or alias."""
    if not isinstance(name, str):
        return None
    op = ALIASES.get(name) or (Op(name) if name in list(Op) else None)
    return None if op is None else OPERATORS[op]


def allowed_operators(kind: Kind) -> list[str]:
    """The operators a column of this kind takes, in the order of the table."""
    return [str(row.op) for row in OPERATORS.values() if kind in row.kinds]


def normalise(row: Operator, kind: Kind, raw: object) -> tuple[Op, Operand]:
    """Turn a JSON value into operator and operand exactly as the column's type compares them.

    Whole-number columns fold what no bigint can equal: `> 1.5` becomes `>= 2`, an impossible test
    becomes `in ()` (matches nothing) and a certain one `is_not_null`. Times without an offset are
    UTC; a date compared with an instant is its midnight.
    Raises Rejected with paths relative to the condition ("value", "value[2]").
    """
    if row.takes is Takes.NOTHING:
        if raw is not None:
            raise Rejected(("value", f"{row.op} takes no value, remove it"))
        return row.op, None
    if row.takes is Takes.LIST:
        return _normalise_list(row.op, kind, raw)
    try:
        value = _READERS[kind](raw)
        if row.op is Op.REGEX:
            regex.check(str(value))
    except ValueError as error:
        raise Rejected(("value", str(error))) from error
    if kind is Kind.DATETIME and row.op in (Op.EQ, Op.NEQ) and _is_date(raw):
        raise Rejected(("value", _DATE_IS_NO_INSTANT))
    if kind is Kind.INTEGER and isinstance(value, int | float):
        return _fold_integer(row.op, value)
    return row.op, value


def quoted(value: object) -> str:
    """A value as a message shows it: JSON, shortened, and safe to encode."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    text = text if len(text) <= 60 else text[:57] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def _normalise_list(op: Op, kind: Kind, raw: object) -> tuple[Op, Operand]:
    if not isinstance(raw, list | tuple):
        raise Rejected(("value", f"{op} takes a list of values, got {quoted(raw)}"))
    if len(raw) > MAX_LIST:
        raise Rejected(("value", f"has {len(raw)} values, at most {MAX_LIST} are allowed"))
    values: dict[Value, None] = {}
    errors: list[tuple[str, str]] = []
    for position, item in enumerate(raw):
        try:
            value = _READERS[kind](item)
            if kind is Kind.DATETIME and _is_date(item):
                raise ValueError(_DATE_IS_NO_INSTANT)
            if kind is not Kind.INTEGER or _fits_bigint(value):
                values[value] = None
        except ValueError as error:
            errors.append((f"value[{position}]", str(error)))
        if len(errors) == MAX_FAULTS:
            break
    if errors:
        raise Rejected.of(errors)
    if op is Op.NOT_IN and not values:
        return _ALWAYS
    return op, tuple(values)


_NEVER: tuple[Op, Operand] = (Op.IN, ())
_ALWAYS: tuple[Op, Operand] = (Op.IS_NOT_NULL, None)


def _fits_bigint(value: object) -> bool:
    return isinstance(value, int) and INT64_MIN <= value <= INT64_MAX


def _fold_integer(op: Op, value: int | float) -> tuple[Op, Operand]:
    if op in (Op.EQ, Op.NEQ):
        impossible = _NEVER if op is Op.EQ else _ALWAYS
        return (op, value) if _fits_bigint(value) else impossible
    upward = op in (Op.GT, Op.GTE)
    if isinstance(value, float):
        op, value = (Op.GTE, math.ceil(value)) if upward else (Op.LTE, math.floor(value))
    if _fits_bigint(value):
        return op, value
    return _NEVER if upward == (value > 0) else _ALWAYS


def _integer(raw: object) -> int | float:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    value = _number(raw)
    return int(value) if value.is_integer() else value


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"must be a number, got {quoted(raw)}{_null_hint(raw)}")
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError("must be a finite number between -1.8e308 and 1.8e308")
    return value + 0.0  # -0.0 becomes 0.0


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be text in quotes, got {quoted(raw)}{_null_hint(raw)}")
    if len(raw) > MAX_TEXT:
        raise ValueError(f"has {len(raw)} characters, at most {MAX_TEXT} are allowed")
    if "\0" in raw:
        raise ValueError("must not contain the character NUL")
    if any("\ud800" <= character <= "\udfff" for character in raw):
        raise ValueError("must be valid Unicode, got half of a surrogate pair")
    return raw


def _boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"must be true or false, got {quoted(raw)}{_null_hint(raw)}")
    return raw


_DATE_FORM = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME_FORM = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?", re.ASCII
)
_DATE_IS_NO_INSTANT = (
    "must have a time, as in 2026-01-31T09:00:00Z: a date alone works with gt, gte, lt and lte only"
)


def _is_date(raw: object) -> bool:
    return isinstance(raw, str) and _DATE_FORM.fullmatch(raw) is not None


def _date(raw: object) -> date:
    if not _is_date(raw):
        problem = f"must be a date like 2026-01-31, got {quoted(raw)}{_null_hint(raw)}"
        if isinstance(raw, str) and _DATETIME_FORM.fullmatch(raw):
            problem = f"must be a date without a time, got {quoted(raw)}"
        raise ValueError(problem)
    try:
        return date.fromisoformat(str(raw))
    except ValueError as error:
        raise ValueError(f"{quoted(raw)} is not a date of the calendar") from error


def _datetime(raw: object) -> datetime:
    if not isinstance(raw, str) or not (_is_date(raw) or _DATETIME_FORM.fullmatch(raw)):
        form = "must be a date and time like 2026-01-31T09:00:00Z"
        raise ValueError(f"{form}, got {quoted(raw)}{_null_hint(raw)}")
    try:
        value = datetime.fromisoformat(raw)
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{quoted(raw)} is not a time between the years 1 and 9999") from error


def _null_hint(raw: object) -> str:
    return "; use is_null or is_not_null" if raw is None else ""


_READERS: Mapping[Kind, Callable[[object], Value]] = {
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
}
