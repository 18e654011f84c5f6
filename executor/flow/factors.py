"""Which factors a score is the product of, each to the power of its weight."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from executor.errors import Rejected
from executor.flow.catalog import OfferFacts
from executor.flow.configs import Scoring
from executor.flow.model import FieldSource
from executor.flow.operators import quoted

WEIGHT_TOLERANCE = 1e-6

#: Objective of a ranking profile -> the factor, or the attribute of the offer, that it weighs.
OBJECTIVES: Mapping[str, str] = {
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
#: The objective that looks at how often a customer was contacted lately.
FATIGUE = "fatigue"
FATIGUE_DAYS, FATIGUE_CONTACTS = 30, 10.0


@dataclass(frozen=True, slots=True)
class Factor:
    """factor ** weight; without a source it is the propensity, or what `model` says."""

    name: str
    letter: str
    weight: float
    source: float | FieldSource | None
    #: The key of a model whose output is the whole score.
    model: str | None = None

    @property
    def place(self) -> str:
        """Where its source stands, below the config."""
        return "modelKey" if self.source is None else f"{self.name}.field"


def factors(scoring: Scoring) -> tuple[Factor, ...]:
    """The factors of a method, in the order they are summed."""
    if scoring.method == "priority_weighted":
        return (_percent("priority"), _percent("weight"))
    if scoring.method == "propensity":
        return (replace(_prie(scoring)["propensity"], weight=1.0),)
    return tuple(_prie(scoring).values())


def objective_factors(
    scoring: Scoring, weights: Mapping[str, float], offers: Sequence[OfferFacts]
) -> tuple[Factor, ...]:
    """The objectives, each to the power of its share of all weights, in the table's order.

    Margin and revenue are measured against the largest of the offers. Raises Rejected naming an
    objective that is unknown or that no offer has.
    """
    unknown = [name for name in weights if name not in OBJECTIVES]
    if unknown:
        listed = ", ".join(OBJECTIVES)
        raise Rejected(
            f"the profile weighs {quoted(unknown[0])}, which is unknown; known: {listed}"
        )
    total = sum(weights.values())
    if not total > 0:
        raise Rejected("the profile weighs no objective above 0")
    shares: dict[str, float] = {}
    for name, what in OBJECTIVES.items():
        if weights.get(name):
            shares[what] = shares.get(what, 0.0) + weights[name] / total
    known = _prie(scoring) | {FATIGUE: Factor(FATIGUE, "F", 0.0, None)}
    return tuple(
        replace(known[what], weight=share) if what in known else _of_offers(what, share, offers)
        for what, share in shares.items()
    )


def check_scoring(scoring: Scoring) -> Iterator[tuple[str, str]]:
    """Faults the shape cannot show, with paths below the config."""
    given = scoring.model_fields_set
    for name in ("formula", "strategy_profile_id", "relevance", "impact", "emphasis"):
        if name in given and scoring.method != "formula":
            yield _alias(name), 'is only used with method "formula": remove it or change the method'
    for name in ("model_key", "evidence", "smoothing_weight", "propensity"):
        if name in given and scoring.method == "priority_weighted":
            problem = 'is only used with method "formula" or "propensity"'
            yield _alias(name), f"{problem}: remove it or change the method"
    if scoring.model_key is not None and "propensity" in given:
        yield "propensity", "cannot be combined with modelKey: remove one of the two"
    if scoring.strategy_profile_id is not None and "formula" in given:
        yield "formula", "cannot be combined with strategyProfileId: remove one of the two"
    weights = _weights(scoring)
    total = sum(weights.values())
    if abs(total - 1) > WEIGHT_TOLERANCE:
        shown = ", ".join(f"{name}Weight {weight:g}" for name, weight in weights.items())
        yield "formula", f"{shown} sum to {total:g}; they must sum to 1"


def _alias(name: str) -> str:
    return str(Scoring.model_fields[name].alias)


def _weights(scoring: Scoring) -> dict[str, float]:
    formula = scoring.formula
    return {
        "propensity": formula.propensity_weight,
        "relevance": formula.relevance_weight,
        "impact": formula.impact_weight,
        "emphasis": formula.emphasis_weight,
    }


def _prie(scoring: Scoring) -> dict[str, Factor]:
    given = "propensity" in scoring.model_fields_set
    sources = {
        "propensity": scoring.propensity if given else None,
        "relevance": scoring.relevance,
        "impact": scoring.impact,
        "emphasis": scoring.emphasis,
    }
    return {
        name: Factor(name, name[0].upper(), weight, sources[name])
        for name, weight in _weights(scoring).items()
    }


def _percent(attribute: Literal["priority", "weight"]) -> Factor:
    source = FieldSource.model_validate({"field": f"offer.{attribute}", "max": 100})
    return Factor(attribute, attribute[0].upper(), 1.0, source)


def _of_offers(attribute: str, share: float, offers: Sequence[OfferFacts]) -> Factor:
    values = [value for offer in offers if (value := getattr(offer, attribute)) is not None]
    most = max(values, default=0.0)
    if not most > 0:
        raise Rejected(f"no offer has a {attribute} above 0, which the profile weighs")
    source = FieldSource.model_validate({"field": f"offer.{attribute}", "max": most})
    return Factor(attribute, attribute[0].upper(), share, source)
