"""What a formula comes to for one row, by an obvious interpreter of Python values.

It shares the parser with the engine, and nothing else. Values are float, int (an integer column),
str, date, datetime (local) and None; kinds of parts are found first, as the documentation has it.
"""

import math
import re
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from executor.flow.formula import Binary, Call, Choice, Literal, Name, Node, Unary

NUMERAL = re.compile(r"\s*-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
DAY = re.compile(r"\s*([0-9]{4}-[0-9]{2}-[0-9]{2})([T ].*|\s*)", re.DOTALL)
TEXTS = {"upper", "lower", "trim", "text", "left", "right", "substring", "concat"}
COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}


def kind_of(node: Node, kinds: dict[str, str | None]) -> str | None:
    if isinstance(node, Literal):
        return None if node.value is None else "text" if isinstance(node.value, str) else "number"
    if isinstance(node, Name):
        return kinds[node.name]
    if isinstance(node, Binary):
        both = (kind_of(node.left, kinds), kind_of(node.right, kinds))
        return "text" if node.operator == "+" and "text" in both else "number"
    if isinstance(node, Choice):
        return common([kind_of(node.yes, kinds), kind_of(node.no, kinds)])
    if isinstance(node, Call):
        if node.function == "coalesce":
            return common([kind_of(each, kinds) for each in node.arguments])
        if node.function == "if":
            return common([kind_of(each, kinds) for each in node.arguments[1:]])
        if node.function in TEXTS:
            return "text"
        return {"now": "datetime", "today": "date", "date": "date", "add_days": "date"}.get(
            node.function, "number"
        )
    return "number"


def common(kinds: list[str | None]) -> str | None:
    found = set(kinds) - {None}
    if len(found) <= 1:
        return next(iter(found), None)
    if found == {"integer", "number"}:
        return "number"
    return "datetime" if found == {"date", "datetime"} else "text"


def finite(value: Any) -> float | None:
    if value is None or isinstance(value, complex):
        return None
    value = float(value)
    return value if math.isfinite(value) else None


def as_number(value: Any) -> float | None:
    if isinstance(value, str):
        return finite(float(value.strip())) if NUMERAL.fullmatch(value) else None
    return finite(value) if isinstance(value, int | float) else None


def as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S").zfill(19)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        if abs(value) < 2**53 and value == math.floor(value):
            return str(int(value))
        return float_text(value)
    return str(value)


