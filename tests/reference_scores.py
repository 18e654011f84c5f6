"""Scores for one customer and one candidate at a time; see reference_engine."""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.flow.catalog import Catalog, ModelFacts
from kaireon import ids
from tests.reference_conditions import Candidate, attribute, kind_of, list_test, value_test
from tests.reference_rules import Clock, Person, events

#: Objective of a ranking profile -> what it weighs, in the order of the documentation.
OBJECTIVES = {
    "propensity": "propensity",
    "conversion": "propensity",
    "relevance": "relevance",
    "recency": "relevance",
    "engagement": "relevance",
    "impact": "impact",
    "margin": "margin",
    "revenue": "revenue_value",
    "emphasis": "emphasis",
    "fairness": "emphasis",
    "fatigue": "fatigue",
}
PRIE = {"propensity": 0.4, "relevance": 0.2, "impact": 0.3, "emphasis": 0.1}

#: The least and the greatest value of a column.
ENDS: Mapping[str, tuple[float, float]] = {
    "boolean": (0.0, 1.0),
    "integer": (-(2.0**63), 2.0**63),
    "number": (-math.inf, math.inf),
}


class Refused(Exception):
    """The flow cannot run with these offers."""


def sigmoid(x: float) -> float:
    if math.isnan(x):
        return x
    small = math.exp(-abs(x))
    return (1.0 if x >= 0 else small) / (1.0 + small)


