"""Gradient boosted trees over customer columns: the sigmoid of the sum of the leaves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from executor.flow.types import Kind
from executor.models.model import (
    CATEGORICAL,
    NUMERIC,
    Columns,
    Model,
    Reader,
    Scores,
    look_up,
    must_be,
    sigmoid,
    word_of,
)
from executor.models.tree_checks import objective_scale, trees_of
from executor.models.trees import Codes, Forest

#: Rows scored at a time, so that what is looked up stays in the processor's cache.
BLOCK = 8192


class BoostedTrees(Model):
    """Fields are the features that any tree splits on, in the model's order.

    A field in `config.categories` holds words; the position in its list is the category that the
    trees split on, as in LightGBM's `pandas_categorical`. An unlisted word is a missing value.
    """

    def __init__(self, name: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        trees = trees_of(state)
        self._forest = Forest(trees)
        names = state["feature_names"]
        super().__init__(name, tuple(names[feature] for feature in self._forest.bins))
        self._scale = objective_scale(state) or 1.0
        #: LightGBM's random forests take the mean of their trees.
        self._share = 1.0 / len(trees) if state.get("average_output") is True else 1.0
        self._categories = {
            field: {word_of(value): float(position) for position, value in enumerate(values)}
            for field, values in config.get("categories", {}).items()
        }

    def score(self, columns: Columns, rows: int) -> Scores:
        codes = self._codes(columns)
        margins = np.empty(rows)
        for start in range(0, rows, BLOCK):
            end = min(start + BLOCK, rows)
            # What is the same for all rows has one code.
            block = {
                feature: each if len(each) == 1 else each[start:end]
                for feature, each in codes.items()
            }
            margins[start:end] = self._forest.margins(block, end - start)
        return sigmoid(margins * self._share * self._scale)

    def kind_fault(self, field: str, kind: Kind) -> str:
        if field in self._categories:
            return must_be(kind, CATEGORICAL, "its categories are words or whole numbers")
        return must_be(kind, NUMERIC, "the trees need a number, or config.categories for words")

    def _codes(self, columns: Columns) -> dict[int, Codes]:
        reader = Reader(self, columns)
        codes = {}
        for field, (feature, bins) in zip(self.fields, self._forest.bins.items(), strict=True):
            categories = self._categories.get(field)
            if categories is None:
                codes[feature] = bins.codes(reader.numbers(field))
            else:
                codes[feature] = bins.codes(look_up(reader.words(field), categories, np.nan))
        return codes
