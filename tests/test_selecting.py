"""Picking one offer after the other, against brute force for every customer."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from executor import hashing
from executor.eligibility import bit_set
from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.conditions import Leaf
from executor.flow.operators import Op
from executor.flow.plan import Candidate, Limit, Plan, Ranking, ScorePlan
from executor.ranking import BLOCK, rank
from executor.scoring import LIMIT, UNIT, Scores
from executor.selecting import Chance, rooms, select


def made_plan(
    offers: Sequence[OfferFacts], placements: Sequence[Sequence[int | None]], ranking: Ranking
) -> Plan:
    """A plan in which offer n is in the placements of its list, each through its own channel."""
    channels = max(map(len, placements))
    candidates = tuple(
        Candidate(offer, channel, 100 * offer + channel + 1, place)
        for offer, places in enumerate(placements)
        for channel, place in enumerate(places)
    )
    return Plan(
        offers=tuple(offers),
        channels=tuple(ChannelFacts(key + 1, f"channel {key}") for key in range(channels)),
        candidates=candidates,
        steps=(),
        dropped=(),
        score=ScorePlan((0.0,) * len(candidates), ((),) * len(candidates)),
        ranking=ranking,
        columns=frozenset(),
    )


def scored(values: NDArray[np.int64]) -> Scores:
    """Scores by candidate and customer, without constants."""
    number = len(values)
    return Scores(values, np.arange(number, dtype=np.intp), np.zeros(number, dtype=np.int64))


def no_limits(customers: int) -> NDArray[np.int64]:
    return np.zeros((0, customers), dtype=np.int64)


def possible(plan: Plan, allowed: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Bits of (candidates, customers)."""
    columns = [bit_set(np.flatnonzero(column).tolist(), plan) for column in allowed.T]
    return np.array(columns, dtype=np.uint64).T.copy()


@dataclass(frozen=True)
class Customer:
    """Score and whether they may have it by candidate, room by limit, luck by offer."""

    units: Sequence[int]
    allowed: Sequence[bool]
    room: Sequence[int]
    luck: dict[int, int]


def brute_force(plan: Plan, customer: Customer) -> Iterator[int]:
    """The picks of one customer: candidates in order, the best first, ties by their order."""
    left = [number for number, may in enumerate(customer.allowed) if may]
    picked: list[int] = []

    def category(number: int) -> int | None:
        return plan.offers[plan.candidates[number].offer].category_key

    def allows(number: int) -> bool:
        one = plan.candidates[number]
        if any(plan.candidates[other].offer == one.offer for other in picked):
            return False
        most = plan.ranking.per_category
        if most is not None and [*map(category, picked)].count(category(number)) >= most:
            return False
        for limit, room in zip(plan.ranking.limits, customer.room, strict=True):
            used = sum(other in limit.counts for other in picked)
            if picked and number in limit.closes and used >= room:
                return False
        slots = plan.ranking.slots.get(one.placement_key or 0)
        there = sum(plan.candidates[other].placement_key == one.placement_key for other in picked)
        return slots is None or there < slots

    while len(picked) < plan.k:
        left = [number for number in left if allows(number)]
        if not left:
            return
        counts = Counter(map(category, picked))
        is_in_turn = plan.ranking.method == "round_robin"
        best = max(
            left,
            key=lambda number: (
                -counts[category(number)] if is_in_turn else 0,
                customer.units[number] + customer.luck.get(plan.candidates[number].offer, 0),
                -number,
            ),
        )
        picked.append(best)
        yield best


def random_plan(random: Random, method: Any) -> Plan:
    categories = (None, 1, 2, 3)
    offers = [
        OfferFacts(key, f"offer {key}", category_key=random.choice(categories))
        for key in range(1, random.randint(2, 9))
    ]
    placements = [
        [random.choice((None, 7, 8, 9)) for _ in range(random.randint(1, 3))] for _ in offers
    ]
    slots = random.choice(({}, {7: 1, 8: 2}))
    per_category = random.choice((1, 2)) if method == "diversity" else None
    numbers = range(sum(map(len, placements)))
    limits = tuple(
        Limit(
            "contacts",
            random.choice((2, 3)),
            tuple(number for number in numbers if random.random() < 0.6),
            tuple(number for number in numbers if random.random() < 0.6),
            random.choice((True, Leaf("vip", Op.EQ, True))),
        )
        for _ in range(random.choice((0, 0, 1, 2)))
    )
    ranking = Ranking(random.randint(1, 6), method, per_category, slots, limits)
    return made_plan(offers, placements, ranking)


