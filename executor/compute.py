"""Computed fields of the offers that customers get: one column per field, offer by offer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.columns import by_name
from executor.flow.custom_fields import in_order
from executor.flow.fields import CHANNEL_KINDS, find_column, read_ref, ref_value
from executor.flow.formula import Formula, parse_formula
from executor.flow.formula_columns import Output, as_output, compile_formula
from executor.flow.formula_values import Clock, Typed, column_source, constant
from executor.flow.operators import quoted
from executor.flow.types import Kind

#: How the kinds of columns are frozen.
FROZEN: Mapping[Kind, pl.DataType] = {
    Kind.INTEGER: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.DATE: pl.Date(),
    Kind.DATETIME: pl.Datetime("us", "UTC"),
}
PREFIX = "personalization."
POSITION = "=position"
_CHANNEL = "=channel."
_FIELD = "=field."


@dataclass(frozen=True, slots=True)
class Field:
    """A computed field of one offer: an expression over customers, the channel, fields before."""

    key: str
    expr: pl.Expr


@dataclass(frozen=True, slots=True)
class Values:
    """A column of each field, null where the offer has none; how often each came to nothing."""

    columns: dict[str, pl.Series]
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Computed:
    """The computed fields of all offers; `outputs` has every key, text if offers differ."""

    offers: tuple[tuple[Field, ...], ...]
    outputs: Mapping[str, Output]
    channels: tuple[ChannelFacts, ...]
    #: Columns of customers, and attributes of channels, that the formulas read.
    columns: frozenset[str]
    attributes: frozenset[str]

    def values(
        self,
        frame: pl.DataFrame,
        rows: NDArray[np.integer],
        offers: NDArray[np.integer],
        channels: NDArray[np.integer],
    ) -> Values:
        """The fields of winners: `rows` of the frame, each with an offer and a channel by index.

        The columns are called `personalization.<key>` and have a value per winner.
        """
        read = frame.select(by_name(name) for name in sorted(self.columns))
        read = pl.select(pl.lit(0)) if read.width == 0 else read[rows]
        parts = [pl.DataFrame(schema={POSITION: pl.Int64, **self._schema()})]
        failures = dict.fromkeys(self.outputs, 0)
        for offer in np.unique(offers):
            places = np.flatnonzero(offers == offer)
            fields = self.offers[offer]
            part = pl.DataFrame({POSITION: places.astype(np.int64)})
            if fields and self.columns:
                part = part.hstack(read[places])
            part = self._computed(part, fields, channels[places])
            for field in fields:
                failures[field.key] += part[PREFIX + field.key].null_count()
            parts.append(part.select(POSITION, *(PREFIX + field.key for field in fields)))
        whole = pl.concat(parts, how="diagonal").sort(POSITION)
        return Values({PREFIX + key: whole[PREFIX + key] for key in self.outputs}, failures)

    def _schema(self) -> dict[str, pl.DataType]:
        kinds = {"number": pl.Float64(), "text": pl.String()}
        return {PREFIX + key: kinds[output] for key, output in self.outputs.items()}

    def _computed(
        self, part: pl.DataFrame, fields: Sequence[Field], channels: NDArray[np.integer]
    ) -> pl.DataFrame:
        for attribute in sorted(self.attributes) if fields else ():
            ref = read_ref(f"channel.{attribute}")
            texts = [ref_value(ref, OfferFacts(0, ""), channel) for channel in self.channels]
            column = pl.Series(_CHANNEL + attribute, texts, pl.String).gather(channels)
            part = part.with_columns(column)
        for field in fields:
            part = part.with_columns(field.expr.alias(_FIELD + field.key))
        for field in fields:
            value = Typed(by_name(_FIELD + field.key), _KINDS[part[_FIELD + field.key].dtype])
            shown = as_output(value, self.outputs[field.key])
            part = part.with_columns(shown.alias(PREFIX + field.key))
        return part


_KINDS: Mapping[Any, Kind] = {pl.Float64(): Kind.NUMBER, pl.String(): Kind.TEXT}


def compile_computed(
    offers: Sequence[OfferFacts],
    channels: Sequence[ChannelFacts],
    kinds: Mapping[str, Kind],
    clock: Clock,
) -> Computed:
    """Raises Rejected naming offer and field for a formula that reads what there is not."""
    outputs: dict[str, Output] = {}
    names: set[str] = set()
    errors: list[tuple[str, str]] = []
    compiled = []
    for offer in offers:
        fields = []
        for key, formula, output in _formulas(offer):
            outputs[key] = "number" if output == outputs.get(key, output) == "number" else "text"
            try:
                fields.append(Field(key, _compile(offer, formula, output, kinds, clock)))
            except Rejected as error:
                path = f"offers[{quoted(offer.name)}].customFields.{key}"
                errors += [(path, text) for _, text in error.errors]
            names |= {*formula.names}
        compiled.append(tuple(fields))
    if errors:
        raise Rejected.of(errors)
    return Computed(
        offers=tuple(compiled),
        outputs=dict(sorted(outputs.items())),
        channels=tuple(channels),
        columns=_within(names, "customer."),
        attributes=_within(names, "channel."),
    )


def _formulas(offer: OfferFacts) -> list[tuple[str, Formula, Output]]:
    """In an order in which each comes behind those it needs."""
    found = {key: (formula, output) for key, formula, output in offer.computed}
    order = in_order({key: formula for key, (formula, _) in found.items()})
    return [
        (key, parse_formula(found[key][0]), "number" if found[key][1] == "number" else "text")
        for key in order
    ]


def _compile(
    offer: OfferFacts, formula: Formula, output: Output, kinds: Mapping[str, Kind], clock: Clock
) -> pl.Expr:
    sources = {name: _source(name, offer, kinds, clock) for name in formula.names}
    return as_output(compile_formula(formula, sources, clock), output)


def _source(name: str, offer: OfferFacts, kinds: Mapping[str, Kind], clock: Clock) -> Typed:
    namespace, _, attribute = name.partition(".")
    if not attribute:
        outputs = {key: output for key, _, output in offer.computed}
        if name in outputs:
            kind = Kind.NUMBER if outputs[name] == "number" else Kind.TEXT
            return Typed(by_name(_FIELD + name), kind)
        return constant(offer.custom_fields.get(name))
    if namespace == "customer":
        kind = find_column(attribute, kinds)
        return column_source(by_name(attribute), FROZEN[kind], clock)
    ref = read_ref(name)
    if namespace == "channel":
        return Typed(by_name(_CHANNEL + attribute), CHANNEL_KINDS[ref.attribute])
    return constant(ref_value(ref, offer, ChannelFacts(0, "")))


def _within(names: set[str], namespace: str) -> frozenset[str]:
    return frozenset(name.removeprefix(namespace) for name in names if name.startswith(namespace))
