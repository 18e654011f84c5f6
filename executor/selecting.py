"""A customer's offers where the best k are not simply the answer: one pick after the other.

diversity: a category that has its number is passed over. round_robin: a pick comes from a category
that has had the fewest so far. weighted_random: picks are drawn with probabilities in proportion to
the scores, without putting back (Gumbel-top-k: Kool, van Hoof and Welling, ICML 2019). Placements:
one that is full is passed over.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor import hashing
from executor.allocation import Winners
from executor.eligibility import Bits, condition_expr
from executor.flow.plan import Limit, Plan
from executor.ranking import PLACE_BITS, packed_key
from executor.scoring import UNIT, Scores

#: Customers at a time: all their keys stay in the processor's cache.
BLOCK = 2048
_NOT = np.iinfo(np.int64).min
#: More than any packed key: a pick from a category that has had more comes later.
_ROUND = 1 << 52
#: More room than picks can take.
_ENOUGH = 1 << 32


@dataclass(frozen=True, slots=True)
class _Groups:
    """The numbers of the candidates' offers, categories and placements; -1 is no placement."""

    offer: NDArray[np.intp]
    category: NDArray[np.intp]
    placement: NDArray[np.intp]
    #: Most offers of each placement.
    slots: NDArray[np.int64]
    #: (offers, widest) the candidates of each offer, the last one again where it has fewer.
    siblings: NDArray[np.intp]

    @classmethod
    def of(cls, plan: Plan) -> "_Groups":
        categories = [plan.offers[one.offer].category_key for one in plan.candidates]
        numbers = {key: n for n, key in enumerate(dict.fromkeys(categories))}
        places = list(plan.ranking.slots)
        at = {key: n for n, key in enumerate(places)}
        return cls(
            np.array([one.offer for one in plan.candidates]),
            np.array([numbers[key] for key in categories]),
            np.array([at.get(one.placement_key or 0, -1) for one in plan.candidates]),
            np.array([plan.ranking.slots[key] for key in places], dtype=np.int64),
            _siblings(plan),
        )


def _siblings(plan: Plan) -> NDArray[np.intp]:
    of_offer: list[list[int]] = [[] for _ in plan.offers]
    for number, candidate in enumerate(plan.candidates):
        of_offer[candidate.offer].append(number)
    widest = max(map(len, of_offer), default=1)
    return np.array([one + one[-1:] * (widest - len(one)) for one in of_offer])


@dataclass(frozen=True, slots=True)
class Chance:
    """What weighted_random draws by: h(key) of the customers, and a seed."""

    h: hashing.Hash
    draw: int


def rooms(plan: Plan, frame: pl.DataFrame) -> NDArray[np.int64]:
    """(limits, customers) how many more each policy leaves room for."""
    found = np.zeros((len(plan.ranking.limits), frame.height), dtype=np.int64)
    for number, limit in enumerate(plan.ranking.limits):
        found[number] = limit.most
        if limit.column is not None:
            found[number] -= frame[limit.column].to_numpy()
        if limit.condition is not True:
            concerned = frame.select(concerned=condition_expr(limit.condition))["concerned"]
            found[number][~concerned.to_numpy()] = _ENOUGH
    return found


def select(
    plan: Plan,
    scores: Scores,
    bits: Bits,
    room: NDArray[np.int64],
    chance: Chance | None = None,
) -> Winners:
    """Each customer's picks, in their order; `room` is what policies leave, see `rooms`."""
    groups = _Groups.of(plan)
    parts = []
    for start in range(0, max(bits.shape[1], 1), BLOCK):
        block = slice(start, start + BLOCK)
        keys = _keys(plan, scores, bits[:, block], block, chance)
        parts.append(_pick(plan, keys, groups, room[:, block].copy()))
    picked = np.concatenate(parts, axis=1)
    rows, ranks = np.nonzero(picked.T >= 0)
    candidate = picked[ranks, rows]
    key = scores.profiles[scores.profile_of[candidate], rows] + scores.constants[candidate]
    return Winners(
        row=rows.astype(np.int64),
        rank=(ranks + 1).astype(np.int16),
        candidate=candidate.astype(np.int16),
        key=key.astype(np.int32),
    )


