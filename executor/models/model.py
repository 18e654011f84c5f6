"""What every scoring model can do: name its inputs, score columns, explain one customer.

A model is compiled from its frozen facts and works on columns only.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.flow.fields import Ref, did_you_mean, read_ref, ref_kind
from executor.flow.operators import quoted
from executor.flow.types import Kind

#: A whole column, or one value that holds for every row; None is a missing value.
Input = pl.Series | bool | int | float | str | tuple[Any, ...] | list[Any] | None
Columns = Mapping[str, Any]
Scores = NDArray[np.float64]
Fault = tuple[str, str]

#: Rows that an opaque model sees at a time. A kernel may add up in another order for another number
#: of rows, so there is only this one; chunks are multiples of it, so a row is always in the same.
BLOCK = 1024
NUMERIC = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN})
#: Kinds whose values have one text, so that a category can be told by it.
CATEGORICAL = frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN})
_NAMESPACES = ("customer", "offer", "channel", "request")


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a field adds to the raw score of one customer; `label` tells rules of a field apart."""

    field: str
    value: object
    contribution: float
    label: str = ""


class Model(ABC):
    """A compiled model. `fields` are its inputs as its author wrote them, each once."""

    def __init__(self, name: str, fields: tuple[str, ...]) -> None:
        self.name = name
        self.fields = fields

    #: The raw score without any contribution; None if the type is not a sum.
    base: float | None = None

    #: How sure the model is of itself, 0 to 1, where its type says so.
    confidence: float | None = None

    @abstractmethod
    def score(self, columns: Columns, rows: int) -> Scores:
        """The score of each row, shape (rows,); NaN where the model cannot tell.

        `columns` holds for each field a series of `rows` values or one value for all rows. A row's
        score depends on nothing but its own values. Raises Rejected for a column of a kind that
        the field cannot have; `missing` tells so beforehand.
        """

    @abstractmethod
    def kind_fault(self, field: str, kind: Kind) -> str:
        """Why the field cannot be a column of this kind, or nothing."""

    def explain(self, values: Mapping[str, object]) -> list[Contribution]:
        """What each input adds to one customer's raw score; empty if the type has no such thing."""
        return []

    def missing(self, kinds: Mapping[str, Kind]) -> list[Fault]:
        """(field, what is wrong) of every input that the customers' columns cannot give.

        What an offer or channel has is checked only if its kind is always the same.
        """
        return list(self._input_faults(kinds))

    def _input_faults(self, kinds: Mapping[str, Kind]) -> Iterator[Fault]:
        for field in self.fields:
            ref = field_ref(field)
            kind = ref_kind(ref)
            if ref.namespace == "customer":
                kind = kinds.get(ref.attribute)
                if kind is None:
                    hint = did_you_mean(ref.attribute, kinds)
                    yield (
                        field,
                        f"the model {quoted(self.name)} needs the column "
                        f"{quoted(ref.attribute)}, which the customers do not have{hint}",
                    )
                    continue
            fault = self.kind_fault(field, kind) if kind is not None else ""
            if fault:
                yield field, f"the model {quoted(self.name)} cannot use {field}: {fault}"


def field_ref(name: str) -> Ref:
    """A model's field: `offer.x`, `channel.x` and `customer.x` as in a flow; all else a column.

    Raises Rejected for an attribute that offers or channels do not have.
    """
    namespace, dot, _ = name.partition(".")
    return read_ref(name) if dot and namespace in _NAMESPACES else Ref("customer", name)


def must_be(kind: Kind, allowed: frozenset[Kind], what: str) -> str:
    """The fault of a kind that is not allowed, or nothing."""
    return "" if kind in allowed else f"it holds {kind}, but {what}"


def sigmoid(margins: Scores) -> Scores:
    """1 / (1 + e^-x) without overflow; NaN stays NaN."""
    small = np.exp(-np.abs(margins))
    return np.where(margins >= 0, 1.0, small) / (1.0 + small)


_KINDS: tuple[tuple[type[pl.DataType], Kind], ...] = (
    (pl.Boolean, Kind.BOOLEAN),
    (pl.String, Kind.TEXT),
    (pl.Date, Kind.DATE),
    (pl.Datetime, Kind.DATETIME),
)


def kind_of(series: pl.Series) -> Kind | None:
    """The kind of a column; None for one in which nothing but missing values can be."""
    dtype = series.dtype
    if dtype.is_integer():
        return Kind.INTEGER
    if dtype.is_float():
        return Kind.NUMBER
    return next((kind for each, kind in _KINDS if dtype == each), None)


class Reader:
    """Reads the inputs of a model: a constant becomes a column of one row, to be broadcast."""

    def __init__(self, model: Model, columns: Columns) -> None:
        self._model, self._columns = model, columns

    def value(self, field: str) -> object:
        """The input as it was given. Raises Rejected if it was not."""
        if field not in self._columns:
            problem = f"the model {quoted(self._model.name)} needs {field}, which is not given"
            raise Rejected((field, problem))
        return self._columns[field]

    def series(self, field: str) -> pl.Series:
        """The column, of any kind. Raises Rejected for what is no single value."""
        value = self.value(field)
        if isinstance(value, pl.Series):
            return value
        try:
            if isinstance(value, int) and not isinstance(value, bool):
                value = value if -(2**63) <= value < 2**63 else float(value)
            return pl.Series(field, [value], strict=True)
        except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
            raise Rejected((field, f"must be one value, got {quoted(value)}")) from error

    def checked(self, field: str) -> tuple[pl.Series, Kind | None]:
        """The column and its kind. Raises Rejected for a kind the model cannot use."""
        series = self.series(field)
        kind = kind_of(series)
        if kind is None and series.dtype != pl.Null:
            raise Rejected((field, f"must be one value, got {series.dtype}"))
        fault = self._model.kind_fault(field, kind) if kind is not None else ""
        if fault:
            raise Rejected((field, f"the model {quoted(self._model.name)} cannot use it: {fault}"))
        return series, kind

    def numbers(self, field: str, default: float = np.nan) -> Scores:
        """The column as float64, `default` where a value is missing or NaN; true is 1."""
        series, _ = self.checked(field)
        values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return values if np.isnan(default) else np.where(np.isnan(values), default, values)

    def words(self, field: str) -> pl.Series:
        """The column as text: whole numbers in decimal, true and false in words."""
        series, _ = self.checked(field)
        return series.cast(pl.String)


def word_of(value: object) -> str:
    """A category of a model's JSON as the text of a column that holds it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def look_up(words: pl.Series, table: Mapping[str, float], default: float) -> Scores:
    """The number of each word; `default` for missing and unknown ones."""
    if not table:
        return np.full(len(words), default)
    found = words.replace_strict(
        list(table), list(table.values()), default=default, return_dtype=pl.Float64
    )
    return found.fill_null(default).to_numpy()


def selected(fields: tuple[str, ...], predictors: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
    """The fields without those that the model's predictors name as not selected."""
    left_out = {item["field"] for item in predictors if not item.get("selected", True)}
    return tuple(field for field in fields if field not in left_out)
