"""Finds the type of each column of text over all its values. When in doubt it stays text.

A value is a number only if writing the number gives the value again: 00123 and +49 30 are text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from executor.errors import Broken

TEXT, BIGINT, DOUBLE = "text", "bigint", "double precision"
BOOLEAN, DATE, TIMESTAMP = "boolean", "date", "timestamp with time zone"

# A double has at most 15 digits before the point, as float8 keeps them all, and an exponent that
# float8 can hold.
_TIME = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
_ZONE = r"( ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?"
_DATE = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
_PATTERNS: Mapping[str, str] = {
    BOOLEAN: r"^(?i:true|false)$",
    BIGINT: r"^(0|-?[1-9][0-9]{0,18})$",
    DOUBLE: r"^-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[12]?[0-9]{1,2})?$",
    DATE: f"{_DATE}$",
    TIMESTAMP: f"{_DATE}({_TIME}{_ZONE})?$",
}
_ORDER = (BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP)
_DATE_LENGTH = 10
_EXACT_DIGITS = 15

# Each type with the types whose values it also holds.
_HOLDS: Mapping[str, frozenset[str]] = {
    BOOLEAN: frozenset(),
    BIGINT: frozenset(),
    DOUBLE: frozenset({BIGINT}),
    DATE: frozenset(),
    TIMESTAMP: frozenset({DATE}),
    "numeric": frozenset({BIGINT, DOUBLE}),
    "integer": frozenset({BIGINT}),
}


@dataclass(slots=True)
class _Guess:
    """What the values seen so far are; None while all were empty."""

    type: str | None = None
    #: A whole number was seen that float8 may not keep exactly.
    is_wide: bool = False

    def meet(self, other: str) -> None:
        """Widen to a type that holds both."""
        if self.type is None or self.type == other:
            self.type = other
        elif not (self.is_wide and DOUBLE in (self.type, other)):
            self.type = next((t for t in (self.type, other) if holds(t, {self.type, other})), TEXT)
        else:
            self.type = TEXT


def holds(outer: str, inner: set[str]) -> bool:
    """Whether values of the types `inner` can be written into a column of type `outer`."""
    return outer == TEXT or inner <= {outer, *_HOLDS.get(outer, ())}


class TypeFinder:
    """Looks at batches of CSV and remembers what each column may be."""

    def __init__(self, width: int, delimiter: str, *, given: Mapping[int, str]) -> None:
        self._delimiter = delimiter
        self._guesses = [_Guess() for _ in range(width)]
        self._given = dict(given)

    def look(self, data: bytes, row_count: int) -> None:
        """Take clean rows into account."""
        undecided = [
            position
            for position, guess in enumerate(self._guesses)
            if guess.type != TEXT and position not in self._given
        ]
        if not undecided or not row_count:
            return
        frame = pl.read_csv(
            data,
            columns=undecided,
            has_header=False,
            infer_schema=False,
            separator=self._delimiter,
        )
        if frame.height != row_count:
            raise Broken(f"a batch of {row_count} rows was read as {frame.height}")
        frame.columns = [str(position) for position in undecided]
        self._meet(frame, undecided)

    def types(self) -> list[str | None]:
        """The type of each column; None where no value was seen."""
        return [self._given.get(at, guess.type) for at, guess in enumerate(self._guesses)]

    def _meet(self, frame: pl.DataFrame, positions: list[int]) -> None:
        """One pass checks each column for what it was before; the rest are looked at singly."""
        expected = {at: self._guesses[at].type or _likely(frame[str(at)]) for at in positions}
        typed = {at: kind for at, kind in expected.items() if kind in _ORDER}
        checks = [_matches(_values(str(at)), kind).alias(f"{at}") for at, kind in typed.items()]
        lengths = [pl.col(str(at)).str.len_bytes().max().alias(f"length {at}") for at in typed]
        seen = frame.select(*checks, *lengths).row(0, named=True) if typed else {}
        for at, kind in expected.items():
            if kind is None:
                continue
            found = kind if kind == TEXT or seen[f"{at}"] else _classify(frame[str(at)])
            guess = self._guesses[at]
            guess.is_wide |= found == BIGINT and seen[f"length {at}"] > _EXACT_DIGITS
            guess.meet(found)


def _values(name: str) -> pl.Expr:
    """The column with empty strings, which mean nothing to a typed column, as null."""
    column = pl.col(name)
    return pl.when(column != "").then(column)


def _likely(column: pl.Series) -> str | None:
    """The type of the first value; None when there is none."""
    values = column.drop_nulls()
    first = values.filter(values != "").head(1).to_list()
    if not first:
        return None
    return next((kind for kind in _ORDER if re.search(_PATTERNS[kind], first[0])), TEXT)


def _classify(column: pl.Series) -> str:
    frame = column.to_frame()
    values = _values(column.name)
    return next((k for k in _ORDER if frame.select(_matches(values, k)).item()), TEXT)


def _matches(values: pl.Expr, kind: str) -> pl.Expr:
    """Whether all values that are there are of the type."""
    if kind == BIGINT:
        # The same as its pattern, in half the time.
        is_padded = values.str.starts_with("0") & (values != "0")
        is_signed = values.str.starts_with("+") | values.str.starts_with("-0")
        is_whole = values.cast(pl.Int64, strict=False).is_not_null() & ~is_padded & ~is_signed
        return (is_whole | values.is_null()).all()
    fit = values.str.contains(_PATTERNS[kind]).all()
    if kind == DOUBLE:
        return fit & values.cast(pl.Float64, strict=False).is_finite().all()
    if kind in (DATE, TIMESTAMP):
        days = values.str.slice(0, _DATE_LENGTH).str.to_date("%Y-%m-%d", strict=False)
        return fit & (days.is_not_null() | values.is_null()).all()
    return fit