def _keys(
    plan: Plan,
    scores: Scores,
    bits: Bits,
    block: slice,
    chance: Chance | None,
) -> NDArray[np.int64]:
    """(candidates, customers) packed keys, _NOT where a customer cannot have a candidate."""
    profiles = scores.profiles[:, block]
    keys = np.empty((len(plan.candidates), bits.shape[1]), dtype=np.int64)
    luck: dict[int, NDArray[np.int64]] = {}
    for number, candidate in enumerate(plan.candidates):
        keys[number] = packed_key(scores, profiles, number)
        if plan.ranking.method == "weighted_random" and chance is not None:
            offer = plan.offers[candidate.offer]
            if offer.key not in luck:
                luck[offer.key] = _luck(chance.h[block], chance.draw, offer.key)
            keys[number] += luck[offer.key]
        possible = (bits[number // 64] >> np.uint64(number % 64)) & np.uint64(1)
        keys[number][possible == 0] = _NOT
    return keys


def _luck(h: hashing.Hash, draw: int, offer_key: int) -> NDArray[np.int64]:
    """Gumbel noise for an offer, in units of packed keys."""
    uniform = hashing.uniform(hashing.mixed(h, hashing.DRAW, draw, offer_key))
    noise = np.rint(-np.log(-np.log(uniform)) * UNIT).astype(np.int64)
    return np.asarray(noise << PLACE_BITS)


def _pick(
    plan: Plan, keys: NDArray[np.int64], groups: _Groups, room: NDArray[np.int64]
) -> NDArray[np.intp]:
    """(k, customers) numbers of the picked candidates, -1 where there is none left."""
    size = keys.shape[1]
    lines = np.arange(size)
    picked = np.full((plan.k, size), -1, dtype=np.intp)
    of_category = np.zeros((groups.category.max(initial=0) + 1, size), dtype=np.int64)
    in_placement = np.zeros((max(len(groups.slots), 1), size), dtype=np.int64)
    for turn in range(plan.k):
        best = _ordered(plan, keys, groups, of_category).argmax(axis=0)
        is_left = keys[best, lines] != _NOT
        if not is_left.any():
            break
        picked[turn, is_left] = best[is_left]
        if turn == plan.k - 1:
            break
        of_category[groups.category[best], lines] += is_left
        placed = is_left & (groups.placement[best] >= 0)
        in_placement[groups.placement[best], lines] += placed
        _close(plan, keys, groups, best, (of_category, in_placement))
        _use(plan.ranking.limits, keys, room, best, is_left, is_first=turn == 0)
    return picked


def _use(
    limits: tuple[Limit, ...],
    keys: NDArray[np.int64],
    room: NDArray[np.int64],
    best: NDArray[np.intp],
    is_left: NDArray[np.bool_],
    *,
    is_first: bool,
) -> None:
    """Count the picks, and take away what a policy leaves no more room for."""
    counted = np.zeros(len(keys), dtype=np.bool_)
    for number, limit in enumerate(limits):
        counted[:] = False
        counted[list(limit.counts)] = True
        used = counted[best] & is_left
        room[number] -= used
        full = np.flatnonzero((used | is_first) & (room[number] <= 0))
        if len(full):
            keys[np.array(limit.closes, dtype=np.intp)[:, np.newaxis], full] = _NOT


def _ordered(
    plan: Plan,
    keys: NDArray[np.int64],
    groups: _Groups,
    of_category: NDArray[np.int64],
) -> NDArray[np.int64]:
    if plan.ranking.method != "round_robin":
        return keys
    later = of_category[groups.category] * _ROUND
    return np.where(keys == _NOT, _NOT, keys - later)


def _close(
    plan: Plan,
    keys: NDArray[np.int64],
    groups: _Groups,
    best: NDArray[np.intp],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """Take away what a customer can no longer have after this pick."""
    of_category, in_placement = counts
    most, lines = plan.ranking.per_category, np.arange(keys.shape[1])
    for siblings in groups.siblings.T:
        keys[siblings[groups.offer[best]], lines] = _NOT
    if most is None and not len(groups.slots):
        return
    for number, line in enumerate(keys):
        closed = np.zeros(len(line), dtype=np.bool_)
        if most is not None:
            closed |= of_category[groups.category[number]] >= most
        place = groups.placement[number]
        if place >= 0:
            closed |= in_placement[place] >= groups.slots[place]
        line[closed] = _NOT
