"""A slow, obvious interpreter of decision flows, to compare the engine with.

It takes one customer at a time and walks the nodes of the definition in their order, as the
documentation says. It shares with the engine the catalog, the uses of h(key), and nothing else.
What is settled before any customer is read is found by walking the same nodes with nobody in
particular: a condition that depends on the customer then has no answer, and removes nothing.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from executor import hashing
from tests.reference_conditions import Candidate
from tests.reference_narrowing import Narrowing, Place, Walk, World, flow_nodes
from tests.reference_rules import Clock, Customer, Event, Person
from tests.reference_scores import Scores

UNIT, LIMIT = 10_000_000, 10**9
SCORE: Place = ("(score)", None, None)


@dataclass(frozen=True)
class Pick:
    offer: int
    channel: int
    creative: int | None
    rank: int
    #: In ten-millionths of a logarithm, as scores are compared.
    units: int
    score: float


@dataclass(frozen=True)
class Decision:
    picks: tuple[Pick, ...]
    #: What took the customer's last candidate.
    removed_by: Place | None = None


class Reference:
    """The interpreter of one flow."""

    def __init__(self, world: World) -> None:
        self.world, self.catalog = world, world.catalog
        nodes = [node for _, node in flow_nodes(world, 2)]
        configs = {node["type"]: node.get("config", {}) for node in nodes}
        anew = [
            node["config"]
            for node in nodes
            if node["type"] == "optimize"
            or (node["type"] == "extension_point" and "modelKey" in node["config"])
        ]
        clock = Clock(world.now, world.zone)
        self.scores = Scores(self.catalog, world.kinds, configs["score"], clock, anew)
        self.rank, self.is_grouped = configs["rank"], "group" in configs
        self.narrowing = Narrowing(world, self.scores.rule_propensity)
        self.drawn: dict[tuple[int, ...], dict[int, float]] = {}
        self.offered = self.narrowing.inventory()
        nobody = self.narrowing.walk(Person(None, None), self.offered)
        self.possible, self.settled = nobody.candidates, nobody.penalties
        among = list(self.possible.values())
        self.factors = {one.name: self.scores.factors(one, among) for one in among}
        self.variants = list(self.shared())

    def decide(self, customer: Customer) -> Decision:
        if not self.possible:
            return Decision(())
        person = Person(customer, dict(customer.columns))
        walk = self.narrowing.walk(person, self.of_customer(customer))
        worth = {}
        for one in walk.candidates.values():
            units = self.units(one, walk)
            if units is not None:
                worth[one.name] = units
        if walk.candidates and not worth:
            return Decision((), SCORE)
        return Decision(tuple(self.ranked(walk, worth)), walk.removed_by)

    def shared(self) -> Iterator[list[Candidate]]:
        """Creatives of one offer in one channel and placement, which share its customers."""
        matching = next(
            node for _, node in self.narrowing.nodes if node["type"] == "match_creatives"
        )
        is_anywhere = matching.get("config", {}).get("placementMatchMode") == "none"
        groups: dict[tuple[int, int, int | None], list[Candidate]] = {}
        for one in self.offered:
            if one.creative is not None:
                place = one.offer.key, one.channel.key, None if is_anywhere else one.placement
                groups.setdefault(place, []).append(one)
        return (these for these in groups.values() if len(these) > 1)

    def uniform(self, customer: Customer, *salts: int) -> float:
        """A number from 0 to 1 that h(key) gives for one use."""
        if salts not in self.drawn:
            h = np.array([one.h for one in self.world.customers], dtype=np.int64)
            numbers = hashing.uniform(hashing.mixed(h, *salts)).tolist()
            self.drawn[salts] = dict(zip(h.tolist(), numbers, strict=True))
        return self.drawn[salts][customer.h]

    def of_customer(self, customer: Customer) -> list[Candidate]:
        """The possible candidates, and of the variants of a creative the one that is drawn."""
        weights = {one.key: one.weight for one in self.catalog.creatives}
        out: set[tuple[int, int, int]] = set()
        for these in self.variants:
            first, shares = these[0], [weights[one.creative or 0] for one in these]
            kept = next(
                (self.possible[one.name] for one in these if one.name in self.possible), first
            )
            place = first.offer.key, first.channel.key, kept.placement or 0
            left = self.uniform(customer, hashing.VARIANT, *place) * sum(shares)
            chosen = 0
            while chosen < len(these) - 1 and left >= sum(shares[: chosen + 1]):
                chosen += 1
            out |= {one.name for number, one in enumerate(these) if number != chosen}
        return [one for one in self.offered if one.name in self.possible and one.name not in out]

    def units(self, candidate: Candidate, walk: Walk) -> int | None:
        """The log score in ten-millionths; None if it is worth nothing, or less than the floor.

        What depends on the customer and what depends on the candidate are rounded by themselves.
        """
        of_candidate = of_customer = 0.0
        for factor in self.factors[candidate.name]:
            value = self.scores.value(factor, candidate, walk.person)
            assert value is not None
            if value == 0:
                return None
            if factor.constant is not None:
                of_candidate += factor.weight * math.log(value)
            else:
                of_customer += factor.weight * math.log(value)
        settled = self.settled.get(candidate.name, {})
        for rule, (multiplier, _) in settled.items():
            if settled[rule][1] is True:
                of_candidate += math.log(multiplier)
        for rule, (multiplier, _) in walk.penalties.get(candidate.name, {}).items():
            if settled[rule][1] is not True:
                of_customer += math.log(multiplier)
        units = fixed(of_customer) + fixed(of_candidate)
        floor = self.scores.floor
        return None if floor and units < round(math.log(floor) * UNIT) else units

    def ranked(self, walk: Walk, worth: Mapping[tuple[int, int, int], int]) -> Iterator[Pick]:
        """One pick after the other: the best that the method and the placements still allow."""
        left = [one for one in walk.candidates.values() if one.name in worth]
        taken: list[Candidate] = []
        while left and len(taken) < self.rank.get("maxCandidates", 5):
            keys = [self.order(one, worth[one.name], taken, walk) for one in left]
            best = left[keys.index(max(keys))]
            taken.append(best)
            units = worth[best.name]
            score = float(f"{math.exp(units / UNIT):.5e}")
            yield Pick(best.offer.key, best.channel.key, best.creative, len(taken), units, score)
            left = [
                one
                for one in left
                if self.may_follow(one, taken) and not self.is_enough(one, taken, walk)
            ]

    def order(
        self, one: Candidate, units: int, taken: Sequence[Candidate], walk: Walk
    ) -> tuple[int, int]:
        worth, turn = units + (LIMIT if one.offer.mandatory else 0), 0
        method = self.rank.get("method", "top_n")
        if method == "round_robin":
            turn = -Counter(pick.offer.category_key for pick in taken)[one.offer.category_key]
        if method == "weighted_random" and walk.person.customer is not None:
            salts = hashing.DRAW, self.world.draw, one.offer.key
            luck = self.uniform(walk.person.customer, *salts)
            worth += round(-math.log(-math.log(luck)) * UNIT)
        return turn, worth

    def is_enough(self, one: Candidate, taken: Sequence[Candidate], walk: Walk) -> bool:
        """Whether a policy withholds it once what is taken counts as contacts, too."""
        if one.name not in walk.policed or walk.person.customer is None:
            return False
        now, campaign = self.world.now, self.world.campaign
        given = [
            Event(now, pick.offer.key, pick.channel.key, pick.creative, campaign) for pick in taken
        ]
        customer = walk.person.customer
        person = Person(replace(customer, events=(*customer.events, *given)), walk.person.columns)
        policies = self.narrowing.policies
        return any(policies.withholds(policy, one, person) for policy in policies.all)

    def may_follow(self, one: Candidate, taken: Sequence[Candidate]) -> bool:
        if any(pick.offer.key == one.offer.key for pick in taken):
            return False
        if self.rank.get("method") == "diversity":
            most = self.rank.get("maxPerCategory", 1)
            same = sum(pick.offer.category_key == one.offer.category_key for pick in taken)
            if same >= most:
                return False
        if not self.is_grouped or one.placement is None:
            return True
        slots = {place.key: place.max_slots for place in self.catalog.placements}
        there = sum(pick.placement == one.placement for pick in taken)
        return one.placement not in slots or there < slots[one.placement]


def fixed(log: float) -> int:
    return round(max(-LIMIT, min(LIMIT, log * UNIT)))
