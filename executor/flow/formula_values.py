"""What the parts of a formula are: expressions with one kind each, known before any value.

A number is float64; an integer column is int64 as long as nothing is computed from it; an instant
is local time; null has no kind. NaN and infinity are null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from executor.flow.types import Kind

#: From here on not every integer is a float64.
EXACT = 2.0**53
NUMERAL = r"^\s*-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"

DATE = pl.Date()
INSTANT = pl.Datetime("us")
DTYPES: Mapping[Kind, pl.DataType] = {
    Kind.INTEGER: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.DATE: DATE,
    Kind.DATETIME: INSTANT,
}


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression and the kind of its values."""

    expr: pl.Expr
    kind: Kind | None


@dataclass(frozen=True, slots=True)
class Clock:
    """The instant of the run, and the zone in which days begin and end."""

    now: datetime
    zone: str

    @property
    def local(self) -> datetime:
        return self.now.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)


NOTHING = Typed(pl.lit(None), None)


def column_source(expr: pl.Expr, dtype: pl.DataType, clock: Clock) -> Typed:
    """A frozen column as formulas read it."""
    if dtype == pl.Boolean:
        return Typed(expr.cast(pl.Float64), Kind.NUMBER)
    if dtype.is_integer():
        return Typed(expr.cast(pl.Int64), Kind.INTEGER)
    if dtype.is_float():
        return Typed(finite(expr.cast(pl.Float64)), Kind.NUMBER)
    if dtype == pl.Date:
        return Typed(expr, Kind.DATE)
    if isinstance(dtype, pl.Datetime):
        return Typed(_local(expr, dtype, clock), Kind.DATETIME)
    return NOTHING if dtype == pl.Null else Typed(expr.cast(pl.String), Kind.TEXT)


def _local(expr: pl.Expr, dtype: pl.Datetime, clock: Clock) -> pl.Expr:
    aware = expr if dtype.time_zone else expr.dt.replace_time_zone("UTC")
    local = aware.dt.convert_time_zone(clock.zone).dt.replace_time_zone(None)
    return local.cast(INSTANT)


def constant(value: Any) -> Typed:
    """One value for all rows; a list is a text of its items."""
    if isinstance(value, bool):
        return Typed(pl.lit(float(value)), Kind.NUMBER)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return Typed(pl.lit(value, pl.Int64), Kind.INTEGER)
    if isinstance(value, int | float):
        finite = abs(value) <= 1.7976931348623157e308
        return Typed(pl.lit(float(value) if finite else None, pl.Float64), Kind.NUMBER)
    if isinstance(value, list | tuple):
        return Typed(pl.lit(", ".join(map(str, value))), Kind.TEXT)
    return Typed(pl.lit(value, pl.String), Kind.TEXT) if isinstance(value, str) else NOTHING


def number(value: Typed) -> pl.Expr:
    """As float64; a text if it is one."""
    if value.kind is Kind.NUMBER:
        return value.expr
    if value.kind is Kind.INTEGER:
        return value.expr.cast(pl.Float64)
    if value.kind is Kind.TEXT:
        numeral = pl.when(value.expr.str.contains(NUMERAL)).then(value.expr.str.strip_chars())
        return finite(numeral.cast(pl.Float64, strict=False))
    return pl.lit(None, pl.Float64)


def text(value: Typed) -> pl.Expr:
    """As text: numbers without a needless fraction, dates as 2026-03-22, instants in local time."""
    if value.kind is Kind.TEXT:
        return value.expr
    if value.kind is Kind.INTEGER:
        return value.expr.cast(pl.String)
    if value.kind is Kind.NUMBER:
        whole = (value.expr.abs() < EXACT) & (value.expr == value.expr.floor())
        integer = pl.when(whole).then(value.expr).cast(pl.Int64).cast(pl.String)
        return pl.when(whole).then(integer).otherwise(value.expr.cast(pl.String))
    if value.kind is Kind.DATE:
        return value.expr.dt.strftime("%Y-%m-%d")
    if value.kind is Kind.DATETIME:
        return value.expr.dt.strftime("%Y-%m-%d %H:%M:%S")
    return pl.lit(None, pl.String)


def date(value: Typed) -> pl.Expr:
    """The day: of an instant in local time; a text that begins with one as 2026-03-22."""
    if value.kind is Kind.DATE:
        return value.expr
    if value.kind is Kind.DATETIME:
        return value.expr.dt.date()
    if value.kind is Kind.TEXT:
        pattern = r"^\s*([0-9]{4}-[0-9]{2}-[0-9]{2})([T ]|\s*$)"
        return value.expr.str.extract(pattern).str.to_date("%Y-%m-%d", strict=False)
    return pl.lit(None, DATE)


def truth(value: Typed) -> pl.Expr:
    """Never null: a number that is not 0, a text that is not empty, a date that is there."""
    if value.kind in (Kind.NUMBER, Kind.INTEGER):
        return (value.expr != 0).fill_null(False)
    if value.kind is Kind.TEXT:
        return (value.expr != "").fill_null(False)
    return value.expr.is_not_null() if value.kind else pl.lit(False)


def common_kind(kinds: Sequence[Kind | None]) -> Kind | None:
    """The one kind of values that may be any of these: text where nothing else holds them all."""
    found = {*kinds} - {None}
    if len(found) <= 1:
        return next(iter(found), None)
    if found == {Kind.INTEGER, Kind.NUMBER}:
        return Kind.NUMBER
    return Kind.DATETIME if found == {Kind.DATE, Kind.DATETIME} else Kind.TEXT


def converted(value: Typed, kind: Kind | None) -> pl.Expr:
    if value.kind is kind:
        return value.expr
    if kind is Kind.TEXT:
        return text(value)
    if kind is Kind.NUMBER:
        return number(value)
    if kind is Kind.DATE:
        return date(value)
    if kind is Kind.DATETIME:
        return date(value).cast(INSTANT)
    return value.expr.cast(DTYPES[kind]) if kind else value.expr


def finite(expr: pl.Expr) -> pl.Expr:
    return pl.when(expr.is_finite()).then(expr)


def divided(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """a / b as IEEE 754 has it; both finite or null.

    polars multiplies by 1 / b where b is one value for all rows, so it is made a column.
    """
    return a / (b + a * 0.0)


def remainder(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """With the sign of `a`, and exact: a - b * trunc(a / b) is not where the quotient is large.

    NaN where either is null: for `numbers` to make null of.
    """
    every = pl.int_range(pl.len())  # else two constants would make one value instead of a column
    pair = pl.struct(a.cast(pl.Float64).alias("a"), b.cast(pl.Float64).alias("b"), every.alias("n"))
    return pair.map_batches(_fmod, return_dtype=pl.Float64)


def _fmod(pair: pl.Series) -> pl.Series:
    a, b = pair.struct.field("a"), pair.struct.field("b")
    with np.errstate(invalid="ignore"):
        values = np.fmod(a.fill_null(np.nan).to_numpy(), b.fill_null(np.nan).to_numpy())
    return pl.Series("a", values, pl.Float64)


def flag(expr: pl.Expr) -> Typed:
    return Typed(expr.cast(pl.Float64), Kind.NUMBER)


def numbers(expr: pl.Expr) -> Typed:
    return Typed(finite(expr.cast(pl.Float64)), Kind.NUMBER)


def texts(expr: pl.Expr) -> Typed:
    return Typed(expr, Kind.TEXT)
