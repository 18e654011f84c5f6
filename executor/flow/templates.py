"""Templates of creatives: Liquid, as far as a batch needs it, and nothing that two runs render
differently.

No template loads another, reads the clock of the machine or marks a customer's text as safe HTML.
A variable without a value may be asked for in a condition, looped over (there is nothing in it) or
given a default; everything else that is done with it is an error that names it. https://shopify.github.io/liquid
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache, wraps
from io import StringIO
from typing import Any

from liquid import BoundTemplate, Environment, Mode
from liquid.ast import Node
from liquid.builtin.expressions import Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import FilterArgumentError, LiquidError, UndefinedError
from liquid.expression import Expression
from liquid.filter import math_filter
from liquid.output import LimitedStringIO

from executor.errors import Rejected
from executor.flow.formula_values import EXACT

MAX_TEMPLATE = 200_000
MAX_OUTPUT = 400_000
MAX_ITERATIONS = 1_000
MAX_DIGITS = 10
NAMESPACES = ("customer", "offer", "channel", "personalization")
#: They load other templates, or mark what comes from a customer as HTML.
REFUSED_TAGS = ("include", "render")
REFUSED_FILTERS = ("safe", "map", "where", "find", "find_index", "has", "reject", "sum")


class Number(float):
    """A float that prints without a needless fraction, as `formula_values.text` writes it."""

    __slots__ = ()

    def __str__(self) -> str:
        return number_text(float(self))


class Missing:
    """A variable without a value: false in conditions, replaced by `default`, else an error.

    Not one of the library's own kinds, which are either silent or refuse to be asked for.
    """

    force_liquid_default = True

    def __init__(self, name: str, *, hint: str | None = None, **_: Any) -> None:
        self.name = hint.removesuffix(" is undefined").strip("'") if hint else name

    def __liquid__(self) -> None:
        return None

    def fail(self, *_: Any) -> Any:
        raise UndefinedError(missing_text(self.name), token=None)

    __str__ = __iter__ = __len__ = __getitem__ = __int__ = __float__ = fail


class _Template(BoundTemplate):
    def _get_buffer(self) -> StringIO:
        # Unlike the default, leave line ends as they are.
        return LimitedStringIO(MAX_OUTPUT, newline="")


class _Environment(Environment):
    template_class = _Template
    loop_iteration_limit = MAX_ITERATIONS
    local_namespace_limit = MAX_OUTPUT

    def __init__(self, *, html: bool, now: datetime) -> None:
        super().__init__(tolerance=Mode.STRICT, autoescape=html)
        self.undefined = Missing  # type: ignore[assignment]  # all it needs is to be called
        for tag in REFUSED_TAGS:
            self.tags.pop(tag, None)
        for name in REFUSED_FILTERS:
            self.filters.pop(name, None)
        self.filters |= {"round": rounded, "date": _dates(now)}
        for name in self.filters.keys() - {"default"}:
            self.filters[name] = _needing_values(self.filters[name])


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template and the names it reads, in order: `first_name`, `customer.first_name`."""

    text: str
    html: bool
    names: tuple[str, ...]
    parsed: BoundTemplate


