"""Scores in log space: all that is constant is added up here, once per candidate."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from executor.errors import Rejected
from executor.flow.candidates import Pair
from executor.flow.factors import FATIGUE, FATIGUE_CONTACTS, Factor
from executor.flow.model import FieldSource
from executor.flow.plan import Penalty, ScorePlan, Term
from executor.flow.scoring_choice import Choice
from executor.flow.sources import COLD_START, missing_share, resolve_source
from executor.flow.types import Kind


@dataclass(frozen=True, slots=True)
class Modelled:
    """A propensity that a model has a part in: its column, and what it is where the model cannot
    tell."""

    column: str
    default: float


#: The propensity of a candidate.
Asked = Callable[[Choice, Pair], float | Modelled]
#: The column with what a model says of a candidate.
ModelColumn = Callable[[str, Pair], str]
FactorsOf = Callable[[Choice], tuple[Factor, ...]]
Terms = tuple[Term | Penalty, ...]


@dataclass(slots=True)
class Scorer:
    """Makes the score of every candidate; the factors of each are those of its choice."""

    kinds: Mapping[str, Kind]
    propensity: Asked
    model: ModelColumn
    #: The column with the customer's contacts of late.
    contacts: Callable[[], str]
    #: By the name of the candidate.
    penalties: Mapping[tuple[int, ...], Sequence[Penalty]]
    #: In order, without repetition: most mistakes show in every channel of an offer.
    errors: dict[tuple[str, str], None] = field(default_factory=dict)
    shared: dict[Terms, Terms] = field(default_factory=dict)

    def plan(
        self, chosen: Sequence[tuple[Pair, Choice]], factors_of: FactorsOf, floor: float
    ) -> ScorePlan:
        """The score plan. Raises Rejected with every source that cannot be resolved."""
        scored = [self._score(pair, choice, factors_of) for pair, choice in chosen]
        if self.errors:
            raise Rejected.of(self.errors)
        return ScorePlan(
            constants=tuple(constant for constant, _ in scored),
            terms=tuple(terms for _, terms in scored),
            floor=floor,
        )

    def _score(self, pair: Pair, choice: Choice, factors_of: FactorsOf) -> tuple[float, Terms]:
        constant = 0.0
        terms: list[Term | Penalty] = []
        for factor, value in self._values(pair, choice, factors_of):
            if isinstance(value, Term):
                terms.append(value)
            else:
                constant += factor.weight * log(value)
        for penalty in self.penalties.get(pair.name, ()):
            if penalty.condition is False:
                constant += log(penalty.multiplier)
            elif penalty.condition is not True:
                terms.append(penalty)
        key = tuple(terms)
        return constant, self.shared.setdefault(key, key)

    def _values(
        self, pair: Pair, choice: Choice, factors_of: FactorsOf
    ) -> Iterator[tuple[Factor, float | Term]]:
        try:
            own = factors_of(choice)
        except Rejected as error:
            self._note(choice.path, error)
            return
        # A factor with weight 0 is 1 whatever its value, even 0.
        for factor in own:
            if factor.weight == 0:
                continue
            try:
                yield factor, self._value(factor, pair, choice)
            except Rejected as error:
                self._note(f"{choice.path}.{factor.place}", error)

    def _note(self, place: str, error: Rejected) -> None:
        self.errors.update({(place, text): None for _, text in error.errors})

    def _value(self, factor: Factor, pair: Pair, choice: Choice) -> float | Term:
        source = factor.source
        if factor.model is not None:
            return Term(self.model(factor.model, pair), 0.0, 1.0, factor.weight, 0.0, is_open=True)
        if factor.name == FATIGUE:
            return Term(self.contacts(), FATIGUE_CONTACTS, 0.0, factor.weight, 1.0)
        if source is None:
            found = self.propensity(choice, pair)
            if isinstance(found, Modelled):
                return Term(found.column, 0.0, 1.0, factor.weight, found.default)
            return found
        if isinstance(source, FieldSource):
            return resolve_source(source, factor.name, factor.weight, pair.facts, self.kinds)
        return source


def log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def describe_factor(factor: Factor) -> str:
    """`P propensity = customer.p from 0 to 1, missing: 0.5`."""
    source = factor.source
    text = f"{factor.letter} {factor.name} = "
    if factor.model is not None:
        return f"{text}{factor.model}"
    if source is None:
        return f"{text}by outcomes or model, else {COLD_START:g}"
    if not isinstance(source, FieldSource):
        return f"{text}{source:g}"
    missing = missing_share(source, factor.name)
    default = "" if missing is None else f", missing: {missing:g}"
    return f"{text}{source.field} from {source.low:g} to {source.high:g}{default}"
