"""How much each candidate is worth, in fixed-point log space.

A score is a product of powers (PRIE), so its logarithm is a sum: what depends on the customer is
computed once per distinct set of terms, what depends on the candidate is one constant. Both are
rounded to ten-millionths before they meet, i.e. to the seventh significant digit of the score, so
ranking compares integers and cannot depend on chunking or on the order of a floating-point sum.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.allocation import Winners
from executor.eligibility import Bits, Removed, bit_set, condition_expr, remove
from executor.flow.columns import by_name
from executor.flow.plan import Penalty, Plan, Term

Terms = tuple[Term | Penalty, ...]

#: Fixed-point units of one natural logarithm.
UNIT = 10_000_000
#: No log score lies beyond (what does is worth as good as nothing); a sum of two fits 32 bits.
LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Scores:
    """Log score of customer and candidate c = profiles[profile_of[c]] + constants[c]."""

    profiles: NDArray[np.int64]  # (profiles, customers)
    profile_of: NDArray[np.intp]  # (candidates,)
    constants: NDArray[np.int64]  # (candidates,)


def score(plan: Plan, frame: pl.DataFrame, bits: Bits) -> tuple[Scores, Removed]:
    """Score a chunk. Candidates worth nothing, or less than the floor, are cleared and counted."""
    distinct = list(dict.fromkeys(plan.score.terms))
    logs = _log_profiles(distinct, frame)
    position = {terms: number for number, terms in enumerate(distinct)}
    profile_of = np.array([position[terms] for terms in plan.score.terms], dtype=np.intp)
    constants = np.array(plan.score.constants)
    removed = _remove_worthless(plan, bits, logs, profile_of, constants)
    scores = Scores(_fixed(logs), profile_of, _fixed(constants))
    if plan.score.floor > 0:
        below = _remove_below(plan, bits, scores)
        removed = Removed(
            removed.customers + below.customers, removed.candidates + below.candidates
        )
    return replace(scores, constants=scores.constants + boosts(plan)), removed


def boosts(plan: Plan) -> NDArray[np.int64]:
    """What puts the candidates of mandatory offers above all others, in fixed-point units."""
    mandatory = [plan.offers[candidate.offer].mandatory for candidate in plan.candidates]
    return np.where(np.array(mandatory, dtype=np.bool_), LIMIT, 0)


def true_keys(plan: Plan, winners: Winners) -> NDArray[np.int64]:
    """The fixed-point log scores of winners, without what mandatory ones were lifted by."""
    return winners.key.astype(np.int64) - boosts(plan)[winners.candidate]


def as_score(fixed: NDArray[np.integer]) -> NDArray[np.float64]:
    """Fixed-point log scores as scores, rounded to six significant digits."""
    values = pl.Series(np.exp(fixed / UNIT)).round_sig_figs(6)
    return values.to_numpy()


def _log_profiles(distinct: list[Terms], frame: pl.DataFrame) -> NDArray[np.float64]:
    """One row per distinct set of terms: the sum of their logs, in the terms' order."""
    terms = {term: number for number, term in enumerate(dict.fromkeys(sum(distinct, ())))}
    values = frame.select(_value(term).alias(str(number)) for term, number in terms.items())
    with np.errstate(divide="ignore"):
        logs = [_log(term, values[str(number)].to_numpy()) for term, number in terms.items()]
    total = np.zeros((len(distinct), frame.height))
    for row, profile in enumerate(distinct):
        for term in profile:
            total[row] += logs[terms[term]]
    return total


def _value(term: Term | Penalty) -> pl.Expr:
    return factor(term) if isinstance(term, Term) else condition_expr(term.condition)


def _log(term: Term | Penalty, values: NDArray[Any]) -> NDArray[np.float64]:
    if isinstance(term, Term):
        return np.asarray(term.weight * np.log(values))
    return np.where(values, 0.0, np.log(term.multiplier))


def factor(term: Term) -> pl.Expr:
    """The term's column mapped to 0..1; a missing value is the term's default."""
    value = by_name(term.column).cast(pl.Float64)
    most = None if term.is_open else 1.0
    mapped = ((value - term.low) / (term.high - term.low)).clip(0.0, most)
    return mapped.fill_nan(None).fill_null(term.default)


def _remove_worthless(
    plan: Plan,
    bits: Bits,
    logs: NDArray[np.float64],
    profile_of: NDArray[np.intp],
    constants: NDArray[np.float64],
) -> Removed:
    """A factor of zero makes the product zero: nobody is given something worth nothing."""
    customers = candidates = 0
    never = np.flatnonzero(np.isneginf(constants))
    everyone = np.ones(bits.shape[1], dtype=np.bool_)
    groups = [(everyone, never)] if len(never) else []
    for number, row in enumerate(logs):
        if row.min(initial=0.0) == -np.inf:
            groups.append((np.isneginf(row), np.flatnonzero(profile_of == number)))
    for rows, worthless in groups:
        removed = remove(bits, rows, bit_set((int(j) for j in worthless), plan))
        customers += removed.customers
        candidates += removed.candidates
    return Removed(customers, candidates)


def _remove_below(plan: Plan, bits: Bits, scores: Scores) -> Removed:
    """Clear the candidates whose score is below the floor."""
    floor = round(math.log(plan.score.floor) * UNIT)
    customers = candidates = 0
    for number, profile in enumerate(scores.profile_of):
        low = scores.profiles[profile] + scores.constants[number] < floor
        removed = remove(bits, low, bit_set((number,), plan))
        customers += removed.customers
        candidates += removed.candidates
    return Removed(customers, candidates)


def _fixed(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    scaled = logs * UNIT
    np.clip(scaled, -LIMIT, LIMIT, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.int64)
