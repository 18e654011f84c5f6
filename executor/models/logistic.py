"""Logistic regression: the sigmoid of a weighted sum, added up weight by weight."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from executor.errors import Rejected
from executor.flow.operators import quoted
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
    word_of,
)


class LogisticRegression(Model):
    """Weights are by column, or by `column=value` for one value of a category.

    The sum runs over the columns by name, so it does not depend on how the weights were stored.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        predictors: tuple[Mapping[str, Any], ...],
        state: Mapping[str, Any],
    ) -> None:
        numeric: dict[str, float] = {}
        categories: dict[str, dict[str, float]] = {}
        for key, weight in sorted(state["weights"].items()):
            field, is_one_hot, value = key.partition("=")
            if is_one_hot:
                categories.setdefault(field, {})[value] = float(weight)
            else:
                numeric[field] = float(weight)
        both = sorted(numeric.keys() & categories.keys())
        if both:
            problem = f"{quoted(both[0])} has a weight of its own and weights of single values"
            raise Rejected((f"modelState.weights.{both[0]}", problem))
        super().__init__(name, selected(tuple(sorted({*numeric, *categories})), predictors))
        self.base = float(state["bias"])
        self._numeric, self._categories = numeric, categories
        self._missing: Mapping[str, Any] = config.get("missing", {})
        for field, value in self._missing.items():
            if field in numeric and isinstance(value, str):
                problem = f"must be a number: {quoted(field)} has a weight of its own"
                raise Rejected((f"config.missing.{field}", problem))

    def score(self, columns: Columns, rows: int) -> Scores:
        total = np.full(rows, self.base)
        for field in self.fields:
            # Numbers without end make a sum that is one, or NaN.
            with np.errstate(invalid="ignore", over="ignore"):
                total += self._part(field, columns)
        return sigmoid(total)

    def kind_fault(self, field: str, kind: Kind) -> str:
        if field in self._categories:
            return must_be(kind, CATEGORICAL, "weights of values need text or whole numbers")
        return must_be(kind, NUMERIC, "a weight needs a number, or field=value for each category")

    def explain(self, values: Mapping[str, object]) -> list[Contribution]:
        """Weight times value; NaN where the value is missing and nothing stands in for it."""
        return [
            Contribution(field, values[field], float(self._part(field, values)[0]))
            for field in self.fields
        ]

    def _part(self, field: str, columns: Columns) -> Scores:
        reader = Reader(self, columns)
        default = self._missing.get(field)
        if field not in self._categories:
            values = reader.numbers(field, np.nan if default is None else float(default))
            with np.errstate(invalid="ignore", over="ignore"):
                return self._numeric[field] * values
        words = reader.words(field)
        if default is not None:
            words = words.fill_null(word_of(default))
        return look_up(words, self._categories[field], 0.0)
