"""A plan in words."""

from collections.abc import Iterator
from math import exp

from executor.flow.conditions import Condition, describe
from executor.flow.nodes import PHASE_NAMES
from executor.flow.plan import Penalty, Plan, ScorePlan, Term

_NAMES_SHOWN = 8


def plan_text(plan: Plan) -> str:
    """The plan for the reader: the nodes by phase, what each drops and asks, and the scores."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    size = f"{_count(len(plan.offers), 'offer')} in {_count(len(plan.channels), 'channel')}"
    yield f"{size}: {_count(len(plan.candidates), 'candidate')}"
    phase = 0
    for note in plan.nodes:
        if note.phase != phase:
            phase = note.phase
            yield f"Phase {phase}: {PHASE_NAMES[phase]}"
        yield f'  {note.type} "{note.node}": {note.text}'
        inside = [*_dropped_lines(plan, note.node), *_step_lines(plan, note.node), *note.notes]
        if note.type == "score":
            inside.extend(_score_lines(plan))
        yield from (f"    {line}" for line in inside)
    yield from _input_lines(plan)
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
            yield f"{rule}needs {_condition_text(step.condition)} ({scope})"


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


def _condition_text(condition: Condition | bool) -> str:
    if isinstance(condition, bool):
        return "what nobody has" if condition is False else "nothing"
    return describe(condition)


def _term_text(term: Term | Penalty) -> str:
    if isinstance(term, Penalty):
        return f"{term.multiplier:g} unless {_condition_text(term.condition)}"
    value = term.column
    if (term.low, term.high) != (0, 1):
        value = f"scale({value} from {term.low:g} to {term.high:g})"
    return f"({value}, missing: {term.default:g})^{term.weight:g}"


def _input_lines(plan: Plan) -> Iterator[str]:
    """What the conditions' names that begin with = stand for."""
    for flag in plan.inputs.segments:
        yield f"{flag.name}: the customer is in the segment's view"
    for metric in plan.inputs.metrics:
        yield f"{metric.name}: {metric}"
    for one in plan.derived:
        yield f"{one.name}: score of model {one.model}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
