"""The functions of formulas over columns."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import polars as pl

from executor.flow.formula_values import (
    DATE,
    EXACT,
    Typed,
    common_kind,
    converted,
    date,
    divided,
    flag,
    number,
    numbers,
    text,
    texts,
    truth,
)
from executor.flow.types import Kind


def choice(condition: Typed, yes: Typed, no: Typed) -> Typed:
    kind = common_kind((yes.kind, no.kind))
    chosen = pl.when(truth(condition)).then(converted(yes, kind)).otherwise(converted(no, kind))
    return Typed(chosen, kind)


def _coalesce(*values: Typed) -> Typed:
    kind = common_kind([value.kind for value in values])
    return Typed(pl.coalesce(converted(value, kind) for value in values), kind)


def _least(*values: Typed) -> Typed:
    return _extreme(values, lambda a, b: pl.when(a <= b).then(a).otherwise(b))


def _greatest(*values: Typed) -> Typed:
    return _extreme(values, lambda a, b: pl.when(a >= b).then(a).otherwise(b))


def _extreme(values: Sequence[Typed], pick: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Typed:
    each = [number(value) for value in values]
    missing = reduce(lambda a, b: a | b, (one.is_null() for one in each))
    return numbers(pl.when(~missing).then(reduce(pick, each)))


def rounded(value: Typed, digits: int) -> Typed:
    """Halves away from zero; a number so large that it has no such digits stays as it is."""
    scale = 10.0**digits
    scaled = number(value) * scale
    result = divided(scaled.round(0, mode="half_away_from_zero"), pl.lit(scale))
    return numbers(pl.when(scaled.abs() < EXACT).then(result).otherwise(number(value)))


def _concat(*values: Typed) -> Typed:
    """Missing values are left out."""
    return texts(pl.concat_str([text(value) for value in values], ignore_nulls=True))


def _count(value: Typed) -> pl.Expr:
    """A number of characters: the integer below, none if negative."""
    return number(value).floor().clip(0, 1e9).cast(pl.Int64)


def _left(value: Typed, count: Typed) -> Typed:
    return texts(_sliced(value, pl.lit(0, pl.Int64), _count(count)))


def _right(value: Typed, count: Typed) -> Typed:
    whole = text(value).str.len_chars().cast(pl.Int64)
    taken = pl.min_horizontal(_count(count), whole)
    start = pl.when(_count(count).is_not_null()).then(whole - taken)
    return texts(_sliced(value, start, taken))


def _substring(value: Typed, start: Typed, count: Typed | None = None) -> Typed:
    """From the character `start` on, of which the first is 1."""
    begin = number(start).floor().clip(1, 1e9).cast(pl.Int64) - 1
    taken = pl.lit(10**9, pl.Int64) if count is None else _count(count)
    return texts(_sliced(value, begin, taken))


def _sliced(value: Typed, begin: pl.Expr, taken: pl.Expr) -> pl.Expr:
    known = begin.is_not_null() & taken.is_not_null()
    whole = pl.when(known).then(text(value))
    return whole.str.slice(begin.fill_null(0), taken.fill_null(0).cast(pl.UInt64))


def _days_between(start: Typed, end: Typed) -> Typed:
    return numbers((date(end) - date(start)).dt.total_days())


def date_diff(start: Typed, end: Typed, unit: str) -> Typed:
    """Whole units from start to end, less than 0 if the end is earlier."""
    a, b = date(start), date(end)
    if unit in ("days", "weeks"):
        days = (b - a).dt.total_days().cast(pl.Float64)
        return numbers(_toward_zero(divided(days, pl.lit(7.0))) if unit == "weeks" else days)
    first, last = pl.when(a <= b).then(a).otherwise(b), pl.when(a <= b).then(b).otherwise(a)
    months = (last.dt.year() - first.dt.year()).cast(pl.Int64) * 12
    months += last.dt.month().cast(pl.Int64) - first.dt.month().cast(pl.Int64)
    months -= (last.dt.day() < first.dt.day()).cast(pl.Int64)
    whole = (months // 12 if unit == "years" else months).cast(pl.Float64)
    known = a.is_not_null() & b.is_not_null()
    return numbers(pl.when(known).then(pl.when(a <= b).then(whole).otherwise(0 - whole)))


def _toward_zero(expr: pl.Expr) -> pl.Expr:
    return pl.when(expr < 0).then(expr.ceil()).otherwise(expr.floor())


def _add_days(day: Typed, count: Typed) -> Typed:
    """Null outside of the years 1 to 9999."""
    number_of = date(day).cast(pl.Int32).cast(pl.Float64) + number(count).floor()
    possible = number_of.is_between(-719_162, 2_932_896)
    return Typed(pl.when(possible).then(number_of).cast(pl.Int32).cast(DATE), Kind.DATE)


def _of_day(part: Callable[[pl.Expr], pl.Expr]) -> Callable[[Typed], Typed]:
    return lambda value: numbers(part(date(value)))


def _hour(value: Typed) -> Typed:
    if value.kind is not Kind.DATETIME:
        return Typed(pl.lit(None, pl.Float64), Kind.NUMBER)
    return numbers(value.expr.dt.hour())


def _power(base: Typed, exponent: Typed) -> Typed:
    return numbers(number(base).pow(number(exponent)))


def _of_text(change: Callable[[pl.Expr], pl.Expr]) -> Callable[[Typed], Typed]:
    return lambda value: texts(change(text(value)))


def _of_number(change: Callable[[pl.Expr], pl.Expr]) -> Callable[[Typed], Typed]:
    return lambda value: numbers(change(number(value)))


CALLS: Mapping[str, Callable[..., Typed]] = {
    "min": _least,
    "max": _greatest,
    "abs": _of_number(lambda x: x.abs()),
    "floor": _of_number(lambda x: x.floor()),
    "ceil": _of_number(lambda x: x.ceil()),
    "sqrt": _of_number(lambda x: x.sqrt()),
    "pow": _power,
    "number": _of_number(lambda x: x),
    "text": _of_text(lambda x: x),
    "upper": _of_text(lambda x: x.str.to_uppercase()),
    "lower": _of_text(lambda x: x.str.to_lowercase()),
    "trim": _of_text(lambda x: x.str.strip_chars()),
    "length": lambda x: numbers(text(x).str.len_chars()),
    "contains": lambda x, y: flag(text(x).str.contains(text(y), literal=True)),
    "starts_with": lambda x, y: flag(text(x).str.starts_with(text(y))),
    "ends_with": lambda x, y: flag(text(x).str.ends_with(text(y))),
    "left": _left,
    "right": _right,
    "substring": _substring,
    "concat": _concat,
    "coalesce": _coalesce,
    "if": choice,
    "date": lambda x: Typed(date(x), Kind.DATE),
    "year": _of_day(lambda x: x.dt.year()),
    "month": _of_day(lambda x: x.dt.month()),
    "day": _of_day(lambda x: x.dt.day()),
    # 0 is Sunday, as in the schedule of a campaign.
    "weekday": _of_day(lambda x: x.dt.weekday() % 7),
    "hour": _hour,
    "days_between": _days_between,
    "add_days": _add_days,
}
