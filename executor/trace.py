"""Why one customer got an offer or did not: the plan over their row, step by step. Pure.

Nothing here decides: steps, scores and picks are those of the engine, over the very block of
frozen rows in which the customer was decided about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from executor.decide import Assessed, Decider, assess, choose
from executor.derive import derive
from executor.eligibility import column, every_candidate
from executor.flow.plan import Penalty, Plan, Term
from executor.models.model import BLOCK
from executor.reasons import Fault, Verdicts, faults, holds, verdicts
from executor.scoring import as_score, boosts, factor


@dataclass(frozen=True, slots=True)
class FactorSeen:
    """A factor share ** weight of a score."""

    column: str
    value: Any
    share: float
    weight: float


@dataclass(frozen=True, slots=True)
class PenaltySeen:
    label: str
    rule_key: int
    multiplier: float
    applied: bool


@dataclass(frozen=True, slots=True)
class ScoreSeen:
    """What a candidate is worth: `constant` times all factors and applied penalties."""

    value: float
    constant: float
    factors: tuple[FactorSeen, ...]
    penalties: tuple[PenaltySeen, ...]
    #: Whether the offer stands above all that are not mandatory, whatever it is worth.
    lifted: bool
    #: Scores of what is worth something, in fixed-point units.
    key: int | None


@dataclass(frozen=True, slots=True)
class CandidateSeen:
    """What became of one candidate, by places in the plan."""

    candidate: int
    #: Percent of the customers that are assigned this variant; None if there is no other.
    share: float | None
    #: Whether the customer is assigned it.
    is_drawn: bool
    #: The steps that concern it: those it meets, and those it does not, the first removed it.
    passed: tuple[int, ...]
    failed: tuple[int, ...]
    #: Of those that no step removed.
    score: ScoreSeen | None
    #: Place of its offer among the customer's, by its best candidate, from 1.
    position: int | None
    #: Rank among what the customer is given, if no cap turns anything away.
    rank: int | None

    @property
    def key(self) -> int | None:
        """What it competes with; None if it does not."""
        return self.score.key if self.score else None


@dataclass(frozen=True, slots=True)
class Trace:
    """One customer of a frozen chunk."""

    held_out: bool
    candidates: tuple[CandidateSeen, ...]
    #: By step of the plan, if it does not hold.
    faults: dict[int, list[Fault]]
    #: The customer's row, derived columns included.
    row: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Row:
    """The engine's verdicts about one row."""

    plan: Plan
    frame: pl.DataFrame
    drawn: list[bool]
    kept: list[bool]
    known: Verdicts
    #: By candidate, of those that are worth something.
    keys: dict[int, int]
    positions: dict[int, int]
    ranks: dict[int, int]


def block_of(frame: pl.DataFrame, place: int) -> tuple[pl.DataFrame, int]:
    """The block in which a row of a chunk was decided, and its place in it."""
    start = place // BLOCK * BLOCK
    return frame[start : start + BLOCK], place - start


def trace(decider: Decider, block: pl.DataFrame, place: int) -> Trace:
    """Explain the customer at `place` of a block of frozen rows."""
    plan = decider.plan
    frame = derive(plan, decider.models, block)
    assessed = assess(decider, frame)
    winners = choose(decider, frame, assessed)
    held = decider.held(frame)
    one = frame[place : place + 1]
    every = every_candidate(plan, one)
    conditions = [step.condition for step in plan.steps]
    penalties = [term.condition for term in _terms(plan) if isinstance(term, Penalty)]
    known = verdicts([*conditions, *penalties], one)
    keys = _keys(assessed, place, len(plan.candidates))
    mine = winners.row == place
    row = _Row(
        plan=plan,
        frame=one,
        drawn=[bool(column(every, n)[0]) for n in range(len(plan.candidates))],
        kept=[holds(condition, known) for condition in conditions],
        known=known,
        keys=keys,
        positions=_positions(plan, keys),
        ranks=dict(zip(winners.candidate[mine].tolist(), winners.rank[mine].tolist(), strict=True)),
    )
    return Trace(
        held_out=held is not None and bool(held[place]),
        candidates=_candidates(row),
        faults={
            number: faults(condition, known, one)
            for number, condition in enumerate(conditions)
            if not row.kept[number]
        },
        row=one,
    )


