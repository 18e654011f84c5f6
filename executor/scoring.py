"""How much each candidate is worth, in fixed-point log space.

A score is a product of powers (PRIE), so its logarithm is a sum: what depends on the customer is
computed once per distinct set of terms, what depends on the candidate is one constant. Both are
rounded to ten-millionths before they meet, i.e. to the seventh significant digit of the score, so
ranking compares integers and cannot depend on chunking or on the order of a floating-point sum.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.eligibility import Bits, Removed, bit_set, remove
from executor.flow.columns import by_name
from executor.flow.plan import Plan, Term

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
    """Score a chunk. Candidates worth nothing are cleared from `bits` and counted."""
    distinct = list(dict.fromkeys(plan.score.terms))
    logs = _log_profiles(distinct, frame)
    position = {terms: number for number, terms in enumerate(distinct)}
    profile_of = np.array([position[terms] for terms in plan.score.terms], dtype=np.intp)
    constants = np.array(plan.score.constants)
    removed = _remove_worthless(plan, bits, logs, profile_of, constants)
    return (
        Scores(profiles=_fixed(logs), profile_of=profile_of, constants=_fixed(constants)),
        removed,
    )


def as_score(fixed: NDArray[np.integer]) -> NDArray[np.float64]:
    """Fixed-point log scores as scores, rounded to six significant digits."""
    values = pl.Series(np.exp(fixed / UNIT)).round_sig_figs(6)
    return values.to_numpy()


def _log_profiles(distinct: list[tuple[Term, ...]], frame: pl.DataFrame) -> NDArray[np.float64]:
    """One row per distinct set of terms: the sum of weight x ln(factor), in the terms' order."""
    terms = {term: number for number, term in enumerate(dict.fromkeys(sum(distinct, ())))}
    factors = frame.select(factor(term).alias(str(number)) for term, number in terms.items())
    with np.errstate(divide="ignore"):
        logs = [
            term.weight * np.log(factors[str(number)].to_numpy()) for term, number in terms.items()
        ]
    total = np.zeros((len(distinct), frame.height))
    for row, profile in enumerate(distinct):
        for term in profile:
            total[row] += logs[terms[term]]
    return total


def factor(term: Term) -> pl.Expr:
    """The term's column mapped to 0..1; a missing value is the term's default."""
    value = by_name(term.column).cast(pl.Float64)
    mapped = ((value - term.low) / (term.high - term.low)).clip(0.0, 1.0)
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


def _fixed(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    scaled = logs * UNIT
    np.clip(scaled, -LIMIT, LIMIT, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.int64)
