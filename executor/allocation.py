"""Decide who gets what under volume caps, chunk by chunk. Pure NumPy: no database, no clock.

A candidate is an (offer, channel) pair. Every strategy is one procedure, the total order of the
items differs: walk the (customer, candidate) items in that order and accept an item if the customer
has room and not yet that offer, and every cap of the item has room. A cap closes at the first item
that it turns away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

NONE = np.iinfo(np.int32).min
"""Key of a candidate the customer is not eligible for."""

BLOCK_ROWS = 4096
_UNLIMITED = np.iinfo(np.int64).max

Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Kind = Literal["total", "offer", "channel"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The offer and the channel index of each candidate; the order breaks a customer's ties."""

    offer: npt.NDArray[np.integer]
    channel: npt.NDArray[np.integer]

    @property
    def offer_count(self) -> int:
        return int(self.offer.max(initial=-1)) + 1

    @property
    def channel_count(self) -> int:
        return int(self.channel.max(initial=-1)) + 1


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits on the number of recommendations of a run; None is no limit."""

    total: int | None = None
    per_offer: int | None = None
    per_channel: int | None = None
    #: A limit for each offer by its index, beside `per_offer`; none for offers behind the last.
    of_offers: tuple[int | None, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether there is any limit at all."""
        limits = (self.total, self.per_offer, self.per_channel, *self.of_offers)
        return any(limit is not None for limit in limits)

    def of_offer(self, index: int) -> int | None:
        """The lower limit of those that an offer has."""
        own = self.of_offers[index] if index < len(self.of_offers) else None
        limits = [limit for limit in (self.per_offer, own) if limit is not None]
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Winners:
    """Recommendations of one chunk, sorted by (row, rank); row counts from the chunk's start."""

    row: Int64s
    rank: Int16s
    candidate: Int16s
    key: Int32s


@dataclass(frozen=True, slots=True)
class CapReport:
    """What became of one cap; `bound` if it turned away an item no earlier closed cap had."""

    kind: Kind
    index: int | None
    limit: int
    used: int
    bound: bool