@pytest.mark.parametrize("method", ["top_n", "diversity", "round_robin", "weighted_random"])
def test_picks_are_those_of_brute_force(method: Any) -> None:
    for seed in range(40):
        random = Random(f"{method} {seed}")
        plan, customers = random_plan(random, method), 60
        generator = np.random.default_rng(seed)
        shape = len(plan.candidates), customers
        # Few distinct scores, so that many are equal; now and then the lowest there is.
        units = generator.choice([0, -1, -5 * UNIT, -LIMIT, LIMIT // 50], shape)
        allowed = generator.random(shape) < 0.8
        h = generator.integers(-(2**63), 2**63 - 1, customers)
        contacts, vip = generator.integers(0, 2, customers), generator.random(customers) < 0.5
        room = rooms(plan, pl.DataFrame({"contacts": contacts, "vip": vip}))
        winners = select(plan, scored(units), possible(plan, allowed), room, Chance(h, seed))
        noise = luck_of(plan, h, seed) if method == "weighted_random" else {}
        rows = []
        for row in range(customers):
            customer = Customer(
                units[:, row].tolist(),
                allowed[:, row].tolist(),
                [
                    limit.most - int(contacts[row]) if limit.condition is True or vip[row] else 99
                    for limit in plan.ranking.limits
                ],
                {offer: values[row] for offer, values in noise.items()},
            )
            picks = enumerate(brute_force(plan, customer), 1)
            rows += [(row, place, pick, int(units[pick, row])) for place, pick in picks]
        found = zip(winners.row, winners.rank, winners.candidate, winners.key, strict=True)
        assert [tuple(map(int, line)) for line in found] == rows


def luck_of(plan: Plan, h: hashing.Hash, draw: int) -> dict[int, list[int]]:
    """-ln(-ln u) of every offer and customer, in fixed-point units."""
    numbers = {}
    for index, offer in enumerate(plan.offers):
        uniform = hashing.uniform(hashing.mixed(h, hashing.DRAW, draw, offer.key)).tolist()
        numbers[index] = [round(-math.log(-math.log(one)) * UNIT) for one in uniform]
    return numbers


def test_top_n_without_placements_is_what_the_plain_ranking_gives() -> None:
    random = Random(5)
    generator = np.random.default_rng(5)
    offers = [OfferFacts(key, f"offer {key}") for key in range(1, 30)]
    plan = made_plan(offers, [[None] * random.randint(1, 4) for _ in offers], Ranking(5))
    shape = len(plan.candidates), BLOCK + 100
    scores = scored(generator.integers(-3, 3, shape) * UNIT)
    bits = possible(plan, generator.random(shape) < 0.5)
    one, other = select(plan, scores, bits, no_limits(shape[1])), rank(plan, scores, bits)
    for name in ("row", "rank", "candidate", "key"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_nobody_and_nothing_left_give_no_picks() -> None:
    plan = made_plan([OfferFacts(1, "one")], [[None]], Ranking(3, "round_robin"))
    for customers in (0, 4):
        scores = scored(np.zeros((1, customers), dtype=np.int64))
        bits = np.zeros((1, customers), dtype=np.uint64)
        assert len(select(plan, scores, bits, no_limits(customers)).row) == 0


class TestWeightedRandom:
    WEIGHTS = (0.5, 0.25, 0.15, 0.1)
    CUSTOMERS = 40_000

    def picked(self, k: int, draw: int = 1) -> NDArray[np.int16]:
        """(customers, k) offers, drawn in proportion to the weights."""
        offers = [OfferFacts(key, f"offer {key}") for key in range(1, 5)]
        plan = made_plan(offers, [[None]] * 4, Ranking(k, "weighted_random"))
        units = np.array([round(math.log(weight) * UNIT) for weight in self.WEIGHTS])
        h = np.random.default_rng(11).integers(-(2**63), 2**63 - 1, self.CUSTOMERS)
        allowed = np.ones((4, self.CUSTOMERS), dtype=np.bool_)
        scores = scored(np.repeat(units[:, np.newaxis], self.CUSTOMERS, axis=1))
        chance = Chance(h, draw)
        winners = select(plan, scores, possible(plan, allowed), no_limits(len(h)), chance)
        return winners.candidate.reshape(-1, k)

    def is_near(self, seen: int, share: float) -> bool:
        """Within four standard deviations of a binomial count."""
        spread = math.sqrt(self.CUSTOMERS * share * (1 - share))
        return abs(seen - self.CUSTOMERS * share) < 4 * spread

    def test_the_first_pick_is_in_proportion_to_the_scores(self) -> None:
        counts = Counter(self.picked(1)[:, 0].tolist())
        for offer, share in enumerate(self.WEIGHTS):
            assert self.is_near(counts[offer], share)

    def test_the_second_pick_is_in_proportion_to_what_is_left(self) -> None:
        counts = Counter(map(tuple, self.picked(2).tolist()))
        assert sum(counts.values()) == self.CUSTOMERS
        for (first, second), seen in counts.items():
            one, other = self.WEIGHTS[first], self.WEIGHTS[second]
            assert self.is_near(seen, one * other / (1 - one))

    def test_every_offer_is_picked_once_if_there_is_room(self) -> None:
        assert {tuple(sorted(row)) for row in self.picked(4).tolist()} == {(0, 1, 2, 3)}

    def test_the_same_draw_gives_the_same_and_another_another(self) -> None:
        one = self.picked(2)
        assert (one == self.picked(2)).all()
        share = (one[:, 0] == self.picked(2, draw=2)[:, 0]).mean()
        # As often as two draws that know nothing of each other.
        assert self.is_near(round(share * self.CUSTOMERS), sum(w * w for w in self.WEIGHTS))

    def test_an_offer_that_is_left_out_changes_nothing_between_the_others(self) -> None:
        order = self.picked(4)
        without = order[order != 3].reshape(-1, 3)[:, 0]
        counts = Counter(without.tolist())
        left = sum(self.WEIGHTS[:3])
        for offer in range(3):
            assert self.is_near(counts[offer], self.WEIGHTS[offer] / left)


@pytest.mark.parametrize(
    ("ranking", "picks"),
    [
        # Offers 0 and 1 are cards, 2 is a loan, 3 has no category; from the best down.
        (Ranking(4), [0, 1, 2, 3]),
        (Ranking(4, "diversity", 1), [0, 2, 3]),
        (Ranking(4, "diversity", 2), [0, 1, 2, 3]),
        (Ranking(4, "round_robin"), [0, 2, 3, 1]),
        (Ranking(2, "round_robin"), [0, 2]),
        (Ranking(4, slots={7: 1}), [0, 2, 3]),
        (Ranking(4, slots={7: 2, 8: 1}), [0, 1, 2]),
    ],
    ids=["all", "one each", "two each", "in turn", "in turn, two", "one slot", "slots"],
)
def test_plain_examples(ranking: Ranking, picks: list[int]) -> None:
    categories = (1, 1, 2, None)
    offers = [OfferFacts(n + 1, f"{n}", category_key=key) for n, key in enumerate(categories)]
    plan = made_plan(offers, [[7], [7], [8], [8]], ranking)
    units = np.array([[0], [-1], [-2], [-3]], dtype=np.int64)
    winners = select(
        plan, scored(units), possible(plan, np.ones((4, 1), dtype=np.bool_)), no_limits(1)
    )
    assert winners.candidate.tolist() == picks
    assert winners.rank.tolist() == list(range(1, len(picks) + 1))


def test_an_offer_goes_through_another_placement_when_its_best_is_full() -> None:
    offers = [OfferFacts(1, "first"), OfferFacts(2, "second")]
    plan = made_plan(offers, [[7], [7, 8]], Ranking(2, slots={7: 1, 8: 1}))
    units = np.array([[0], [-1], [-2 * UNIT]], dtype=np.int64)
    winners = select(
        plan, scored(units), possible(plan, np.ones((3, 1), dtype=np.bool_)), no_limits(1)
    )
    assert winners.candidate.tolist() == [0, 2]
