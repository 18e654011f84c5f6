"""Decides chunks while the next ones are still being frozen, as far as there is time.

The freeze waits for the database most of the time, so deciding costs it little. Nothing is true
before the manifest is committed: a freeze that ends early leaves only objects nobody names.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import polars as pl

from executor.decide import decide
from executor.job import Job
from executor.manifest import Decided
from executor.spool import spool

#: Chunks that may wait to be decided; the freeze is never held up for more.
WAITING = 2


class DecideAhead:
    """Shown each chunk by the freeze; after the block, `decided` has those it found time for."""

    def __init__(self, job: Job, token: int) -> None:
        self._job, self._token = job, token
        self._thread = ThreadPoolExecutor(1)
        self._futures: dict[int, Future[Decided]] = {}
        self.decided: dict[int, Decided] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            self.decided = {number: future.result() for number, future in self._futures.items()}

    def look(self, number: int, frame: pl.DataFrame) -> pl.DataFrame:
        """Decide the chunk soon, unless too many wait already; the rows stay as they are."""
        if sum(not future.done() for future in self._futures.values()) < WAITING:
            self._futures[number] = self._thread.submit(self._decide, number, frame)
        return frame

    def _decide(self, number: int, frame: pl.DataFrame) -> Decided:
        winners, counts = decide(self._job.decider, frame)
        return Decided(spool(self._job, str(self._token), number, "winners", winners), counts)
