"""Scores in log space: all that is constant is added up here, once per candidate."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from executor.errors import Rejected
from executor.flow.nodes import FieldSource, FormulaWeights, ScoreConfig
from executor.flow.plan import ScorePlan, Term
from executor.flow.sources import Pair, check_source, missing_share, resolve_source
from executor.flow.types import Kind

WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Factor:
    """One of the four factors of the formula: factor ** weight."""

    name: str
    letter: str
    weight: float
    source: float | FieldSource


def factors(config: ScoreConfig) -> tuple[Factor, ...]:
    """The factors in the order they are summed."""
    weights: FormulaWeights = config.formula
    return (
        Factor("propensity", "P", weights.propensity_weight, config.propensity),
        Factor("relevance", "R", weights.relevance_weight, config.relevance),
        Factor("impact", "I", weights.impact_weight, config.impact),
        Factor("emphasis", "E", weights.emphasis_weight, config.emphasis),
    )


def check_score(config: ScoreConfig) -> Iterator[tuple[str, str]]:
    """Faults the shape cannot show, with paths below the config."""
    if config.method != "formula":
        for name in ("formula", *(factor.name for factor in factors(config))):
            if name in config.model_fields_set:
                yield name, 'is only used with method "formula": remove it or change the method'
    total = sum(factor.weight for factor in factors(config))
    if abs(total - 1) > WEIGHT_TOLERANCE:
        yield "formula", f"{_weights_text(config)} sum to {total:g}; they must sum to 1"
    for factor in factors(config):
        if isinstance(factor.source, FieldSource):
            try:
                check_source(factor.source, factor.name)
            except Rejected as error:
                yield from ((f"{factor.name}.{place}", text) for place, text in error.errors)


def compile_score(
    config: ScoreConfig, path: str, pairs: Sequence[Pair], kinds: Mapping[str, Kind]
) -> ScorePlan:
    """Score the candidates. Raises Rejected with every source that cannot be resolved."""
    if config.method == "priority_weighted":
        constants = tuple(
            _log(offer.priority / 100) + _log(offer.weight / 100) for offer, _ in pairs
        )
        return ScorePlan(config.method, constants, ((),) * len(pairs))
    scorer = _Scorer(factors(config), path, kinds)
    scored = [scorer.score(pair) for pair in pairs]
    if scorer.errors:
        raise Rejected.of(scorer.errors)
    return ScorePlan(
        config.method,
        tuple(constant for constant, _ in scored),
        tuple(terms for _, terms in scored),
    )


def describe_score(config: ScoreConfig) -> tuple[str, tuple[str, ...]]:
    """The method in one line, and one line per factor."""
    if config.method == "priority_weighted":
        return "priority_weighted, (priority / 100) x (weight / 100)", ()
    used = [factor for factor in factors(config) if factor.weight > 0]
    formula = " x ".join(f"{factor.letter}^{factor.weight:g}" for factor in used)
    return f"formula, {formula}", tuple(map(_describe_factor, used))


@dataclass(slots=True)
class _Scorer:
    factors: tuple[Factor, ...]
    path: str
    kinds: Mapping[str, Kind]
    #: In order, without repetition: most mistakes show in every channel of an offer.
    errors: dict[tuple[str, str], None] = field(default_factory=dict)
    shared: dict[tuple[Term, ...], tuple[Term, ...]] = field(default_factory=dict)

    def score(self, pair: Pair) -> tuple[float, tuple[Term, ...]]:
        constant, terms = 0.0, []
        for factor, value in self._values(pair):
            if isinstance(value, Term):
                terms.append(value)
            else:
                constant += factor.weight * _log(value)
        key = tuple(terms)
        return constant, self.shared.setdefault(key, key)

    def _values(self, pair: Pair) -> Iterator[tuple[Factor, float | Term]]:
        # A factor with weight 0 is 1 whatever its value, even 0.
        for factor in self.factors:
            if factor.weight == 0:
                continue
            if not isinstance(factor.source, FieldSource):
                yield factor, factor.source
                continue
            try:
                yield (
                    factor,
                    resolve_source(factor.source, factor.name, factor.weight, pair, self.kinds),
                )
            except Rejected as error:
                place = f"{self.path}.{factor.name}.field"
                self.errors.update({(place, text): None for _, text in error.errors})


def _weights_text(config: ScoreConfig) -> str:
    return ", ".join(f"{factor.name}Weight {factor.weight:g}" for factor in factors(config))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _describe_factor(factor: Factor) -> str:
    source = factor.source
    text = f"{factor.letter} {factor.name} = "
    if not isinstance(source, FieldSource):
        return f"{text}{source:g}"
    missing = missing_share(source, factor.name)
    default = "" if missing is None else f", missing: {missing:g}"
    return f"{text}{source.field} from {source.low:g} to {source.high:g}{default}"
