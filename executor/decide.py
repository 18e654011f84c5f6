"""One chunk of customers through the plan: who is eligible, what it is worth, the best k."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor import hashing
from executor.allocation import Winners
from executor.derive import derive
from executor.eligibility import Bits, Removed, any_left, eligible
from executor.flow.inputs import HASH
from executor.flow.plan import Plan
from executor.models.model import Model
from executor.ranking import rank
from executor.scoring import Scores, score
from executor.selecting import Chance, rooms, select


@dataclass(frozen=True, slots=True)
class Assessed:
    """A chunk after scoring: what is possible (`bits`), what it is worth, what was removed."""

    bits: Bits
    scores: Scores
    removed: tuple[Removed, ...]  # one per step of the plan, then one for worthless candidates
    eligible: int


@dataclass(frozen=True, slots=True)
class Decider:
    """Everything that decides about a frozen customer; the same for all chunks of a run."""

    plan: Plan
    models: Mapping[str, Model] = field(default_factory=dict)
    #: The campaign's, for its holdout.
    seed: int = 0
    #: Seeds the draws of weighted_random; another in every run.
    draw: int = 0
    #: Percent of the customers held out, of the tenant and of the campaign.
    holdout: tuple[float, float] = (0.0, 0.0)

    @property
    def is_hashed(self) -> bool:
        """Whether deciding needs h(key)."""
        return self.plan.is_hashed or any(self.holdout)

    def held(self, frame: pl.DataFrame) -> NDArray[np.bool_] | None:
        """Which customers are held out; None if nobody can be."""
        if not any(self.holdout):
            return None
        h = frame[HASH].to_numpy()
        of_tenant, of_campaign = self.holdout
        held = hashing.is_held(h, of_tenant, hashing.HOLDOUT_OF_TENANT)
        return held | hashing.is_held(h, of_campaign, hashing.HOLDOUT_OF_CAMPAIGN, self.seed)


def assess(decider: Decider, frame: pl.DataFrame) -> Assessed:
    plan = decider.plan
    frame = derive(plan, decider.models, frame)
    bits, removed = eligible(plan, frame)
    eligible_count = int(np.count_nonzero(any_left(bits)))
    scores, worthless = score(plan, frame, bits)
    return Assessed(bits, scores, (*removed, worthless), eligible_count)


def choose(decider: Decider, frame: pl.DataFrame, assessed: Assessed) -> Winners:
    """The uncapped winners of all customers, held out or not."""
    plan = decider.plan
    if plan.ranking.is_plain:
        return rank(plan, assessed.scores, assessed.bits)
    chance = Chance(frame[HASH].to_numpy(), decider.draw) if plan.is_hashed else None
    return select(plan, assessed.scores, assessed.bits, rooms(plan, frame), chance)


def decide(decider: Decider, frame: pl.DataFrame) -> tuple[Winners, dict[str, Any]]:
    """The uncapped winners of a chunk and its counts, as the chunk row keeps them."""
    assessed = assess(decider, frame)
    winners = choose(decider, frame, assessed)
    held = decider.held(frame)
    held_out = 0
    if held is not None:
        held_out = int(np.count_nonzero(held[winners.row] & (winners.rank == 1)))
        winners = taken(winners, ~held[winners.row])
    counts = {
        "removed": [[step.customers, step.candidates] for step in assessed.removed],
        "eligible": assessed.eligible,
        "held": held_out,
    }
    return winners, counts | won(decider.plan, winners)


def counterfactual(decider: Decider, frame: pl.DataFrame) -> tuple[pl.DataFrame, Winners] | None:
    """The held out customers, and what they would have got if no cap had turned them away.

    None if nobody can be held out. Models see all rows of the chunk, as they did before.
    """
    held = decider.held(frame)
    if held is None:
        return None
    theirs = derive(decider.plan, decider.models, frame).filter(pl.Series(held))
    return theirs, choose(decider, theirs, assess(decider, theirs))


def taken(winners: Winners, which: NDArray[np.bool_]) -> Winners:
    """Some of the winners."""
    return Winners(
        winners.row[which], winners.rank[which], winners.candidate[which], winners.key[which]
    )


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
        sums["held"] += chunk.get("held", 0)
        sums["served"] += chunk["served"]
        sums["capped"] += chunk["capped"]
        removed += np.array(chunk["removed"], dtype=np.int64)
        candidates += np.array(chunk["candidates"], dtype=np.int64)
    return {
        "eligible": sums["eligible"],
        "held": sums["held"],
        "served": sums["served"],
        "capped": sums["capped"],
        "removed": removed.tolist(),
        "candidates": candidates.tolist(),
    }
