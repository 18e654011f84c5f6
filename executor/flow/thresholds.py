"""Whether a customer's share of a column's range compares so with a threshold."""

import math
import struct
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt

from executor.flow.conditions import Leaf
from executor.flow.leaves import Verdict, all_of, any_of, negated
from executor.flow.operators import INT64_MAX, INT64_MIN, Op
from executor.flow.plan import Term
from executor.flow.sources import share
from executor.flow.types import Kind

COMPARE: Mapping[str, Callable[[float, float], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def share_test(term: Term, kind: Kind, operator: str, threshold: float) -> Verdict:
    """The condition on the term's column that holds exactly where the factor compares so.

    The factor rises or falls with the column, so there is one value from which on the answer is
    another; it is looked for among the column's values, which leaves no room for rounding.
    """

    def holds(value: float) -> bool:
        return COMPARE[operator](share(value, term.low, term.high), threshold)

    missing: Verdict = Leaf(term.column, Op.IS_NULL, None)
    if kind is Kind.BOOLEAN:
        answers = {value: holds(float(value)) for value in (False, True)}
        present = any_of(Leaf(term.column, Op.EQ, value) for value in answers if answers[value])
    elif kind is Kind.INTEGER:
        present = _from_on(term.column, INT64_MIN, INT64_MAX, holds, int)
    else:
        not_a_number = Leaf(term.column, Op.EQ, math.nan)
        missing = any_of((missing, not_a_number))
        first, last = _ordinal(-math.inf), _ordinal(math.inf)
        found = _from_on(term.column, first, last, lambda one: holds(_float(one)), _float)
        present = all_of((found, negated(not_a_number)))
    if COMPARE[operator](term.default, threshold):
        return any_of((missing, present))
    return all_of((negated(missing), present))


def _from_on(
    column: str,
    first: int,
    last: int,
    holds: Callable[[int], bool],
    value: Callable[[int], float],
) -> Verdict:
    """Where it holds, which is all, none, or all on one side of one of the values."""
    at_end = holds(last)
    if holds(first) is at_end:
        return at_end
    before, after = first, last
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if holds(middle) is at_end else (middle, after)
    return Leaf(column, Op.GTE if at_end else Op.LT, value(after))


def _ordinal(value: float) -> int:
    """Integers in the order of the floats."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return int(bits) if bits >= 0 else -(int(bits) & INT64_MAX)


def _float(ordinal: int) -> float:
    (value,) = struct.unpack("<d", struct.pack("<q", abs(ordinal)))
    return math.copysign(value, ordinal)
