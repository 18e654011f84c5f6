"""The best k offers of each customer, when no cap turns anyone away.

A candidate's fixed-point score and its place in the tie order are packed into one integer, so
"better" is one comparison and the best of a set is one maximum.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from executor.allocation import NONE, Winners
from executor.eligibility import Bits, column
from executor.flow.plan import Plan
from executor.scoring import LIMIT, Scores

#: Customers ranked at a time: their working set stays in the processor's cache.
BLOCK = 16_384
PLACE_BITS = 16
_PLACES = (1 << PLACE_BITS) - 1
#: Makes every packed key positive, so that zero can mean "not a candidate".
_OFFSET = 2 * LIMIT + 1
#: Up to so many channels of an offer are compared by looking their pattern up in a table.
_TABLE_BITS = 8


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
        key=((packed >> PLACE_BITS) - _OFFSET).astype(np.int32),
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


def packed_key(scores: Scores, profiles: NDArray[np.int64], candidate: int) -> NDArray[np.int64]:
    """Score and place of a candidate in one integer, for customers with these profiles."""
    shifted: NDArray[np.int64] = (profiles[scores.profile_of[candidate]] + _OFFSET) << PLACE_BITS
    return shifted + np.int64(_place(scores, candidate))


def _rank_block(
    plan: Plan, scores: Scores, bits: Bits, block: slice, slots: NDArray[np.int64]
) -> None:
    """Insert each offer's best channel into the block's slots, best first."""
    shifted = (scores.profiles[:, block] + _OFFSET) << PLACE_BITS
    offer_best = np.zeros(bits.shape[1], dtype=np.int64)
    lost = np.empty_like(offer_best)
    for span in _offer_spans(plan):
        _best_channel(scores, bits, shifted, span, offer_best)
        carried = offer_best
        for slot in slots[:, block]:
            np.minimum(slot, carried, out=lost)
            np.maximum(slot, carried, out=slot)
            carried, lost = lost, carried
        offer_best, lost = carried, lost


def _best_channel(
    scores: Scores,
    bits: Bits,
    shifted: NDArray[np.int64],
    span: range,
    best: NDArray[np.int64],
) -> None:
    """Packed keys of an offer through its best channel into `best`; never above zero if none."""
    profiles = scores.profile_of[span.start : span.stop]
    if len(span) <= _TABLE_BITS and (profiles == profiles[0]).all():
        np.take(_best_places(scores, span), _pattern(bits, span), out=best)
        best += shifted[profiles[0]]
        return
    best.fill(0)
    for candidate in span:
        np.maximum(best, _packed(scores, bits, shifted, candidate), out=best)


def _pattern(bits: Bits, span: range) -> NDArray[np.intp]:
    """Which of the span's candidates each customer may have, as a small number."""
    word, shift = divmod(span.start, 64)
    pattern = bits[word] >> np.uint64(shift)
    if shift + len(span) > 64:
        pattern |= bits[word + 1] << np.uint64(64 - shift)
    pattern &= np.uint64((1 << len(span)) - 1)
    return np.asarray(pattern.view(np.intp))


def _best_places(scores: Scores, span: range) -> NDArray[np.int64]:
    """For every pattern of candidates the greatest part of a packed key that is theirs alone."""
    places = [_place(scores, candidate) for candidate in span]
    table = np.full(1 << len(span), np.iinfo(np.int64).min // 2, dtype=np.int64)
    for pattern in range(1, len(table)):
        table[pattern] = max(place for j, place in enumerate(places) if pattern >> j & 1)
    return table


def _place(scores: Scores, candidate: int) -> int:
    return (int(scores.constants[candidate]) << PLACE_BITS) + _PLACES - candidate


def _packed(
    scores: Scores, bits: Bits, shifted: NDArray[np.int64], candidate: int
) -> NDArray[np.int64]:
    """Packed keys of one candidate; zero for the customers who cannot have it."""
    possible = (bits[candidate // 64] >> np.uint64(candidate % 64)) & np.uint64(1)
    keys: NDArray[np.int64] = shifted[scores.profile_of[candidate]] + np.int64(
        _place(scores, candidate)
    )
    keys &= -possible.astype(np.int64)
    return keys


def _offer_spans(plan: Plan) -> list[range]:
    """The candidates of every offer; a plan lists candidates by offer."""
    starts = [
        number
        for number, candidate in enumerate(plan.candidates)
        if number == 0 or plan.candidates[number - 1].offer != candidate.offer
    ]
    return [range(*ends) for ends in pairwise([*starts, len(plan.candidates)])]
