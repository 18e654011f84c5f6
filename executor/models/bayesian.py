"""Naive Bayes: the evidence of each value for and against, added up as logarithms."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executor.flow.types import Kind
from executor.models.model import (
    CATEGORICAL,
    NUMERIC,
    Columns,
    Contribution,
    Model,
    Reader,
    Scores,
    look_up,
    must_be,
    selected,
    sigmoid,
)

#: Samples from which on the model is as sure of itself as it can be.
_FULL_CONFIDENCE = 1000


@dataclass(frozen=True, slots=True)
class Binned:
    """Log-likelihood differences by bin; one more at the end, 0, for a missing value."""

    edges: NDArray[np.float64]
    differences: NDArray[np.float64]


class NaiveBayes(Model):
    """log odds = ln(n+ / n-) + sum of ln P(v|+) - ln P(v|-), fields in the order of their names.

    P(v|c) = (n(v, c) + alpha) / (n(c) + alpha * values of the field). A value without counts, and
    a missing one, speaks for neither class.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        predictors: tuple[Mapping[str, Any], ...],
        state: Mapping[str, Any],
    ) -> None:
        counts = state["counts"]
        super().__init__(name, selected(tuple(sorted(counts)), predictors))
        self._classes = state["classCounts"]["positive"], state["classCounts"]["negative"]
        self._alpha = float(config.get("laplaceSmoothingAlpha", 1))
        self.base = log(self._classes[0]) - log(self._classes[1])
        self.confidence = min(1.0, sqrt(sum(self._classes) / _FULL_CONFIDENCE))
        edges = state.get("binEdges", {})
        self._tables: dict[str, Binned | dict[str, float]] = {
            field: self._binned(counts[field], edges[field])
            if field in edges
            else self._by_value(counts[field], len(counts[field]))
            for field in self.fields
        }

    def score(self, columns: Columns, rows: int) -> Scores:
        total = np.full(rows, self.base)
        for field in self.fields:
            total += self._part(field, columns)
        return sigmoid(total)

    def kind_fault(self, field: str, kind: Kind) -> str:
        if isinstance(self._tables[field], Binned):
            return must_be(kind, NUMERIC, "bins need a number")
        return must_be(kind, CATEGORICAL, "counts by value need text or whole numbers, or binEdges")

    def explain(self, values: Mapping[str, object]) -> list[Contribution]:
        """ln P(v|+) - ln P(v|-) of every field."""
        return [
            Contribution(field, values[field], float(self._part(field, values)[0]))
            for field in self.fields
        ]

    def _part(self, field: str, columns: Columns) -> Scores:
        reader, table = Reader(self, columns), self._tables[field]
        if not isinstance(table, Binned):
            return look_up(reader.words(field), table, 0.0)
        values = reader.numbers(field)
        bins = np.searchsorted(table.edges, values, side="right")
        return table.differences[np.where(np.isnan(values), len(table.edges) + 1, bins)]

    def _binned(self, counts: Mapping[str, Any], edges: list[float]) -> Binned:
        bins = len(edges) + 1
        known = self._by_value(counts, bins)
        differences = [known.get(str(each), 0.0) for each in range(bins)]
        return Binned(np.array(edges, dtype=np.float64), np.array([*differences, 0.0]))

    def _by_value(self, counts: Mapping[str, Any], size: int) -> dict[str, float]:
        return {value: self._difference(each, size) for value, each in counts.items()}

    def _difference(self, counts: Mapping[str, Any], size: int) -> float:
        seen = counts["positive"], counts["negative"]
        likelihoods = [
            log(count + self._alpha) - log(total + self._alpha * size)
            for count, total in zip(seen, self._classes, strict=True)
        ]
        return likelihoods[0] - likelihoods[1]
