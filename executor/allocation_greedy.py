"""Strategy `score`: the best item of the whole run first, exactly, in bounded memory.

The (customer, candidate) items of all chunks are decided in the order key down, tie hash up,
customer up, candidate up. Pure NumPy; matrices are read chunk by chunk, again where needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from executor.allocation import (
    NONE,
    Bools,
    CapReport,
    CapUse,
    Fates,
    Int32s,
    Int64s,
    Shortlist,
    Winners,
    row_blocks,
    shortlist,
)

Positions = npt.NDArray[np.uint64]
Matrix = Callable[[int], tuple[Int32s, Positions]]
"""chunk number -> keys (rows, candidates), tie hash (rows,); the same at every call."""

SPARE = 6
WINDOW_CUSTOMERS = 16_384
_END = np.uint64(np.iinfo(np.uint64).max)
_TOP_KEY = np.int64(np.iinfo(np.int32).max)
_CLOSED, _OPEN, _UNSURE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Plan:
    """What some customers would pick under the caps open now, from their shortlists.

    picked and position: (customers, depth). blind: (customers,), from this position on a customer
    may have picks that its shortlist does not show.
    """

    picked: Bools
    position: Positions
    blind: Positions


class Greedy:
    """Decide all items of a run in one global order.

    Items are decided in windows of that order. Within a window the tentative picks of its
    customers are right up to the first one that a full cap turns away; those before it are final,
    the cap closes, and only the customers whose picks come later choose again. A choice made again
    never comes earlier, so a decided item stays decided: one round per window and per cap.

    A customer is remembered by its k + spare next candidates of distinct offers. When these run
    out, or hide another channel of an offer whose channel has closed, its chunk is read again for
    all customers still waiting: at most once per closed channel and once per spare + 1 closed
    offers. Bytes per customer: 6 x (k + spare) + 8 x k + 16, and 16 more while sorting.
    """

    def __init__(
        self,
        use: CapUse,
        k: int,
        *,
        rows: Sequence[int],
        matrix: Matrix,
        spare: int = SPARE,
        window: int = WINDOW_CUSTOMERS,
    ) -> None:
        """use: the caps, with what others have used of them. rows: customers of each chunk.

        spare: candidates remembered beyond k.
        Neither spare nor window (customers decided together) nor the chunks change the result.
        """
        self._candidates = use.candidates
        self._k = k
        self._matrix = matrix
        self._depth = k + spare
        self._window = window
        self._use = use
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(rows, np.int64))])
        self._status = np.empty(0, np.int8)
        self._look_at_caps()
        customers = int(self._starts[-1])
        self._listed = Shortlist.empty(customers, self._depth)
        self._won = Shortlist.empty(customers, k)
        self._won_count = np.zeros(customers, np.int16)
        self._at = np.zeros(customers, np.int16)
        # Nothing undecided of a customer comes before its head.
        self._head = np.zeros(customers, np.uint64)
        self._tie = np.empty(customers, np.uint32)
        self._wished = np.empty((0, k), np.int16)

    def run(self) -> None:
        """Decide every item; reads each chunk once, and again as rarely as the class says."""
        hashes = np.concatenate(
            [np.empty(0, np.uint64), *(self._read(chunk) for chunk in range(len(self._starts) - 1))]
        )
        self._tie[np.argsort(hashes, kind="stable")] = np.arange(hashes.size, dtype=np.uint32)
        self._wished = self._listed.candidate[:, : self._k].copy()
        self._advance(np.arange(hashes.size))
        while (self._status == _OPEN).any() and (self._head != _END).any():
            self._decide(self._window_end())

    def winners(self, chunk: int) -> Winners:
        """The recommendations of one chunk, once `run` is done."""
        rows = slice(self._starts[chunk], self._starts[chunk + 1])
        return Shortlist(self._won.candidate[rows], self._won.key[rows]).winners()

    def reports(self) -> list[CapReport]:
        return self._use.reports()

    def fates(self) -> Fates:
        """Count the customers of all chunks the caps cost something, once `run` is done."""
        is_served = self._won_count > 0
        capped_out = (self._wished[:, 0] >= 0) & ~is_served
        lowered = (self._wished != self._won.candidate).any(axis=1) & is_served
        return Fates(int(capped_out.sum()), int(lowered.sum()))

    def _read(self, chunk: int) -> Positions:
        """List the open candidates of the chunk's waiting customers anew; give its tie hashes."""
        keys, hashes = self._matrix(chunk)
        start, stop = self._starts[chunk], self._starts[chunk + 1]
        is_open = self._use.is_open
        waiting = np.flatnonzero(self._head[start:stop] != _END)
        for block in row_blocks(waiting.size):
            rows = waiting[block]
            fresh = shortlist(
                keys[rows],
                self._candidates,
                self._depth,
                is_open=is_open,
                taken=self._won.candidate[start + rows],
            )
            self._listed.candidate[start + rows] = fresh.candidate
            self._listed.key[start + rows] = fresh.key
            self._at[start + rows] = 0
        return hashes

    def _window_end(self) -> np.uint64:
        """The position before which no more customers than fit a window have anything to decide."""
        heads = self._head[self._head != _END]
        if heads.size <= self._window:
            return _END
        return np.uint64(np.partition(heads, self._window)[self._window])

    def _decide(self, end: np.uint64) -> None:
        """Make every item before this position final."""
        customers = np.flatnonzero(self._head < end)
        while customers.size:
            plan = self._plan(customers)
            is_blind = plan.blind < end
            if is_blind.any():
                self._read_again(customers[is_blind])
                plan = self._plan(customers)
            row, column = np.nonzero(plan.picked & (plan.position < end))
            order = np.argsort(plan.position[row, column], kind="stable")
            row, column = row[order], column[order]
            accepted = self._use.admit(self._listed.candidate[customers[row], column])
            self._grant(customers, row[:accepted], column[:accepted])
            if accepted < row.size:
                self._look_at_caps()
                waiting = np.flatnonzero(self._head != _END)
                self._advance(waiting[self._is_past(waiting)])
            self._advance(customers)
            customers = customers[self._head[customers] < end]

    def _is_past(self, customers: Int64s) -> Bools:
        """Whose list, where it is read now, shows a candidate that is closed or won."""
        now = self._listed.candidate[customers, self._at[customers]]
        return np.asarray(self._status[now] == _CLOSED)

    def _advance(self, customers: Int64s) -> None:
        """Read the lists on to the first candidate that may still be won; set the heads there.

        A full list is never left: behind its end are candidates it does not show.
        """
        moving = customers
        while moving.size:
            at = self._at[moving]
            can_move = (at < self._depth - 1) & (self._listed.key[moving, at] != NONE)
            moving = moving[can_move & self._is_past(moving)]
            self._at[moving] += 1
        key = self._listed.key[customers, self._at[customers]]
        is_over = (key == NONE) | (self._won_count[customers] == self._k)
        self._head[customers] = np.where(is_over, _END, _position(key, self._tie[customers]))

    def _plan(self, customers: Int64s) -> _Plan:
        status = self._status[self._listed.candidate[customers]]
        keys = self._listed.key[customers]
        position = _position(keys, self._tie[customers, None])
        is_unsure = status == _UNSURE
        picked = (status == _OPEN) & ~np.logical_or.accumulate(is_unsure, axis=1)
        room = self._k - self._won_count[customers]
        picked &= picked.cumsum(axis=1) <= room[:, None]
        is_unsure[:, -1] |= keys[:, -1] != NONE
        is_blind = is_unsure.any(axis=1) & (picked.sum(axis=1) < room)
        edge = position[np.arange(customers.size), is_unsure.argmax(axis=1)]
        return _Plan(picked, position, np.where(is_blind, edge, _END))

    def _read_again(self, customers: Int64s) -> None:
        for chunk in np.unique(np.searchsorted(self._starts, customers, side="right") - 1):
            self._read(int(chunk))

    def _grant(self, customers: Int64s, row: Int64s, column: Int64s) -> None:
        """Move these accepted items from the lists to the winners, in each customer's order."""
        granted = np.zeros((customers.size, self._depth), np.bool_)
        granted[row, column] = True
        row, column = np.nonzero(granted)
        owner = customers[row]
        place = self._won_count[owner] + granted.cumsum(axis=1)[row, column] - 1
        self._won.candidate[owner, place] = self._listed.candidate[owner, column]
        self._won.key[owner, place] = self._listed.key[owner, column]
        self._won_count[customers] += granted.sum(axis=1)
        # The key stays: it tells whether the list was full, and where it ended.
        self._listed.candidate[owner, column] = -1

    def _look_at_caps(self) -> None:
        """Note which candidates are open; the last status is that of no candidate, -1."""
        offer, is_open = self._candidates.offer, self._use.is_open
        has_other = np.zeros(self._candidates.offer_count, np.bool_)
        has_other[offer[is_open]] = True
        closed = np.where(has_other[offer], _UNSURE, _CLOSED)
        self._status = np.append(np.where(is_open, _OPEN, closed), _CLOSED).astype(np.int8)


def _position(keys: Int32s, tie: npt.NDArray[np.uint32]) -> Positions:
    """Where items stand in the order of all items; equal only within one customer."""
    return (_TOP_KEY - keys).astype(np.uint64) << np.uint64(32) | tie
