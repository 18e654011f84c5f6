"""What became of each candidate of a customer: the trace, held against what is stored. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from executor.flow.plan import Plan
from executor.trace import CandidateSeen, Trace


class Outcome(StrEnum):
    """The better ones first: an offer's is that of its best candidate."""

    GOT = "got"
    #: The run has no results (yet), or gave the customer's chunk up.
    WOULD_GET = "wouldGet"
    HELD_OUT = "heldOut"
    CAPPED = "capped"
    #: Its creative could not be rendered for the customer.
    UNDELIVERED = "undelivered"
    #: The offer, through another candidate.
    OTHER_CANDIDATE = "otherCandidate"
    NOT_IN_TOP = "notInTop"
    WORTHLESS = "worthless"
    REMOVED = "removed"
    OTHER_VARIANT = "otherVariant"
    #: For every customer, when the flow was compiled.
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Fate:
    outcome: Outcome
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the run has stored of the customer, by candidate."""

    #: What they got.
    ranks: Mapping[int, int]
    #: What could not be delivered, and why.
    errors: Mapping[int, str]
    #: Whether the run has caps, and whether it renders creatives.
    has_caps: bool
    is_personal: bool


def fates(plan: Plan, seen: Trace, stored: Stored | None) -> list[Fate]:
    """One per candidate; `stored` is None without results."""
    ranks = {one.candidate: one.rank for one in seen.candidates if one.rank is not None}
    is_final = stored is not None and not seen.held_out
    given: Mapping[int, int] = ranks
    if stored is None or not is_final:
        won = Outcome.HELD_OUT if seen.held_out else Outcome.WOULD_GET
        lost, caps = frozenset[int](), False
    else:
        won, given, caps = Outcome.GOT, stored.ranks, stored.has_caps
        lost = _undelivered(stored, ranks)
    taken = given.keys() | lost
    found = []
    for one in seen.candidates:
        if one.candidate in given:
            found.append(Fate(won, given[one.candidate]))
        elif one.candidate in lost:
            found.append(Fate(Outcome.UNDELIVERED))
        else:
            found.append(Fate(_why_not(plan, seen, one, taken, caps=caps)))
    return found


def _undelivered(stored: Stored, ranks: Mapping[int, int]) -> frozenset[int]:
    """Of the errors of a chunk only the first are stored; without caps, what is missing is one."""
    if stored.has_caps or not stored.is_personal:
        return frozenset(stored.errors)
    return frozenset(ranks.keys() - stored.ranks.keys())


def _why_not(
    plan: Plan, seen: Trace, one: CandidateSeen, given: Collection[int], *, caps: bool
) -> Outcome:
    if not one.is_drawn:
        return Outcome.OTHER_VARIANT
    if one.failed:
        return Outcome.REMOVED
    if one.key is None:
        return Outcome.WORTHLESS
    if caps and _was_turned_away(plan, seen, one, given):
        return Outcome.CAPPED
    offers = {plan.candidates[other].offer for other in given}
    if plan.candidates[one.candidate].offer in offers:
        return Outcome.OTHER_CANDIDATE
    return Outcome.NOT_IN_TOP


def _was_turned_away(plan: Plan, seen: Trace, one: CandidateSeen, given: Collection[int]) -> bool:
    """Whether only a full cap can be why a customer was given others, or nothing, instead."""
    if not plan.ranking.is_plain:
        return one.rank is not None
    offer = plan.candidates[one.candidate].offer
    same = [other for other in given if plan.candidates[other].offer == offer]
    if not same and len(given) < plan.k:
        return True
    mine = _place(one)
    return any(mine < _place(seen.candidates[other]) for other in same or given)


def _place(one: CandidateSeen) -> tuple[int, int]:
    """The better, the less."""
    return -(one.key if one.key is not None else 0), one.candidate
