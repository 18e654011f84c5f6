"""Scorecards: points for each rule that holds, brought into 0 to 1."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.flow.columns import column_expr
from executor.flow.conditions import Leaf
from executor.flow.operators import OPERATORS, Op, allowed_operators, normalise
from executor.flow.types import Kind
from executor.models.model import Columns, Contribution, Model, Reader, Scores, kind_of, sigmoid

_LIST_OPERATORS = (Op.CONTAINS, Op.IN, Op.NOT_IN)
#: Steepness of the documented normalization: minScore and maxScore lie 3 from the middle.
_SPREAD = 6.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Adds `points` where the field compares so with the value; a missing value never does."""

    field: str
    operator: Op
    value: Any
    points: float
    label: str

    def fault(self, kind: Kind) -> str:
        row = OPERATORS[self.operator]
        if kind not in row.kinds:
            allowed = ", ".join(allowed_operators(kind))
            return f"{self.operator} does not work on {kind}; allowed: {allowed}"
        try:
            normalise(row, kind, self.value)
        except Rejected as error:
            return "; ".join(f"{path} of {self.label}: {text}" for path, text in error.errors)
        return ""

    def holds(self, series: pl.Series) -> NDArray[np.bool_]:
        """Where it holds, of a column that `fault` has nothing to say about."""
        kind = kind_of(series)
        if kind is None:
            return np.zeros(len(series), dtype=bool)
        leaf = Leaf("value", *normalise(OPERATORS[self.operator], kind, self.value))
        frame = series.rename("value").to_frame()
        return frame.select(holds=column_expr(leaf))["holds"].to_numpy()

    def holds_of_list(self, items: list[Any] | tuple[Any, ...]) -> NDArray[np.bool_]:
        """A list, such as an offer's tags: contains, has any of, has none of."""
        if self.operator not in _LIST_OPERATORS:
            problem = f"is a list; its operators are: {', '.join(_LIST_OPERATORS)}"
            raise Rejected((self.field, problem))
        wanted = self.value if isinstance(self.value, list) else [self.value]
        has_any = any(each in items for each in wanted)
        return np.array([has_any is not (self.operator is Op.NOT_IN)])


class Scorecard(Model):
    """Raw score = baseScore + the points of the rules that hold, added in their order."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.rules = tuple(_rules(config.get("rules", ())))
        super().__init__(name, tuple(dict.fromkeys(rule.field for rule in self.rules)))
        self.base = float(config.get("baseScore", 50))
        self._low, self._high = float(config.get("minScore", 0)), float(config.get("maxScore", 100))
        self._is_linear = config.get("normalization", "sigmoid") == "linear"

    def score(self, columns: Columns, rows: int) -> Scores:
        raw = np.full(rows, self.base)
        for rule in self.rules:
            raw += np.where(self._holds(rule, columns), rule.points, 0.0)
        span = self._high - self._low
        if self._is_linear:
            return np.clip((raw - self._low) / span, 0.0, 1.0)
        return sigmoid((raw - (self._high + self._low) / 2) / span * _SPREAD)

    def kind_fault(self, field: str, kind: Kind) -> str:
        faults = (rule.fault(kind) for rule in self.rules if rule.field == field)
        return next((fault for fault in faults if fault), "")

    def explain(self, values: Mapping[str, object]) -> list[Contribution]:
        """The rules that hold, with their points."""
        return [
            Contribution(rule.field, values[rule.field], rule.points, rule.label)
            for rule in self.rules
            if self._holds(rule, values)[0]
        ]

    def _holds(self, rule: Rule, columns: Columns) -> NDArray[np.bool_]:
        reader = Reader(self, columns)
        value = reader.value(rule.field)
        if isinstance(value, list | tuple):
            return rule.holds_of_list(value)
        return rule.holds(reader.checked(rule.field)[0])


def _rules(rules: Any) -> Iterator[Rule]:
    for position, rule in enumerate(rules):
        label = rule.get("description") or rule.get("id") or f"rule {position + 1}"
        points = float(rule["points"])
        yield Rule(rule["field"], Op(rule["operator"]), rule.get("value"), points, label)
