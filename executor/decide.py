"""One chunk of customers through the plan: who is eligible, what it is worth, the best k."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from executor.allocation import Winners
from executor.eligibility import Bits, Removed, any_left, eligible
from executor.flow.plan import Plan
from executor.ranking import rank
from executor.scoring import Scores, score


@dataclass(frozen=True, slots=True)
class Assessed:
    """A chunk after scoring: what is possible (`bits`), what it is worth, what was removed."""

    bits: Bits
    scores: Scores
    removed: tuple[Removed, ...]  # one per step of the plan, then one for worthless candidates
    eligible: int


def assess(plan: Plan, frame: pl.DataFrame) -> Assessed:
    bits, removed = eligible(plan, frame)
    eligible_count = int(np.count_nonzero(any_left(bits)))
    scores, worthless = score(plan, frame, bits)
    return Assessed(bits, scores, (*removed, worthless), eligible_count)


def decide(plan: Plan, frame: pl.DataFrame) -> tuple[Winners, dict[str, Any]]:
    """The uncapped winners of a chunk and its counts, as the chunk row keeps them."""
    assessed = assess(plan, frame)
    winners = rank(plan, assessed.scores, assessed.bits)
    counts = {
        "removed": [[step.customers, step.candidates] for step in assessed.removed],
        "eligible": assessed.eligible,
    }
    return winners, counts | won(plan, winners)


def won(plan: Plan, winners: Winners, before: int | None = None) -> dict[str, Any]:
    """Counts of the winners: customers, recommendations, and recommendations per candidate.

    `before` is how many customers were served before the caps, if these are the winners after.
    """
    served = int(np.count_nonzero(winners.rank == 1))
    return {
        "served": served,
        "capped": 0 if before is None else before - served,
        "candidates": np.bincount(winners.candidate, minlength=len(plan.candidates)).tolist(),
    }


def total(counts: list[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """Add up the counts of all chunks."""
    sums: Counter[str] = Counter()
    removed = np.zeros((len(plan.steps) + 1, 2), dtype=np.int64)
    candidates = np.zeros(len(plan.candidates), dtype=np.int64)
    for chunk in counts:
        sums["eligible"] += chunk["eligible"]
        sums["served"] += chunk["served"]
        sums["capped"] += chunk["capped"]
        removed += np.array(chunk["removed"], dtype=np.int64)
        candidates += np.array(chunk["candidates"], dtype=np.int64)
    return {
        "eligible": sums["eligible"],
        "served": sums["served"],
        "capped": sums["capped"],
        "removed": removed.tolist(),
        "candidates": candidates.tolist(),
    }
