"""Stores decided chunks while the next ones are being decided.

A chunk's results, its counts and its step in the manifest are one transaction. Its file part is
written before, under a key of this attempt; its contacts join the transaction that ends the run.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg

from executor import manifest, outfile, results
from executor.allocation import Winners
from executor.contacts import History
from executor.job import Job
from executor.manifest import Chunk
from executor.results import ResultRows
from kaireon.database.base import dsn

#: Chunks that may wait to be stored: enough to keep both sides busy, few enough for the memory.
WAITING = 2


class Writer:
    """One thread for results, one for contacts, each with its own connection."""

    def __init__(self, job: Job, history: History) -> None:
        self._job, self._history = job, history
        self._results, self._contacts = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._own = psycopg.connect(dsn(), autocommit=True)
        # A chunk that a crashed server forgets is as if never stored; the run's last commit waits.
        self._own.execute("SET synchronous_commit = off")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._results.shutdown(cancel_futures=error is not None)
        self._contacts.shutdown(cancel_futures=error is not None)
        self._own.close()
        if error is None:
            self._settle(leaving=0)

    def store(
        self, chunk: Chunk, frame: pl.DataFrame, winners: Winners, counts: dict[str, Any]
    ) -> None:
        """Store a chunk's winners soon; a failure is raised here or on leaving the block."""
        self._settle(leaving=2 * WAITING)
        rows = results.result_rows(self._job.plan, frame, winners)
        part = self._results.submit(outfile.part, self._job.spec, self._job.plan, rows, winners)
        self._waiting.append(self._results.submit(self._store, chunk, rows, part, counts))
        self._waiting.append(self._contacts.submit(self._history.add, rows))

    def _store(
        self, chunk: Chunk, rows: ResultRows, part: Future[bytes], counts: dict[str, Any]
    ) -> None:
        job = self._job
        part_key = job.key("part", chunk.number)
        job.storage.put(part_key, part.result())
        with self._own.transaction():
            results.copy(
                self._own,
                results.table_name(job.lease.run_key),
                results.COLUMNS,
                results.encode(rows, job.lease.run_key, chunk.number),
            )
            taken = manifest.step(
                self._own, job.lease, chunk, "written", counts=counts, part_key=part_key
            )
            if not taken:
                job.lease.lose()
        job.lease.report(job.lease.done + chunk.customers)

    def _settle(self, *, leaving: int) -> None:
        """Wait until at most `leaving` pieces of work are left; raises what they raised."""
        while len(self._waiting) > leaving:
            self._waiting.popleft().result()
