"""Scores of models elsewhere, asked for while the customers are frozen, and frozen with them.

So a retry, an explanation or a replay sees the answers of that moment, whatever the endpoint says
later, and a run is decided the same however often its chunks are.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import polars as pl

from executor.decide import Decider
from executor.derive import as_column
from executor.flow.inputs import KEY
from executor.models.endpoint import Endpoint, endpoint_columns

if TYPE_CHECKING:
    from executor.flow.plan import Derived


class Asking:
    """Asks the endpoints of a plan; `failures` counts customers who have a fallback, by model."""

    def __init__(self, decider: Decider, allowed_hosts: Collection[str]) -> None:
        self._allowed = allowed_hosts
        self._offers = {offer.key: offer for offer in decider.plan.offers}
        self._wanted: dict[str, list[Derived]] = {}
        self._models: dict[str, Endpoint] = {}
        self.failures: dict[str, int] = {}
        for one in decider.plan.derived:
            model = decider.models[one.model]
            if isinstance(model, Endpoint):
                self._models[one.model] = model
                self._wanted.setdefault(one.model, []).append(one)

    def extend(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frozen rows with the answers beside them, a column for each that the plan names."""
        for name, wanted in self._wanted.items():
            keys = list(dict.fromkeys(one.offer_key or 0 for one in wanted))
            offers = [self._offers[key] for key in keys if key in self._offers]
            place = {offer.key: number for number, offer in enumerate(offers)}
            scores, failed = endpoint_columns(
                self._models[name], frame, frame[KEY], offers, self._allowed
            )
            self.failures[name] = self.failures.get(name, 0) + failed
            frame = frame.with_columns(
                as_column(one, scores[:, place[one.offer_key or 0]])
                for one in wanted
                if one.offer_key in place
            )
        return frame