def float_text(value: float) -> str:
    """The shortest decimal; polars' spelling of an exponent is Python's but for zeros in it."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    power = int(exponent)
    if power == -5:
        return format(Decimal(repr(value)), "f")
    return f"{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


def as_date(value: Any) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str) and (found := DAY.fullmatch(value)):
        try:
            return date.fromisoformat(found[1])
        except ValueError:
            return None
    return None


def as_kind(value: Any, kind: str | None) -> Any:
    if kind == "datetime":
        if isinstance(value, datetime):
            return value
        day = as_date(value)
        return None if day is None else datetime(day.year, day.month, day.day)  # noqa: DTZ001
    if kind == "integer":
        return value
    return {"number": as_number, "text": as_text, "date": as_date, None: lambda v: v}[kind](value)


def truth(value: Any) -> bool:
    if isinstance(value, int | float):
        return value != 0
    return value is not None and value != ""


class Row:
    def __init__(self, values: dict[str, Any], kinds: dict[str, str | None], now: datetime) -> None:
        self.values, self.kinds, self.now = values, kinds, now

    def output(self, node: Node, output: str) -> Any:
        value = self.value(node)
        if output == "number":
            return as_number(value)
        found = as_text(value)
        return None if found is None or len(found) > 10_000 else found

    def value(self, node: Node) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Name):
            return self.values[node.name]
        if isinstance(node, Unary):
            value = self.value(node.operand)
            if node.operator == "!":
                return float(not truth(value))
            number = as_number(value)
            return None if number is None else -number
        if isinstance(node, Choice):
            return self.choice(node, node.condition, node.yes, node.no)
        if isinstance(node, Call):
            return self.call(node)
        return self.binary(node)

    def choice(self, node: Node, condition: Node, yes: Node, no: Node) -> Any:
        chosen = yes if truth(self.value(condition)) else no
        return as_kind(self.value(chosen), kind_of(node, self.kinds))

    def binary(self, node: Binary) -> Any:
        a, b = self.value(node.left), self.value(node.right)
        operator = node.operator
        if operator == "&&":
            return float(truth(a) and truth(b))
        if operator == "||":
            return float(truth(a) or truth(b))
        left, right = kind_of(node.left, self.kinds), kind_of(node.right, self.kinds)
        if operator in COMPARISONS:
            return self.compare(operator, (a, left), (b, right))
        if operator == "+" and "text" in (left, right):
            a, b = as_text(a), as_text(b)
            return None if a is None or b is None else a + b
        a, b = as_number(a), as_number(b)
        if a is None or b is None or (operator in "/%" and b == 0):
            return None
        try:
            return finite(
                {
                    "+": lambda: a + b,
                    "-": lambda: a - b,
                    "*": lambda: a * b,
                    "/": lambda: a / b,
                    "%": lambda: math.fmod(a, b),
                }[operator]()
            )
        except OverflowError:
            return None

    @staticmethod
    def compare(operator: str, first: tuple[Any, Any], second: tuple[Any, Any]) -> float | None:
        (a, left), (b, right) = first, second
        if left is None or right is None:
            missing = (b if left is None else a) is None
            return {"==": float(missing), "!=": float(not missing)}.get(operator)
        kinds = {left, right}
        if len(kinds) == 1:
            kind = left
        elif kinds <= {"integer", "number", "text"}:
            kind = "number"
        elif kinds <= {"date", "datetime", "text"}:
            kind = "date" if kinds == {"date", "text"} else "datetime"
        else:
            kind = "text"
        a, b = as_kind(a, kind), as_kind(b, kind)
        if a is None or b is None:
            return None
        return float(
            {
                "==": a == b,
                "!=": a != b,
                "<": a < b,
                "<=": a <= b,
                ">": a > b,
                ">=": a >= b,
            }[operator]
        )

    def call(self, node: Call) -> Any:
        name = node.function
        if name == "if":
            return self.choice(node, *node.arguments)
        values = [self.value(each) for each in node.arguments]
        if name == "coalesce":
            kind = kind_of(node, self.kinds)
            found = (as_kind(value, kind) for value in values)
            return next((value for value in found if value is not None), None)
        if name == "concat":
            return "".join(text for value in values if (text := as_text(value)) is not None)
        if name in ("min", "max"):
            numbers = [as_number(value) for value in values]
            if None in numbers:
                return None
            return min(numbers) if name == "min" else max(numbers)
        if name in ("now", "today"):
            return self.now if name == "now" else self.now.date()
        return getattr(self, f"do_{name}")(*values)

    def do_text(self, x: Any) -> Any:
        return as_text(x)

    def do_number(self, x: Any) -> Any:
        return as_number(x)

    def do_date(self, x: Any) -> Any:
        return as_date(x)

    def do_abs(self, x: Any) -> Any:
        x = as_number(x)
        return None if x is None else abs(x)

    def do_floor(self, x: Any) -> Any:
        x = as_number(x)
        return None if x is None else float(math.floor(x))

    def do_ceil(self, x: Any) -> Any:
        x = as_number(x)
        return None if x is None else float(math.ceil(x))

    def do_sqrt(self, x: Any) -> Any:
        x = as_number(x)
        return None if x is None or x < 0 else math.sqrt(x)

    def do_round(self, x: Any, digits: Any = 0.0) -> Any:
        x = as_number(x)
        if x is None:
            return None
        scale = 10.0 ** int(digits)
        if not abs(x * scale) < 2**53:
            return x
        return float(Decimal(x * scale).quantize(Decimal(1), ROUND_HALF_UP)) / scale

    def do_upper(self, x: Any) -> Any:
        return None if x is None else as_text(x).upper()

    def do_lower(self, x: Any) -> Any:
        return None if x is None else as_text(x).lower()

    def do_trim(self, x: Any) -> Any:
        return None if x is None else as_text(x).strip()

    def do_length(self, x: Any) -> Any:
        return None if x is None else float(len(as_text(x)))

    def both(self, a: Any, b: Any, test: Any) -> Any:
        return None if a is None or b is None else float(test(as_text(a), as_text(b)))

    def do_contains(self, a: Any, b: Any) -> Any:
        return self.both(a, b, lambda x, y: y in x)

    def do_starts_with(self, a: Any, b: Any) -> Any:
        return self.both(a, b, str.startswith)

    def do_ends_with(self, a: Any, b: Any) -> Any:
        return self.both(a, b, str.endswith)

    @staticmethod
    def count(value: Any) -> int | None:
        value = as_number(value)
        return None if value is None else int(max(0, min(math.floor(value), 10**9)))

    def do_left(self, x: Any, n: Any) -> Any:
        n = self.count(n)
        return None if x is None or n is None else as_text(x)[:n]

    def do_right(self, x: Any, n: Any) -> Any:
        n = self.count(n)
        return None if x is None or n is None else as_text(x)[max(0, len(as_text(x)) - n) :]

    def do_substring(self, x: Any, start: Any, n: Any = 1e9) -> Any:
        start, n = as_number(start), self.count(n)
        if x is None or start is None or n is None:
            return None
        begin = max(1, min(math.floor(start), 10**9)) - 1
        return as_text(x)[begin : begin + n]

    def part(self, x: Any, get: Any) -> Any:
        day = as_date(x)
        return None if day is None else float(get(day))

    def do_year(self, x: Any) -> Any:
        return self.part(x, lambda day: day.year)

    def do_month(self, x: Any) -> Any:
        return self.part(x, lambda day: day.month)

    def do_day(self, x: Any) -> Any:
        return self.part(x, lambda day: day.day)

    def do_weekday(self, x: Any) -> Any:
        return self.part(x, lambda day: day.isoweekday() % 7)

    def do_hour(self, x: Any) -> Any:
        return float(x.hour) if isinstance(x, datetime) else None

    def do_days_between(self, a: Any, b: Any) -> Any:
        a, b = as_date(a), as_date(b)
        return None if a is None or b is None else float((b - a).days)

    def do_date_diff(self, a: Any, b: Any, unit: str) -> Any:
        a, b = as_date(a), as_date(b)
        if a is None or b is None:
            return None
        sign, first, last = (1, a, b) if a <= b else (-1, b, a)
        days = (last - first).days
        months = (last.year - first.year) * 12 + last.month - first.month
        months -= last.day < first.day
        whole = {"days": days, "weeks": days // 7, "months": months, "years": months // 12}[unit]
        return float(sign * whole)

    def do_add_days(self, a: Any, n: Any) -> Any:
        a, n = as_date(a), as_number(n)
        if a is None or n is None:
            return None
        try:
            return a + timedelta(days=math.floor(n))
        except OverflowError:
            return None
