"""Columns that models compute from the frozen ones, put beside them before anything is decided."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.flow.plan import Derived, Plan
from executor.models.model import Model


def derive(plan: Plan, models: Mapping[str, Model], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the plan's derived columns; those that were frozen are left as they are."""
    missing = [one for one in plan.derived if one.name not in frame.columns]
    if not missing:
        return frame
    return frame.with_columns(_series(one, models[one.model], frame) for one in missing)


def _series(one: Derived, model: Model, frame: pl.DataFrame) -> pl.Series:
    given: dict[str, Any] = dict(one.constants)
    given |= {field: frame.get_column(column) for field, column in one.columns}
    return as_column(one, model.score(given, frame.height))


def as_column(one: Derived, scores: NDArray[np.float64]) -> pl.Series:
    """The model's scores as the column; what is no number is missing."""
    values = one.share.known + one.share.model * scores
    return pl.Series(one.name, values).fill_nan(None)
