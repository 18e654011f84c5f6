"""Who may get what: the plan's steps over a chunk, as bit sets of candidates.

Bit j of a customer's words is set while candidate j is still possible, so a rule is a few passes
over one word per customer, however many offers it concerns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor import hashing
from executor.flow.columns import column_expr
from executor.flow.conditions import Condition
from executor.flow.inputs import HASH
from executor.flow.plan import Plan, Split, Step

#: (words, customers) of uint64: a word of all customers lies together in memory.
Bits: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step took away: customers that lost their last candidate, and candidates."""

    customers: int
    candidates: int


def eligible(plan: Plan, frame: pl.DataFrame) -> tuple[Bits, list[Removed]]:
    """Run every step in order. Returns the bits and what each step removed, in plan order."""
    bits = every_candidate(plan, frame)
    return bits, [
        remove(bits, ~kept, bit_set(step.candidates, plan))
        for step, kept in zip(plan.steps, _conditions(plan.steps, frame), strict=True)
    ]


def every_candidate(plan: Plan, frame: pl.DataFrame) -> Bits:
    """All candidates of all customers; of the variants of a creative each has one."""
    every = bit_set(range(len(plan.candidates)), plan)
    bits = np.repeat(every[:, np.newaxis], frame.height, axis=1)
    for split in plan.splits:
        drawn = variants(plan, split, frame[HASH].to_numpy())
        for number, candidate in enumerate(split.candidates):
            if candidate is not None:
                remove(bits, drawn != number, bit_set((candidate,), plan))
    return bits


def variants(plan: Plan, split: Split, h: hashing.Hash) -> NDArray[np.intp]:
    """Which variant each customer has: the same in every run, while the weights stay."""
    first = next(plan.candidates[one] for one in split.candidates if one is not None)
    offer, channel = plan.offers[first.offer].key, plan.channels[first.channel].key
    mixed = hashing.mixed(h, hashing.VARIANT, offer, channel, first.placement_key or 0)
    ends = np.cumsum(split.weights)
    drawn = hashing.uniform(mixed) * ends[-1]
    return np.asarray(np.searchsorted(ends[:-1], drawn, side="right"))


def words(plan: Plan) -> int:
    return -(-len(plan.candidates) // 64)


def bit_set(candidates: Iterable[int], plan: Plan) -> Bits:
    """The words of one customer with the given candidates set; shape (words,)."""
    row = np.zeros(words(plan), dtype=np.uint64)
    for candidate in candidates:
        row[candidate // 64] |= np.uint64(1 << (candidate % 64))
    return row


def any_left(bits: Bits) -> NDArray[np.bool_]:
    """Which customers still have a candidate."""
    left = bits[0] if len(bits) == 1 else np.bitwise_or.reduce(bits, axis=0)
    return np.asarray(left != 0)


def remove(bits: Bits, customers: NDArray[np.bool_], candidates: Bits) -> Removed:
    """Clear `candidates` for the chosen customers, in place, and count what that changed."""
    had = any_left(bits)
    chosen = -customers.astype(np.int64).view(np.uint64)  # all bits set, or none
    lost = 0
    for word in np.flatnonzero(candidates):
        gone = bits[word] & (chosen & candidates[word])
        bits[word] ^= gone
        lost += int(np.bitwise_count(gone).sum(dtype=np.int64))
    return Removed(customers=int(np.count_nonzero(had & ~any_left(bits))), candidates=lost)


def column(bits: Bits, candidate: int) -> NDArray[np.bool_]:
    """Which customers still may get one candidate."""
    return np.asarray((bits[candidate // 64] >> np.uint64(candidate % 64)) & np.uint64(1) != 0)


def _conditions(steps: Sequence[Step], frame: pl.DataFrame) -> list[NDArray[np.bool_]]:
    kept = frame.select(
        condition_expr(step.condition).alias(str(number)) for number, step in enumerate(steps)
    )
    return [series.to_numpy() for series in kept.iter_columns()]


def condition_expr(condition: Condition | bool) -> pl.Expr:
    """What holds for each customer; never null."""
    if isinstance(condition, bool):
        return pl.repeat(condition, pl.len())
    return column_expr(condition)
