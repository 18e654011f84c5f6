"""The plan of a flow: candidates, what a customer must meet for each, and how they are scored.

This is all the executor needs to know of a flow; the plan prints itself for the reader.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import Literal

from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.conditions import Condition, describe
from executor.flow.nodes import PHASE_NAMES, PHASES


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer in a channel: indices into the plan's offers and channels."""

    offer: int
    channel: int
    creative_key: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """A customer keeps these candidates only if the condition over customer columns holds."""

    stage: str
    node: str
    label: str
    rule_key: int | None
    condition: Condition
    candidates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that no customer can have, and why; no channel means the offer in all."""

    stage: str
    node: str
    label: str
    offer: str
    channel: str


@dataclass(frozen=True, slots=True)
class Term:
    """Adds weight * ln(clip((x - low) / (high - low), 0, 1)) to a candidate's log score.

    x is the customer's column, true is 1 and false is 0. Where x is NULL or NaN the clipped value
    is `default`. `low` may exceed `high`: then less is better.
    """

    column: str
    low: float
    high: float
    weight: float
    default: float


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """Per candidate: the sum of the logs of all that is constant, and the terms to be added.

    A constant of -inf means a factor is 0: the candidate scores 0 for everybody.
    """

    method: Literal["priority_weighted", "formula"]
    constants: tuple[float, ...]
    terms: tuple[tuple[Term, ...], ...]


@dataclass(frozen=True, slots=True)
class NodeNote:
    """A node in words, for the printed plan."""

    node: str
    type: str
    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Candidates are in tie order: offers by priority (highest first) and key, then channels."""

    offers: tuple[OfferFacts, ...]
    channels: tuple[ChannelFacts, ...]
    candidates: tuple[Candidate, ...]
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    score: ScorePlan
    #: Offers a customer gets at most.
    k: int
    #: Customer columns that steps and terms read.
    columns: frozenset[str]
    nodes: tuple[NodeNote, ...] = ()

    def why_empty(self) -> str:
        """Why there is no candidate at all, for the reader; empty if there is one."""
        if self.candidates:
            return ""
        if not self.channels:
            return "there is no batch channel to use"
        if not self.dropped:
            return "there are no offers"
        reasons = Counter((drop.stage, drop.node, drop.label) for drop in self.dropped)
        return "; ".join(
            f'{stage} "{node}" dropped {count} ({label})'
            for (stage, node, label), count in reasons.items()
        )

    def __str__(self) -> str:
        return "\n".join(_lines(self))


_NAMES_SHOWN = 8


def _lines(plan: Plan) -> Iterator[str]:
    size = f"{_count(len(plan.offers), 'offer')} in {_count(len(plan.channels), 'channel')}"
    yield f"{size}: {_count(len(plan.candidates), 'candidate')}"
    phase = 0
    for note in plan.nodes:
        if PHASES[note.type] != phase:
            phase = PHASES[note.type]
            yield f"Phase {phase}: {PHASE_NAMES[phase]}"
        yield f'  {note.type} "{note.node}": {note.text}'
        inside = [*_dropped_lines(plan, note.node), *_step_lines(plan, note.node), *note.notes]
        if note.type == "score":
            inside.extend(_score_lines(plan))
        yield from (f"    {line}" for line in inside)
    yield f"Reads the customer columns {', '.join(sorted(plan.columns)) or '(none)'}"
    if not plan.candidates:
        yield f"Nothing can be recommended: {plan.why_empty()}"


def _dropped_lines(plan: Plan, node: str) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for drop in plan.dropped:
        if drop.node == node:
            name = f"{drop.offer} in {drop.channel}" if drop.channel else drop.offer
            reasons.setdefault(drop.label, []).append(name)
    for label, names in reasons.items():
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        yield f"drops {shown}{more}: {label}"


def _step_lines(plan: Plan, node: str) -> Iterator[str]:
    for step in plan.steps:
        if step.node == node:
            rule = f'rule "{step.label}": ' if step.rule_key is not None else ""
            offers = {plan.candidates[index].offer for index in step.candidates}
            scope = f"{_count(len(step.candidates), 'candidate')} of {_count(len(offers), 'offer')}"
            yield f"{rule}needs {describe(step.condition)} ({scope})"


def _score_lines(plan: Plan) -> Iterator[str]:
    by_offer: dict[int, list[int]] = {}
    for index, candidate in enumerate(plan.candidates):
        by_offer.setdefault(candidate.offer, []).append(index)
    for offer, indices in by_offer.items():
        texts = [_score_text(plan.score, index) for index in indices]
        name = plan.offers[offer].name
        if len(set(texts)) == 1:
            yield f"{name}: {texts[0]}"
            continue
        for index, text in zip(indices, texts, strict=True):
            yield f"{name} in {plan.channels[plan.candidates[index].channel].name}: {text}"


def _score_text(score: ScorePlan, index: int) -> str:
    constant = exp(score.constants[index])
    if constant == 0:
        return "0 (never recommended)"
    return " x ".join([f"{constant:.5g}", *map(_term_text, score.terms[index])])


def _term_text(term: Term) -> str:
    value = term.column
    if (term.low, term.high) != (0, 1):
        value = f"scale({value} from {term.low:g} to {term.high:g})"
    return f"({value}, missing: {term.default:g})^{term.weight:g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