def _needing_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter; the library takes a missing number for 0."""

    @wraps(function)
    def checked(*values: Any, **named: Any) -> Any:
        for value in (*values, *named.values()):
            if isinstance(value, Missing):
                value.fail()
        return function(*values, **named)

    return checked


def missing_text(name: str) -> str:
    return f'"{name}" has no value'


def number_text(value: float) -> str:
    """The number as `formula_values.text` writes it, one at a time."""
    if abs(value) < EXACT and value == math.floor(value):
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    power = int(exponent)
    if power == -5:
        sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
        return f"{sign}0.0000{digits.removesuffix('.0').replace('.', '')}"
    return f"{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


@math_filter
def rounded(number: float, digits: Any = None) -> float:
    """Halves away from zero, as Liquid in Ruby and as formulas."""
    places = 0 if digits is None else digits
    if isinstance(places, bool) or not isinstance(places, int) or not 0 <= places <= MAX_DIGITS:
        raise FilterArgumentError(f"round needs 0 to {MAX_DIGITS} digits", token=None)
    if isinstance(number, int):
        return number
    if not math.isfinite(number):
        raise FilterArgumentError("round needs a number", token=None)
    scaled = float(number) * 10.0**places
    if not abs(scaled) < EXACT:
        return Number(number)
    below = math.floor(abs(scaled))
    whole = math.copysign(below + (abs(scaled) - below >= 0.5), scaled)
    return Number(whole / 10.0**places)


def _dates(now: datetime) -> Any:
    def dates(value: Any, form: str = "%Y-%m-%d") -> str:
        """A date, an instant, or a text as 2026-03-22 or 2026-03-22 09:00; "now" is the run's."""
        if isinstance(value, str):
            value = now if value in ("now", "today") else _read(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001
        if not isinstance(value, datetime):
            raise FilterArgumentError("is no date", token=None)
        return value.strftime(form)

    return dates


def _read(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise FilterArgumentError(f'"{text[:50]}" is no date', token=None) from None


@lru_cache(maxsize=8)
def environment(html: bool, now: datetime) -> Environment:
    """`now` is the local instant of the run."""
    return _Environment(html=html, now=now)


def parse_template(text: str, *, html: bool, now: datetime) -> Template:
    """Raises Rejected for what is no template, an unknown tag or filter, or a name out of place."""
    if len(text) > MAX_TEMPLATE:
        raise Rejected(f"has {len(text)} characters; a template may have at most {MAX_TEMPLATE}")
    try:
        parsed = environment(html, now).from_string(text)
        used = parsed.analyze()
    except (LiquidError, RecursionError, ValueError) as error:
        raise Rejected(f"cannot be read: {_told(error)}") from error
    filters = parsed.env.filters
    unknown = [name for name in used.filters if name not in filters]
    if unknown:
        known = ", ".join(sorted(filters))
        raise Rejected(f'unknown filter "{unknown[0]}"; the filters are: {known}')
    _check_ranges(parsed)
    names = {_name(v.segments): None for found in used.globals.values() for v in found}
    for name in names:
        if name.rpartition(".")[0] in names:
            raise Rejected(f'"{name}" is no variable: a value has no parts')
    return Template(text, html, tuple(names), parsed)


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    message = str(getattr(error, "message", "") or error)
    context = getattr(error, "context", None)
    place = context() if callable(context) else None
    return f"line {place[0]}: {message}" if place else message


def _name(segments: Any) -> str:
    """`customer.first_name` of its parts; raises Rejected for what is no name of a value."""
    parts = [part for part in segments if isinstance(part, str)]
    shown = ".".join(map(str, segments))[:100]
    if len(parts) != len(segments) or len(parts) > 3:
        raise Rejected(f'"{shown}" is no variable; variables have names alone, such as first_name')
    if len(parts) == 1 and parts[0] in NAMESPACES:
        raise Rejected(f'"{parts[0]}" is no variable but a group of them, as in {parts[0]}.name')
    return ".".join(parts)


def _check_ranges(parsed: BoundTemplate) -> None:
    """A range is counted where it is looped over; elsewhere it could be as long as memory."""
    for node in _nodes(parsed.nodes):
        for expression in node.expressions():
            filtered = getattr(expression, "filters", None) is not None
            if filtered and isinstance(getattr(expression, "left", None), RangeLiteral):
                raise Rejected("a range such as (1..3) may stand only in a for tag")


def _nodes(nodes: Any) -> Iterator[Node]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += list(node.children(None, include_partials=False))


def path_name(expression: Expression) -> str | None:
    """The variable's name, if the expression is nothing but a variable."""
    if not isinstance(expression, Path) or not all(isinstance(p, str) for p in expression.path):
        return None
    return ".".join(map(str, expression.path))


def render(template: Template, values: dict[str, Any]) -> tuple[str | None, str | None]:
    """The text, or why there is none; `values` by name, without those that are missing."""
    context: dict[str, Any] = {}
    for name in template.names:
        inner = context
        *groups, last = name.split(".")
        for group in groups:
            inner = inner.setdefault(group, {})
        if name in values:
            inner[last] = values[name]
    try:
        return template.parsed.render(context), None
    except LiquidError as error:
        return None, _told_once(error)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        return None, f"cannot be rendered: {type(error).__name__}"


def _told_once(error: LiquidError) -> str:
    """Without the line: the same fault for all customers is one reason."""
    return str(getattr(error, "message", "") or error)
