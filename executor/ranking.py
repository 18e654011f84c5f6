"""The best k offers of each customer, when no cap turns anyone away.

A candidate's fixed-point score and its place in the tie order are packed into one integer, so
"better" is one comparison and the best of a set is one maximum.
"""

import numpy as np
from numpy.typing import NDArray

from executor.allocation import NONE, Winners
from executor.eligibility import Bits, column
from executor.flow.plan import Plan
from executor.scoring import LIMIT, Scores

#: Customers ranked at a time: their working set stays in the processor's cache.
BLOCK = 16_384
_PLACE_BITS = 16
_PLACES = (1 << _PLACE_BITS) - 1
#: Makes every packed key positive, so that zero can mean "not a candidate".
_OFFSET = 2 * LIMIT + 1


def rank(plan: Plan, scores: Scores, bits: Bits) -> Winners:
    """Each customer's best `plan.k` offers, through their best channel, ordered by (row, rank)."""
    slots = np.zeros((plan.k, bits.shape[1]), dtype=np.int64)
    for start in range(0, bits.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        _rank_block(plan, scores, bits[:, block], block, slots)
    rows, ranks = np.nonzero(slots.T)
    packed = slots[ranks, rows]
    return Winners(
        row=rows.astype(np.int64),
        rank=(ranks + 1).astype(np.int16),
        candidate=(_PLACES - (packed & _PLACES)).astype(np.int16),
        key=((packed >> _PLACE_BITS) - _OFFSET).astype(np.int32),
    )


def matrix(plan: Plan, scores: Scores, bits: Bits) -> NDArray[np.int32]:
    """(customers, candidates) fixed-point log scores, NONE where not a candidate."""
    keys = np.full((bits.shape[1], len(plan.candidates)), NONE, dtype=np.int32)
    for candidate in range(len(plan.candidates)):
        values = scores.profiles[scores.profile_of[candidate]] + scores.constants[candidate]
        np.copyto(
            keys[:, candidate],
            values.clip(-LIMIT, LIMIT).astype(np.int32),
            where=column(bits, candidate),
        )
    return keys


def _rank_block(
    plan: Plan, scores: Scores, bits: Bits, block: slice, slots: NDArray[np.int64]
) -> None:
    """Insert each offer's best channel into the block's slots, best first."""
    shifted = (scores.profiles[:, block] + _OFFSET) << _PLACE_BITS
    offer_best = np.zeros(bits.shape[1], dtype=np.int64)
    lost = np.empty_like(offer_best)
    for first, last in _offer_spans(plan):
        offer_best.fill(0)
        for candidate in range(first, last):
            np.maximum(offer_best, _packed(scores, bits, shifted, candidate), out=offer_best)
        carried = offer_best
        for slot in slots[:, block]:
            np.minimum(slot, carried, out=lost)
            np.maximum(slot, carried, out=slot)
            carried, lost = lost, carried
        offer_best, lost = carried, lost


def _packed(
    scores: Scores, bits: Bits, shifted: NDArray[np.int64], candidate: int
) -> NDArray[np.int64]:
    """Packed keys of one candidate; zero for the customers who cannot have it."""
    place = np.int64((int(scores.constants[candidate]) << _PLACE_BITS) + _PLACES - candidate)
    possible = (bits[candidate // 64] >> np.uint64(candidate % 64)) & np.uint64(1)
    keys: NDArray[np.int64] = shifted[scores.profile_of[candidate]] + place
    keys &= -possible.astype(np.int64)
    return keys


def _offer_spans(plan: Plan) -> list[tuple[int, int]]:
    """First and past-the-last candidate of every offer; a plan lists candidates by offer."""
    starts = [
        number
        for number, candidate in enumerate(plan.candidates)
        if number == 0 or plan.candidates[number - 1].offer != candidate.offer
    ]
    return list(zip(starts, [*starts[1:], len(plan.candidates)], strict=True))
