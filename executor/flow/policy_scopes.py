"""On which candidates a contact policy acts, and which events of the history are of its scope."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from executor.flow.catalog import Catalog, ChannelFacts, OfferFacts, OfferUsage, Place
from executor.flow.days import days_back
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.operators import quoted
from kaireon import ids


class Pair(Protocol):
    """A candidate."""

    @property
    def offer(self) -> OfferFacts: ...
    @property
    def channel(self) -> ChannelFacts: ...
    @property
    def creative_key(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What policies depend on besides the customers."""

    now: datetime
    #: The tenant's time zone.
    zone: str
    #: All offers of the tenant: contacts count for a category whether its offers are given or not.
    offers: tuple[OfferFacts, ...] = ()
    #: By key; None for one that is gone.
    segments: Mapping[int, SegmentFlag | None] = field(default_factory=dict)
    usage: Mapping[int, OfferUsage] = field(default_factory=dict)
    segment_names: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: Catalog, now: datetime, zone: str) -> "PolicyContext":
        return cls(
            now=now,
            zone=zone,
            offers=catalog.offers,
            segments={segment.key: segment.flag for segment in catalog.segments},
            usage={usage.offer_key: usage for usage in catalog.usage},
            segment_names={segment.key: segment.name for segment in catalog.segments},
        )

    def since_days(self, days: int | None) -> datetime | None:
        return None if days is None else days_back(self.now, self.zone, days)

    def since_hours(self, hours: int | None) -> datetime | None:
        return None if hours is None else self.now - timedelta(hours=hours)


@dataclass(frozen=True, slots=True)
class Scope:
    """One place where a policy acts: its candidates, and its events in the history."""

    kind: str
    key: int | None
    #: Indices into the candidates.
    positions: tuple[int, ...]
    #: In words, to follow "contacts".
    words: str
    #: Keys of what its events are of; none for all.
    offers: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    creatives: tuple[int, ...] = ()

    def of(self, metric: Metric) -> Metric:
        """The metric over the events of the scope alone."""
        return replace(metric, offers=self.offers, channels=self.channels, creatives=self.creatives)

    def without(self, positions: Set[int]) -> "Scope":
        left = tuple(place for place in self.positions if place not in positions)
        return replace(self, positions=left)


_IN: Mapping[str, Callable[[Pair], int | None]] = {
    "offer": lambda pair: pair.offer.key,
    "creative": lambda pair: pair.creative_key,
    "channel": lambda pair: pair.channel.key,
    "category": lambda pair: pair.offer.category_key,
    "subcategory": lambda pair: pair.offer.sub_category_key,
}
_NAMES: Mapping[str, Callable[[Pair], str]] = {
    "offer": lambda pair: f" of {quoted(pair.offer.name)}",
    "creative": lambda pair: f" of {ids.encode('Creative', pair.creative_key or 0)}",
    "channel": lambda pair: f" in {quoted(pair.channel.name)}",
    "category": lambda pair: f" of the category {quoted(pair.offer.category_name)}",
    "subcategory": lambda pair: f" of the sub-category {quoted(pair.offer.sub_category_name)}",
}


def find_scope(place: Place, pairs: Sequence[Pair], context: PolicyContext) -> Scope | None:
    """The candidates and events of a place; None if it is no place, or names nothing."""
    kind, key = place
    if kind == "global":
        return Scope(kind, None, tuple(range(len(pairs))), "")
    if kind not in _IN or key is None:
        return None
    positions = tuple(n for n, pair in enumerate(pairs) if _IN[kind](pair) == key)
    scope = Scope(kind, key, positions, _NAMES[kind](pairs[positions[0]]) if positions else "")
    if kind == "channel":
        return replace(scope, channels=(key,))
    if kind == "creative":
        return replace(scope, creatives=(key,))
    return replace(scope, offers=_offers(kind, key, pairs, context))


def _offers(kind: str, key: int, pairs: Sequence[Pair], context: PolicyContext) -> tuple[int, ...]:
    known = (*context.offers, *(pair.offer for pair in pairs))
    owners: Mapping[str, Callable[[OfferFacts], int | None]] = {
        "offer": lambda offer: offer.key,
        "category": lambda offer: offer.category_key,
        "subcategory": lambda offer: offer.sub_category_key,
    }
    return tuple(sorted({offer.key for offer in known if owners[kind](offer) == key}))