def scaled(value: float, low: float, high: float) -> float:
    """Where the value lies between low and high, cut off at both ends."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def is_number(value: Any) -> bool:
    return value is not None and not math.isnan(value)


@dataclass(frozen=True)
class Factor:
    """A factor to the power of its weight: the same for everybody, a column's or a model's."""

    weight: float
    constant: float | None = None
    column: str = ""
    low: float = 0.0
    high: float = 1.0
    default: float = 0.0
    model: str = ""
    #: How much of a propensity the outcomes already say, and what part the model has.
    known: float = 0.0
    part: float = 1.0
    is_whole_score: bool = False
    #: Falls from 1 to 0 with the contacts of the last 30 days.
    is_fatigue: bool = False


def model_score(facts: ModelFacts, candidate: Candidate, person: Person) -> float | None:
    """What the model says of the candidate; None if it cannot tell."""
    if facts.model_type == "scorecard":
        return scorecard(facts, candidate, person)
    config, weights = facts.config.get("missing", {}), facts.model_state["weights"]
    total = float(facts.model_state["bias"])
    for field in sorted({name.partition("=")[0] for name in weights}):
        value = model_input(field, candidate, person)
        if field in weights:
            number = math.nan if value is None else float(value)
            if math.isnan(number) and field in config:
                number = float(config[field])
            total += weights[field] * number
        else:
            value = config.get(field) if value is None else value
            word = str(value).lower() if isinstance(value, bool) else str(value)
            total += 0.0 if value is None else weights.get(f"{field}={word}", 0.0)
    return None if math.isnan(total) else sigmoid(total)


def scorecard(facts: ModelFacts, candidate: Candidate, person: Person) -> float:
    config = facts.config
    raw = float(config.get("baseScore", 50))
    for rule in config["rules"]:
        value = model_input(rule["field"], candidate, person)
        if value is None:
            continue
        if isinstance(value, list | tuple):
            holds = list_test(rule["operator"], rule["value"])
        else:
            holds = value_test(rule["operator"], kind_of(value), rule["value"])
        raw += rule["points"] if holds(value) else 0
    low, high = config.get("minScore", 0), config.get("maxScore", 100)
    if config.get("normalization") == "linear":
        return scaled(raw, low, high)
    return sigmoid((raw - (high + low) / 2) / (high - low) * 6)


def model_input(field: str, candidate: Candidate, person: Person) -> Any:
    if field.startswith(("offer.", "channel.")):
        return attribute(field, candidate.offer, candidate.channel)
    assert person.columns is not None
    return person.columns[field.removeprefix("customer.")]


class Scores:
    """How the candidates of a flow are scored."""

    def __init__(
        self,
        catalog: Catalog,
        kinds: Mapping[str, str],
        config: Mapping[str, Any],
        clock: Clock,
        anew: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`anew` has the configs of the nodes that score anew, in their order."""
        self.catalog, self.kinds, self.config = catalog, kinds, config
        self.models = {model.name: model for model in catalog.models}
        self.profiles = {
            ids.encode("RankingProfile", profile.key): profile.weights
            for profile in catalog.profiles
        }
        self.floor = float(config.get("scoreFloor", 0))
        self.anew, self.clock = anew[-1] if anew else None, clock

    def choice(self, candidate: Candidate) -> tuple[Mapping[str, Any], Mapping[str, float] | None]:
        """The config that scores the candidate, and the weights of a profile."""
        own: Mapping[str, Any] = self.config
        for override in self.config.get("channelOverrides", ()):
            if override["channelId"] == ids.encode("Channel", candidate.channel.key):
                own = override
        profile = own.get("strategyProfileId")
        if own.get("method") == "formula":
            for strategy in reversed(self.config.get("strategyOverrides", ())):
                found = {
                    "category": candidate.offer.category_name,
                    "productType": candidate.offer.product_type,
                    "channel": candidate.channel.name,
                }
                if found[strategy["scope"]] == strategy["value"]:
                    profile = strategy["profileId"]
        return own, None if profile is None else self.profiles[profile]

    def factors(self, candidate: Candidate, among: Sequence[Candidate]) -> list[Factor]:
        """Raises Refused for what an offer or all offers lack."""
        own, weights = self.choice(candidate)
        if self.anew is not None:
            if "modelKey" in self.anew:
                return [Factor(1.0, model=self.anew["modelKey"], is_whole_score=True)]
            weights = self.anew.get("weights") or self.profiles[self.anew["profileId"]]
        if weights is not None:
            return list(self.objectives(own, weights, candidate, among))
        method = own.get("method", "priority_weighted")
        if method == "priority_weighted":
            offer = candidate.offer
            shares = (scaled(offer.priority, 0, 100), scaled(offer.weight, 0, 100))
            return [Factor(1.0, share) for share in shares]
        if method == "propensity":
            return [self.factor("propensity", 1.0, own, candidate)]
        given = own.get("formula", {})
        exponents = {name: given.get(f"{name}Weight", weight) for name, weight in PRIE.items()}
        return [
            self.factor(name, weight, own, candidate)
            for name, weight in exponents.items()
            if weight
        ]

    def objectives(
        self,
        own: Mapping[str, Any],
        weights: Mapping[str, float],
        candidate: Candidate,
        among: Sequence[Candidate],
    ) -> Iterator[Factor]:
        total, shares = sum(weights.values()), dict[str, float]()
        for objective, what in OBJECTIVES.items():
            if weights.get(objective):
                shares[what] = shares.get(what, 0.0) + weights[objective] / total
        for what, share in shares.items():
            if what == "fatigue":
                yield Factor(share, is_fatigue=True)
                continue
            if what in PRIE:
                yield self.factor(what, share, own, candidate)
                continue
            values = [getattr(one.offer, what) for one in among]
            most = max((value for value in values if value is not None), default=0.0)
            value = getattr(candidate.offer, what)
            if value is None or not most > 0:
                raise Refused(f"{candidate.offer.name} has no {what}, or nobody has")
            yield Factor(share, scaled(value, 0, most))

    def factor(
        self, name: str, weight: float, own: Mapping[str, Any], candidate: Candidate
    ) -> Factor:
        source = own.get(name)
        if source is None and name == "propensity":
            return self.propensity(weight, own, candidate)
        if source is None:
            field = {"impact": "offer.business_value", "emphasis": "offer.priority"}.get(name)
            source = 1.0 if field is None else {"field": field, "max": 100}
        if not isinstance(source, Mapping):
            return Factor(weight, float(source))
        low, high = source.get("min", 0.0), source.get("max", 1.0)
        default = source.get("default", 0.5 if name == "propensity" else None)
        if source["field"].startswith("offer."):
            value = attribute(source["field"], candidate.offer, candidate.channel)
            if value is None and default is None:
                raise Refused(f"{candidate.offer.name} has no {source['field']}")
            return Factor(weight, default if value is None else scaled(float(value), low, high))
        column = self.column(source["field"].removeprefix("customer."), candidate)
        if column is None:
            if "default" not in source:
                raise Refused(f"{candidate.offer.name} has no column for {source['field']}")
            return Factor(weight, float(source["default"]))
        return Factor(weight, column=column, low=low, high=high, default=default)

    def column(self, template: str, candidate: Candidate) -> str | None:
        """The column of the candidate, as it is written or as an import names columns."""

        def filled(plain: bool) -> str | None:
            name = template
            for inside in re.findall(r"\{([^{}]*)\}", template):
                value = attribute(inside, candidate.offer, candidate.channel)
                if value is None or isinstance(value, bool | float):
                    return None
                text = str(value)
                if plain:
                    folded = unicodedata.normalize("NFKD", text.casefold())
                    bare = "".join(one for one in folded if not unicodedata.combining(one))
                    text = re.sub("[^a-z0-9]+", "_", bare).strip("_")
                name = name.replace(f"{{{inside}}}", text, 1)
            return name

        return next((one for one in (filled(False), filled(True)) if one in self.kinds), None)

    def propensity(self, weight: float, own: Mapping[str, Any], candidate: Candidate) -> Factor:
        """By the outcomes of the offer, its category or all offers, else the model, else 0.5."""
        known, part = 0.0, 1.0
        if own.get("evidence", "first") == "first":
            known, part = self.by_outcomes(own.get("smoothingWeight", 10.0), candidate)
        model = own.get("modelKey")
        if part == 0 or model is None:
            return Factor(weight, known + part * 0.5)
        default = known + part * 0.5
        return Factor(weight, model=model, known=known, part=part, default=default)

    def by_outcomes(self, smoothing: float, candidate: Candidate) -> tuple[float, float]:
        evidence = self.catalog.evidence
        of_offer = {key: (total, good) for key, total, good in evidence.offers}
        of_category = {key: (total, good) for key, total, good in evidence.categories}
        total, good = of_offer.get(candidate.offer.key, (0, 0))
        if total >= 50:
            return good / total, 0.0
        prior = None
        if evidence.total >= 10:
            prior = evidence.positive / evidence.total
        chances, positive = of_category.get(candidate.offer.category_key or 0, (0, 0))
        if chances >= 20:
            prior = positive / chances
        if total == 0:
            return (0.0, 1.0) if prior is None else (prior, 0.0)
        share = smoothing / (total + smoothing)
        own = good / (total + smoothing)
        return (own, share) if prior is None else (own + share * prior, 0.0)

    def value(self, factor: Factor, candidate: Candidate, person: Person) -> float | None:
        """The factor's value; None if it depends on the customer and there is none."""
        if factor.constant is not None:
            return factor.constant
        if person.columns is None:
            return None
        if factor.is_fatigue:
            since = self.clock.days(30)
            return scaled(len(events(person, self.clock, "contacts", since)), 10.0, 0.0)
        if factor.model:
            said = self.said(factor.model, candidate, person)
            if said is None:
                return factor.default
            value = factor.known + factor.part * said
            return max(0.0, value) if factor.is_whole_score else scaled(value, 0.0, 1.0)
        value = person.columns[factor.column]
        if not is_number(value):
            return factor.default
        share = (float(value) - factor.low) / (factor.high - factor.low)
        return factor.default if math.isnan(share) else min(1.0, max(0.0, share))

    def said(self, model: str, candidate: Candidate, person: Person) -> float | None:
        key = model, candidate.offer.key, candidate.channel.key
        return person.once(key, lambda: model_score(self.models[model], candidate, person))

    def rule_propensity(
        self, model: str | None, candidate: Candidate, person: Person
    ) -> float | list[float] | None:
        """The propensity that a rule looks at; None where a model is asked and cannot tell.

        Of nobody in particular: the ends of what a column can give, nothing if a model is asked.
        """
        if model is not None:
            return [] if person.columns is None else self.said(model, candidate, person)
        own, _ = self.choice(candidate)
        factor = self.factor("propensity", 1.0, own, candidate)
        if factor.constant is not None:
            return factor.constant
        if person.columns is None:
            if factor.model:
                return []
            ends = ENDS[self.kinds[factor.column]]
            return [factor.default, *(scaled(end, factor.low, factor.high) for end in ends)]
        if factor.model:
            said = self.said(factor.model, candidate, person)
            return None if said is None else factor.known + factor.part * said
        return self.value(factor, candidate, person)
