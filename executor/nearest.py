"""The nearest single change of a customer that would let a candidate through, tried out. Pure.

Every change is one other value of one frozen column. It counts only if the engine, given the row
with that value, has no step and no score left that removes the candidate.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from executor.decide import Decider
from executor.derive import derive
from executor.eligibility import Bits, column, eligible
from executor.flow.conditions import Leaf
from executor.flow.operators import Op
from executor.flow.plan import Plan
from executor.reasons import Fault
from executor.scoring import score
from executor.trace import Trace

_INVERSE = {
    Op.EQ: Op.NEQ,
    Op.NEQ: Op.EQ,
    Op.GT: Op.LTE,
    Op.GTE: Op.LT,
    Op.LT: Op.GTE,
    Op.LTE: Op.GT,
    Op.IN: Op.NOT_IN,
    Op.NOT_IN: Op.IN,
    Op.IS_NULL: Op.IS_NOT_NULL,
    Op.IS_NOT_NULL: Op.IS_NULL,
}
#: Changes that are tried out at most.
_MOST = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """Another value of a column, the one nearest to what it is by this operator and operand."""

    column: str
    value: Any
    to: Any
    operator: Op
    operand: Any

    @property
    def distance(self) -> float:
        """Between numbers the difference in relation to the larger; else 1."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            return 1.0
        if isinstance(self.to, bool) or not isinstance(self.to, int | float):
            return 1.0
        size = max(abs(self.value), abs(self.to))
        distance = abs(self.to - self.value) / size if size else 0.0
        return distance if math.isfinite(distance) else 1.0


def nearest_changes(decider: Decider, seen: Trace) -> dict[int, Change]:
    """Candidate -> the nearest change, of those that a step removed and one change lets through."""
    proposed: dict[int, list[Change]] = {}
    for one in seen.candidates:
        if one.is_drawn and one.failed:
            of_first = seen.faults[one.failed[0]]
            proposed[one.candidate] = [
                change for fault in of_first for change in _changes(fault, decider.plan, seen.row)
            ]
    every = list(dict.fromkeys(change for some in proposed.values() for change in some))[:_MOST]
    if not every:
        return {}
    bits = _tried(decider, seen.row, every)
    number = {change: place for place, change in enumerate(every)}
    found: dict[int, Change] = {}
    for candidate, changes in proposed.items():
        possible = column(bits, candidate)
        good = [one for one in changes if one in number and possible[number[one]]]
        if good:
            found[candidate] = min(good, key=lambda one: (one.distance, number[one]))
    return found


def _tried(decider: Decider, row: pl.DataFrame, changes: list[Change]) -> Bits:
    """The candidates that are left for the customer with each of the changes, as bits."""
    plan = decider.plan
    frame = pl.concat([row] * len(changes))
    changed = {change.column for change in changes}
    for name in changed:
        values = [change.to if change.column == name else row[name][0] for change in changes]
        frame = frame.with_columns(pl.Series(name, values, dtype=row.schema[name]))
    anew = [one.name for one in plan.derived if changed & {name for _, name in one.columns}]
    frame = derive(plan, decider.models, frame.drop(anew))
    bits, _ = eligible(plan, frame)
    score(plan, frame, bits)
    return bits


def _changes(fault: Fault, plan: Plan, row: pl.DataFrame) -> Iterator[Change]:
    """At most one: none for what no value is known to mend, and none that asks an endpoint."""
    leaf = fault.leaf
    name, operator = leaf.field, leaf.operator
    if not fault.wanted:
        if operator not in _INVERSE:
            return
        operator = _INVERSE[operator]
    derived = {one.name for one in plan.derived}
    asked = {read for one in plan.derived if one.offer_key is not None for _, read in one.columns}
    if name in derived or name in asked:
        return
    try:
        to = _boundary(Leaf(name, operator, leaf.operand), fault.value, row.schema[name])
    except (OverflowError, ValueError):
        return
    if to is not _NONE:
        yield Change(name, _hashable(fault.value), to, operator, leaf.operand)


_NONE = object()


def _boundary(leaf: Leaf, value: Any, dtype: pl.DataType) -> Any:
    """The value nearest to `value` with which the leaf holds; _NONE if none is known."""
    operand = leaf.operand
    match leaf.operator:
        case Op.EQ | Op.GTE | Op.LTE | Op.CONTAINS | Op.STARTS_WITH:
            return operand
        case Op.GT:
            return _next(operand, dtype, 1)
        case Op.LT:
            return _next(operand, dtype, -1)
        case Op.NEQ:
            return not operand if isinstance(operand, bool) else _NONE
        case Op.IN:
            return _closest(operand, value)
        case Op.IS_NULL:
            return None
    return _NONE


def _closest(operand: Any, value: Any) -> Any:
    numbers = [one for one in operand if isinstance(one, int | float)]
    if numbers and isinstance(value, int | float):
        return min(numbers, key=lambda one: abs(one - value))
    return operand[0] if operand else _NONE


def _next(operand: Any, dtype: pl.DataType, step: int) -> Any:
    """The value next to the operand."""
    if isinstance(operand, datetime):
        return operand + timedelta(microseconds=step)
    if isinstance(operand, date):
        return operand + timedelta(days=step)
    if dtype.is_integer():
        return int(operand) + step
    if isinstance(operand, int | float):
        return math.nextafter(operand, math.inf * step)
    return _NONE


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