def _keys(assessed: Assessed, place: int, candidates: int) -> dict[int, int]:
    """The fixed-point log scores of what the customer may be given."""
    scores, bits = assessed.scores, assessed.bits[:, place : place + 1]
    return {
        number: int(scores.profiles[scores.profile_of[number], place] + scores.constants[number])
        for number in range(candidates)
        if column(bits, number)[0]
    }


def _positions(plan: Plan, keys: dict[int, int]) -> dict[int, int]:
    """Offer -> its place among the customer's, the best first."""
    order = sorted(keys, key=lambda number: (-keys[number], number))
    offers = dict.fromkeys(plan.candidates[number].offer for number in order)
    return {offer: place for place, offer in enumerate(offers, 1)}


def _candidates(row: _Row) -> tuple[CandidateSeen, ...]:
    plan = row.plan
    concerned: list[list[int]] = [[] for _ in plan.candidates]
    for number, step in enumerate(plan.steps):
        for candidate in step.candidates:
            concerned[candidate].append(number)
    shares = _shares(plan)
    lifts = boosts(plan)
    seen = []
    for number, steps in enumerate(concerned):
        failed = tuple(step for step in steps if not row.kept[step])
        competes = number in row.keys
        is_scored = row.drawn[number] and not failed
        seen.append(
            CandidateSeen(
                candidate=number,
                share=shares.get(number),
                is_drawn=row.drawn[number],
                passed=tuple(step for step in steps if row.kept[step]),
                failed=failed,
                score=_score(row, number, int(lifts[number])) if is_scored else None,
                position=row.positions[plan.candidates[number].offer] if competes else None,
                rank=row.ranks.get(number),
            )
        )
    return tuple(seen)


def _shares(plan: Plan) -> dict[int, float]:
    """Percent of the customers by variant."""
    return {
        candidate: round(100 * weight / sum(split.weights), 4)
        for split in plan.splits
        for candidate, weight in zip(split.candidates, split.weights, strict=True)
        if candidate is not None
    }


def _score(row: _Row, number: int, lift: int) -> ScoreSeen:
    terms = row.plan.score.terms[number]
    constant = float(np.exp(row.plan.score.constants[number]))
    key = row.keys.get(number)
    seen = [_factor(row, term) for term in terms if isinstance(term, Term)]
    penalties = [_penalty(row, term) for term in terms if isinstance(term, Penalty)]
    if key is not None:
        value = float(as_score(np.array([key - lift]))[0])
    else:
        value = _product(constant, seen, penalties)
    return ScoreSeen(
        value=value,
        constant=constant,
        factors=tuple(seen),
        penalties=tuple(penalties),
        lifted=lift != 0,
        key=key,
    )


def _product(
    constant: float, seen: Sequence[FactorSeen], penalties: Sequence[PenaltySeen]
) -> float:
    """What a candidate was worth that did not come to be compared, for the reader."""
    value = constant
    for one in seen:
        value *= one.share**one.weight
    for penalty in penalties:
        value *= penalty.multiplier if penalty.applied else 1.0
    return float(f"{value:.6g}")


def _factor(row: _Row, term: Term) -> FactorSeen:
    share = float(row.frame.select(factor(term).alias("share"))["share"][0])
    return FactorSeen(term.column, row.frame[term.column][0], share, term.weight)


def _penalty(row: _Row, penalty: Penalty) -> PenaltySeen:
    applied = not holds(penalty.condition, row.known)
    return PenaltySeen(penalty.label, penalty.rule_key, penalty.multiplier, applied)


def _terms(plan: Plan) -> list[Term | Penalty]:
    return [term for terms in dict.fromkeys(plan.score.terms) for term in terms]
