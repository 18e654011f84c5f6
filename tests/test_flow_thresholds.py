"""A share of a column's range compared with a threshold, as a condition on the column."""

import math
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.eligibility import condition_expr
from executor.flow.plan import Term
from executor.flow.sources import share
from executor.flow.thresholds import COMPARE, share_test
from executor.flow.types import Kind

RANGES = ((0, 1), (0, 1000), (80, 20), (-1e308, 7e307), (5e-324, 1), (0.1, 0.7), (-3, -2))
VALUES: dict[Kind, tuple[Any, Any]] = {
    Kind.BOOLEAN: (pl.Boolean, st.booleans()),
    Kind.INTEGER: (pl.Int64, st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 100)),
    Kind.NUMBER: (pl.Float64, st.floats() | st.floats(-0.5, 1.5)),
}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_the_condition_holds_exactly_where_the_factor_compares_so(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(VALUES)))
    dtype, values = VALUES[kind]
    low, high = data.draw(st.sampled_from(RANGES))
    term = Term("x", low, high, 1.0, data.draw(st.sampled_from((0.0, 0.3, 0.5, 1.0))))
    column = data.draw(st.lists(values | st.none(), min_size=1, max_size=20))
    frame = pl.DataFrame({"x": pl.Series(column, dtype=dtype)})
    shares = [
        term.default if value is None or value != value else share(float(value), low, high)
        for value in column
    ]
    chosen = st.sampled_from((0.0, 0.3, 0.5, 1.0, *shares))
    operator, threshold = data.draw(st.sampled_from(list(COMPARE))), data.draw(chosen)
    condition = share_test(term, kind, operator, threshold)
    kept = frame.select(kept=condition_expr(condition))["kept"].to_list()
    assert kept == [COMPARE[operator](one, threshold) for one in shares]


def test_the_value_between_the_answers_is_found_to_the_last_bit() -> None:
    condition = share_test(Term("x", 0.0, 3.0, 1.0, 0.0), Kind.NUMBER, "gte", 0.1)
    first = next(value for value in _neighbours(0.3) if value / 3.0 >= 0.1)
    frame = pl.DataFrame({"x": [math.nextafter(first, 0), first]})
    assert frame.select(kept=condition_expr(condition))["kept"].to_list() == [False, True]


def _neighbours(value: float) -> list[float]:
    """Some floats around the value, in their order."""
    around = [value]
    for _ in range(4):
        around = [
            math.nextafter(around[0], -math.inf),
            *around,
            math.nextafter(around[-1], math.inf),
        ]
    return around
