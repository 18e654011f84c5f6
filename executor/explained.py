"""A customer's explanation as it is shown: JSON, with everything in words. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

from executor.fates import Fate, Outcome
from executor.flow.catalog import Catalog, OfferFacts
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.operators import OPERATORS, Op, Takes, quoted
from executor.flow.plan import Dropped, Plan, Step
from executor.nearest import Change
from executor.reasons import Fault
from executor.trace import CandidateSeen, ScoreSeen, Trace
from executor.wording import Words, json_value, operand_words
from kaireon import ids

_ORDER = {outcome: place for place, outcome in enumerate(Outcome)}
_NEEDS = {
    Op.EQ: "be",
    Op.NEQ: "be other than",
    Op.GT: "be more than",
    Op.GTE: "be at least",
    Op.LT: "be less than",
    Op.LTE: "be at most",
    Op.IN: "be one of",
    Op.CONTAINS: "contain",
    Op.STARTS_WITH: "start with",
    Op.IS_NULL: "be empty",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that an explanation is told of."""

    plan: Plan
    catalog: Catalog
    now: datetime
    seen: Trace
    fates: Sequence[Fate]
    changes: Mapping[int, Change]
    #: Lines of the run's report about its caps.
    caps: Sequence[Mapping[str, Any]] = ()
    #: Candidate -> why it could not be delivered, as far as that is stored.
    errors: Mapping[int, str] = field(default_factory=dict)
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", Words.of(self.plan, self.catalog))

    def shown(self) -> dict[str, Any]:
        """heldOut, summary, and the offers in the order of the catalog's priorities."""
        offers = [self._offer(number) for number in range(len(self.plan.offers))]
        offers += self._dropped_wholly()
        counts = Counter(offer["outcome"] for offer in offers)
        return {
            "heldOut": self.seen.held_out,
            "summary": {
                "totalOffers": len(offers),
                **{str(outcome): counts[str(outcome)] for outcome in Outcome},
            },
            "offers": offers,
        }

    def _offer(self, number: int) -> dict[str, Any]:
        facts = self.plan.offers[number]
        mine = [
            one
            for one in self.seen.candidates
            if self.plan.candidates[one.candidate].offer == number
        ]
        best = min(mine, key=lambda one: _ORDER[self.fates[one.candidate].outcome])
        candidates = [self._candidate(one) for one in mine]
        shown = candidates[mine.index(best)]
        return {
            "offerId": ids.encode("Offer", facts.key),
            "offerName": facts.name,
            "mandatory": facts.mandatory,
            "outcome": shown["outcome"],
            "primaryReason": shown["reason"],
            "candidates": candidates,
            "dropped": [_dropped(one) for one in self.plan.dropped if one.offer == facts.name],
        }

    def _dropped_wholly(self) -> Iterator[dict[str, Any]]:
        left = {offer.name for offer in self.plan.offers}
        known: dict[str, list[OfferFacts]] = {}
        for offer in self.catalog.offers:
            known.setdefault(offer.name, []).append(offer)
        for name in dict.fromkeys(one.offer for one in self.plan.dropped if one.offer not in left):
            drops = [_dropped(one) for one in self.plan.dropped if one.offer == name]
            same = known.get(name, [])
            is_known = len(same) == 1
            yield {
                "offerId": ids.encode("Offer", same[0].key) if is_known else None,
                "offerName": name,
                "mandatory": is_known and same[0].mandatory,
                "outcome": str(Outcome.DROPPED),
                "primaryReason": f"for every customer: {drops[0]['reason']}",
                "candidates": [],
                "dropped": drops,
            }

    def _candidate(self, one: CandidateSeen) -> dict[str, Any]:
        place, fate = self.plan.candidates[one.candidate], self.fates[one.candidate]
        channel = self.plan.channels[place.channel]
        change = self.changes.get(one.candidate)
        failed = [self._step(number) for number in one.failed]
        full = self._full_caps(one.candidate) if fate.outcome is Outcome.CAPPED else []
        return {
            "channelId": ids.encode("Channel", channel.key),
            "channel": channel.name,
            "creativeId": _id("Creative", place.creative_key),
            "placementId": _id("Placement", place.placement_key),
            "outcome": str(fate.outcome),
            "reason": self._reason(one, fate, failed, full),
            "rank": fate.rank,
            "position": one.position,
            "variantPercent": one.share,
            "variantDrawn": None if one.share is None else one.is_drawn,
            "removedBy": failed[0] if failed else None,
            "failed": failed,
            "passed": [self._named(self.plan.steps[number]) for number in one.passed],
            "score": self._score(one.score) if one.score else None,
            "caps": full,
            "nearestChange": self._change(change) if change else None,
        }

    def _named(self, step: Step) -> dict[str, Any]:
        return {
            "stage": step.stage,
            "node": step.node,
            "label": step.label,
            "ruleId": _id("QualificationRule", step.rule_key),
            "policyId": _id("ContactPolicy", step.policy_key),
        }

    def _step(self, number: int) -> dict[str, Any]:
        checks = [self._check(fault) for fault in self.seen.faults[number]]
        return {**self._named(self.plan.steps[number]), "checks": checks}

    def _check(self, fault: Fault) -> dict[str, Any]:
        needs = self.words.leaf(fault.leaf)
        return {
            "field": fault.leaf.field,
            "description": self.words.column(fault.leaf.field),
            "operator": str(fault.leaf.operator),
            "threshold": json_value(fault.leaf.operand),
            "negated": not fault.wanted,
            "needs": needs if fault.wanted else f"not ({needs})",
            "value": json_value(fault.value),
        }

    def _score(self, score: ScoreSeen) -> dict[str, Any]:
        return {
            "value": score.value,
            "constant": score.constant,
            "factors": [
                {
                    "field": one.column,
                    "description": self.words.column(one.column),
                    "value": json_value(one.value),
                    "share": one.share,
                    "weight": one.weight,
                    "multiplier": one.share**one.weight,
                    "contribution": one.weight * log(one.share) if one.share > 0 else None,
                }
                for one in score.factors
            ],
            "penalties": [
                {
                    "ruleId": ids.encode("QualificationRule", one.rule_key),
                    "rule": one.label,
                    "multiplier": one.multiplier,
                    "applied": one.applied,
                }
                for one in score.penalties
            ],
            "floor": self.plan.score.floor or None,
            "mandatoryLift": score.lifted,
        }

    def _full_caps(self, candidate: int) -> list[dict[str, Any]]:
        """The caps that had no room left for such a candidate."""
        place = self.plan.candidates[candidate]
        offer = ids.encode("Offer", self.plan.offers[place.offer].key)
        channel = ids.encode("Channel", self.plan.channels[place.channel].key)
        return [
            {"cap": line["cap"], "limit": line["limit"], "used": line["used"]}
            for line in self.caps
            if line["used"] >= line["limit"]
            and line["offerId"] in (None, offer)
            and line["channelId"] in (None, channel)
        ]

    def _reason(
        self,
        one: CandidateSeen,
        fate: Fate,
        failed: Sequence[Mapping[str, Any]],
        full: Sequence[Mapping[str, Any]],
    ) -> str:
        match fate.outcome:
            case Outcome.GOT:
                return f"given, at rank {fate.rank}"
            case Outcome.WOULD_GET:
                return f"would be given at rank {fate.rank}, if no cap turns it away"
            case Outcome.HELD_OUT:
                return f"held out; would have been given at rank {fate.rank}"
            case Outcome.CAPPED:
                caps = " and ".join(f"{cap['cap']} ({cap['limit']})" for cap in full)
                return f"turned away by a full cap: {caps}" if caps else "turned away by a full cap"
            case Outcome.UNDELIVERED:
                why = self.errors.get(one.candidate)
                return "could not be delivered" + (f": {why}" if why else "")
            case Outcome.OTHER_CANDIDATE:
                return "the offer is given through another channel or creative, which is better"
            case Outcome.NOT_IN_TOP:
                return self._why_not_in_top(one)
            case Outcome.WORTHLESS:
                floor = self.plan.score.floor
                is_low = one.score is not None and 0 < one.score.value < floor
                return f"its score is below {floor:g}" if is_low else "its score is 0"
            case Outcome.OTHER_VARIANT:
                return "the customer is assigned another creative of the offer"
        return _told(failed[0])

    def _why_not_in_top(self, one: CandidateSeen) -> str:
        ranking = self.plan.ranking
        text = f"number {one.position} of the customer's offers by score"
        if ranking.is_plain:
            return f"{text}; the flow gives the best {ranking.k}"
        limits = [f"at most {ranking.k}"]
        if ranking.per_category is not None:
            limits.append(f"{ranking.per_category} of a category")
        if ranking.limits:
            limits.append("what contact policies leave room for")
        if ranking.slots:
            limits.append("and only as many as a placement has slots")
        return f"{text}; not among those picked by {ranking.method}, {', '.join(limits)}"

    def _change(self, change: Change) -> dict[str, Any]:
        value, to = json_value(change.value), json_value(change.to)
        difference = None
        if _is_number(value) and _is_number(to):
            difference = to - value
        return {
            "field": change.column,
            "description": self.words.column(change.column),
            "value": value,
            "to": to,
            "difference": difference,
            "text": self._change_text(change),
        }

    def _change_text(self, change: Change) -> str:
        about = self.words.column(change.column)
        source = self._source(change.column)
        if isinstance(source, SegmentFlag):
            return f"if the customer {about if change.to else 'were not ' + about[3:]}"
        if isinstance(source, Metric):
            if change.to is None:
                return f"if there were none of the {about}"
            if source.aggregate == "last" and change.operator in (Op.LT, Op.LTE):
                return f"with a {about} of at most {float(change.to):.12g} seconds"
            if source.aggregate == "last":
                at = self.now + timedelta(seconds=float(change.to) - float(change.value))
                return f"from {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC on"
            number = int(change.to) - int(change.value)
            return f"with {abs(number)} {'more' if number > 0 else 'fewer'} of the {about}"
        text = f"{about} would have to {_NEEDS[change.operator]}"
        if OPERATORS[change.operator].takes is Takes.NOTHING:
            return text
        text = f"{text} {operand_words(change.operand)}"
        if _is_number(change.value) and _is_number(change.to):
            number = change.to - change.value
            return f"{text} ({abs(number):.12g} {'more' if number > 0 else 'less'})"
        return text

    def _source(self, name: str) -> Metric | SegmentFlag | None:
        inputs = self.plan.inputs
        every: list[Metric | SegmentFlag] = [*inputs.metrics, *inputs.segments]
        return next((one for one in every if one.name == name), None)


def _told(step: Mapping[str, Any]) -> str:
    """Which step removed a candidate, and the value that it saw."""
    kind = "policy" if step["policyId"] else "rule" if step["ruleId"] else step["stage"]
    text = f"removed by the {kind} {quoted(step['label'])} of {quoted(step['node'])}"
    seen = [
        f"needs {check['needs']}, and the value is {quoted(check['value'])}"
        for check in step["checks"]
    ]
    return f"{text}: {'; '.join(seen)}" if seen else text


def _dropped(one: Dropped) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "node": one.node,
        "reason": one.label,
        "channel": one.channel or None,
    }


def _id(model: str, key: int | None) -> str | None:
    return None if key is None else ids.encode(model, key)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
