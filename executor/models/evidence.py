"""Propensity from how customers have answered so far, and what to do while little is known."""

from dataclasses import dataclass

from executor.flow.catalog import Evidence

#: Chances from which on an offer, its category, or all offers together speak for themselves.
OFFER_ENOUGH, CATEGORY_ENOUGH, ALL_ENOUGH = 50, 20, 10
SMOOTHING_WEIGHT = 10.0


@dataclass(frozen=True, slots=True)
class Share:
    """A propensity of `known` + `model` x the score of the model, each 0 to 1."""

    known: float
    model: float

    def at(self, score: float) -> float:
        """The propensity of a customer whom the model gives this score."""
        return self.known + self.model * score


class Propensities:
    """Rates by offer, category and in all, most specific first.

    An offer with at least 50 chances has its own positive rate. With 1 to 49 it has
    (n x rate + w x prior) / (n + w), w being the smoothing weight; with none it has the prior. The
    prior is the rate of its category (at least 20 chances), else of all offers (at least 10), else
    the score of the model.
    """

    def __init__(self, evidence: Evidence, smoothing: float = SMOOTHING_WEIGHT) -> None:
        self._offers = _by_key(evidence.offers)
        self._categories = _by_key(evidence.categories)
        self._all = evidence.total, evidence.positive
        self._smoothing = smoothing

    def share(self, offer_key: int, category_key: int | None) -> Share:
        """How far evidence and how far the model decides about an offer."""
        total, positive = self._offers.get(offer_key, (0, 0))
        if total >= OFFER_ENOUGH:
            return Share(positive / total, 0.0)
        prior = self._prior(category_key)
        if total == 0:
            return Share(0.0, 1.0) if prior is None else Share(prior, 0.0)
        weight = self._smoothing / (total + self._smoothing)
        known = positive / (total + self._smoothing)
        return Share(known, weight) if prior is None else Share(known + weight * prior, 0.0)

    def _prior(self, category_key: int | None) -> float | None:
        total, positive = self._categories.get(category_key, (0, 0)) if category_key else (0, 0)
        if total >= CATEGORY_ENOUGH:
            return positive / total
        total, positive = self._all
        return positive / total if total >= ALL_ENOUGH else None


def _by_key(rows: tuple[tuple[int, int, int], ...]) -> dict[int, tuple[int, int]]:
    return {key: (total, positive) for key, total, positive in rows}