@dataclass(frozen=True, slots=True)
class Fates:
    """Customers the caps cost something.

    `capped_out` were eligible for something and got nothing; `lowered` got something, but not
    exactly what they would have got without caps.
    """

    capped_out: int
    lowered: int


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The best candidates of each customer, best first; (rows, depth), empty is -1 and NONE."""

    candidate: Int16s
    key: Int32s

    @classmethod
    def empty(cls, rows: int, depth: int) -> "Shortlist":
        shape = (rows, depth)
        return cls(np.full(shape, -1, np.int16), np.full(shape, NONE, np.int32))

    def winners(self) -> Winners:
        row, column = np.nonzero(self.candidate >= 0)
        return Winners(
            row.astype(np.int64, copy=False),
            (column + 1).astype(np.int16),
            self.candidate[row, column],
            self.key[row, column],
        )


def top_k(keys: Int32s, candidates: Candidates, k: int) -> Winners:
    """Give each customer its k best candidates of distinct offers, regardless of caps."""
    return shortlist(keys, candidates, k).winners()


def shortlist(
    keys: Int32s,
    candidates: Candidates,
    depth: int,
    *,
    is_open: Bools | None = None,
    taken: Int16s | None = None,
) -> Shortlist:
    """Find each customer's `depth` best candidates of distinct offers: key down, index up.

    keys: (rows, candidates). is_open: (candidates,), the closed ones are passed over.
    taken: (rows, any), candidates whose offers the customer has already; -1 is no candidate.
    """
    rows = keys.shape[0]
    columns = np.arange(keys.shape[1]) if is_open is None else np.flatnonzero(is_open)
    # One more column and one more offer that stand for nothing: index -1 of either.
    numbers = np.append(columns, -1).astype(np.int16)
    offers = np.append(candidates.offer, -1)
    siblings = _siblings(candidates.offer[columns], candidates.offer_count)
    found = Shortlist.empty(rows, depth)
    for block in row_blocks(rows):
        work = np.full((block.stop - block.start, numbers.size), NONE, np.int32)
        work[:, :-1] = keys[block] if is_open is None else keys[block].take(columns, axis=1)
        lines = np.arange(work.shape[0])
        for had in () if taken is None else taken[block].T:
            work[lines[:, None], siblings[offers[had]]] = NONE
        for column in range(depth):
            best = work.argmax(axis=1)
            found.key[block, column] = work[lines, best]
            best[found.key[block, column] == NONE] = -1
            found.candidate[block, column] = numbers[best]
            work[lines[:, None], siblings[offers[numbers[best]]]] = NONE
    return found


def row_blocks(rows: int) -> Iterator[slice]:
    """Cut rows into slices small enough to stay in the processor's cache; at least one."""
    for start in range(0, max(rows, 1), BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def _siblings(offers: npt.NDArray[np.integer], offer_count: int) -> Int64s:
    """The columns of each offer, (offer_count + 1, widest), padded with one column past the end."""
    sizes = np.bincount(offers, minlength=offer_count + 1)
    order = np.argsort(offers, kind="stable")
    place = np.arange(offers.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.full((offer_count + 1, int(sizes.max())), offers.size, np.int64)
    table[offers[order], place] = order
    return table


class CapUse:
    """Counters of every cap of a run, and the only place that closes one.

    Caps are numbered: the offers, then the channels, then the total.
    """

    def __init__(self, candidates: Candidates, caps: Caps) -> None:
        self.candidates = candidates
        offers, channels = candidates.offer_count, candidates.channel_count
        total = np.full(candidates.offer.size, offers + channels)
        self._caps_of = np.stack([candidates.offer, candidates.channel + offers, total])
        limits = [caps.of_offer(index) for index in range(offers)]
        limits += [caps.per_channel] * channels + [caps.total]
        self._limit = np.array([_UNLIMITED if limit is None else limit for limit in limits])
        self.used = np.zeros(self._limit.size, np.int64)
        self.closed = np.zeros(self._limit.size, np.bool_)

    @property
    def is_open(self) -> Bools:
        """Which candidates no closed cap forbids."""
        return np.asarray(~self.closed[self._caps_of].any(axis=0))

    @property
    def exceeded(self) -> bool:
        return bool((self.used > self._limit).any())

    def count(self, counts: npt.NDArray[np.integer]) -> None:
        """Add a number of recommendations for each candidate, asking no cap."""
        for caps in self._caps_of:
            np.add.at(self.used, caps, counts)

    def admit(self, wanted: npt.NDArray[np.integer]) -> int:
        """Accept items, given by their open candidates in order, up to the first with a full cap.

        Returns how many were accepted. If one was turned away, its full caps are closed now.
        """
        caps = self._caps_of[:, wanted]
        demand = np.bincount(caps.ravel(), minlength=self.used.size)
        accepted = wanted.size
        for cap in np.flatnonzero(demand > self._limit - self.used):
            asking = np.flatnonzero((caps[:, :accepted] == cap).any(axis=0))
            room = self._limit[cap] - self.used[cap]
            if asking.size > room:
                accepted = int(asking[room])
        self.used += np.bincount(caps[:, :accepted].ravel(), minlength=self.used.size)
        refused = caps[:, accepted : accepted + 1]
        self.closed[refused] |= self.used[refused] == self._limit[refused]
        return accepted

    def reports(self) -> list[CapReport]:
        """Report on every cap that has a limit: the total, then offers, then channels."""
        offers, channels = np.unique(self.candidates.offer), np.unique(self.candidates.channel)
        numbered: list[tuple[Kind, int | None, int]] = [("total", None, -1)]
        numbered += [("offer", int(i), int(i)) for i in offers]
        numbered += [("channel", int(i), int(i) + self.candidates.offer_count) for i in channels]
        return [
            CapReport(kind, index, limit, int(self.used[cap]), bool(self.closed[cap]))
            for kind, index, cap in numbered
            if (limit := int(self._limit[cap])) != _UNLIMITED
        ]


def may_bind(caps: Caps, candidates: Candidates, customers: int, k: int) -> bool:
    """Tell whether any cap could turn someone away, if everyone were eligible for everything."""
    if not candidates.offer.size:
        return False
    pairs = np.unique(np.stack([candidates.channel, candidates.offer]), axis=1)
    widest = int(np.bincount(pairs[0]).max())
    most = (
        (caps.total, min(k, np.unique(candidates.offer).size)),
        *((caps.of_offer(int(index)), 1) for index in np.unique(candidates.offer)),
        (caps.per_channel, min(k, widest)),
    )
    return any(limit is not None and customers * each > limit for limit, each in most)


def exceeds(caps: Caps, candidates: Candidates, counts: npt.NDArray[np.integer]) -> bool:
    """Tell whether the uncapped solution, given as recommendations per candidate, breaks a cap.

    If it breaks none, it is the answer of every strategy: each accepts a customer's uncapped choice
    unless a cap is full before it, and as long as nothing was refused what is accepted is a part
    of the uncapped solution, so no cap is full when one of the remaining choices asks for it.
    """
    return _counted(caps, candidates, counts).exceeded


def uncapped_reports(
    caps: Caps, candidates: Candidates, counts: npt.NDArray[np.integer]
) -> list[CapReport]:
    """Report the caps of an uncapped solution that breaks none, from its counts per candidate."""
    return _counted(caps, candidates, counts).reports()


def _counted(caps: Caps, candidates: Candidates, counts: npt.NDArray[np.integer]) -> CapUse:
    use = CapUse(candidates, caps)
    use.count(counts)
    return use


class FirstCome:
    """Strategy `first_come`: serve the customers in the order they are given, best choice first.

    Where a cap is full the customer's next candidate steps in; a full total ends the run.
    """

    def __init__(self, use: CapUse, k: int) -> None:
        """use: the caps, with what others have used of them."""
        self._candidates = use.candidates
        self._k = k
        self._use = use
        self._capped_out = self._lowered = 0

    def take(self, keys: Int32s) -> Winners:
        """Serve the next customers; keys: (rows, candidates)."""
        parts = [self._serve(keys[block]) for block in row_blocks(keys.shape[0])]
        candidate = np.concatenate([part.candidate for part in parts])
        return Shortlist(candidate, np.concatenate([part.key for part in parts])).winners()

    def reports(self) -> list[CapReport]:
        return self._use.reports()

    def fates(self) -> Fates:
        return Fates(self._capped_out, self._lowered)

    def _serve(self, keys: Int32s) -> Shortlist:
        picks = shortlist(keys, self._candidates, self._k)
        wished = picks.candidate.copy()
        self._repick(keys, picks, 0, 0)
        row = column = 0
        while True:
            rows, columns = np.nonzero(picks.candidate >= 0)
            undecided = np.flatnonzero((rows > row) | (rows == row) & (columns >= column))
            rows, columns = rows[undecided], columns[undecided]
            accepted = self._use.admit(picks.candidate[rows, columns])
            if accepted == rows.size:
                break
            row, column = int(rows[accepted]), int(columns[accepted])
            self._repick(keys, picks, row, column)
        self._count_fates(wished, picks.candidate)
        return picks

    def _repick(self, keys: Int32s, picks: Shortlist, row: int, column: int) -> None:
        """Replace the picks that are closed by now, from `column` of `row` to the last row."""
        is_open = np.append(self._use.is_open, True)
        lost = ~is_open[picks.candidate]
        lost[:row] = lost[row : row + 1, :column] = False
        rows = np.flatnonzero(lost.any(axis=1))
        # A customer keeps the picks before its first lost one: they are accepted or still open.
        kept = lost[rows].argmax(axis=1)
        places = np.arange(self._k)
        had = np.where(places < kept[:, None], picks.candidate[rows], -1).astype(np.int16)
        fresh = shortlist(keys[rows], self._candidates, self._k, is_open=is_open[:-1], taken=had)
        source = np.maximum(places - kept[:, None], 0)
        for old, new in ((picks.candidate, fresh.candidate), (picks.key, fresh.key)):
            moved = np.take_along_axis(new, source, axis=1)
            old[rows] = np.where(places < kept[:, None], old[rows], moved)

    def _count_fates(self, wished: Int16s, got: Int16s) -> None:
        is_served = got[:, 0] >= 0
        self._capped_out += int(((wished[:, 0] >= 0) & ~is_served).sum())
        self._lowered += int(((wished != got).any(axis=1) & is_served).sum())
