"""A candidate while a flow is compiled: an offer in a channel, through a creative if it has one."""

from dataclasses import dataclass

from executor.flow.catalog import ChannelFacts, OfferFacts


@dataclass(frozen=True, slots=True)
class Pair:
    offer: OfferFacts
    channel: ChannelFacts
    creative_key: int | None = None
    placement_key: int | None = None

    @property
    def name(self) -> tuple[int, ...]:
        return self.offer.key, self.channel.key, self.creative_key or 0

    @property
    def facts(self) -> tuple[OfferFacts, ChannelFacts]:
        return self.offer, self.channel
