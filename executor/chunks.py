"""One chunk of a run in work: taken under a lease, done, put back, or given up.

What a chunk wrote and that it is done are one transaction, which only the holder of the chunk's
fencing token can commit, and only while the run is in the phase it was taken in. So a worker that
was thought dead writes nothing, and whoever does the last chunk opens the next phase.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from executor.heartbeat import Heartbeat, LeaseLost
from executor.progress import record
from executor.queue import TAKEABLE

#: A chunk is given up after so many errors, waiting longer before each new attempt,
MAX_FAULTS = 5
#: or when so many workers were lost over it.
MAX_ATTEMPTS = 10
MAX_WAIT_SECONDS = 60
#: After which a chunk is tried again that could not be done because the storage was away.
AWAY_SECONDS = 10

TAKE = f"""
WITH next AS (
  SELECT chunk.id, run.phase, run.reopened, run.contacts_at
  FROM campaigns_runchunk AS chunk JOIN campaigns_campaignrun AS run ON run.id = chunk.run_id
  WHERE {TAKEABLE} AND (%(run)s::bigint IS NULL OR run.id = %(run)s)
  ORDER BY run.priority DESC, chunk.number, run.created_at, run.id
  LIMIT 1 FOR UPDATE OF chunk SKIP LOCKED
)
UPDATE campaigns_runchunk AS chunk
SET fencing_token = chunk.fencing_token + 1, attempts = chunk.attempts + 1,
    lease_until = now() + make_interval(secs => %(lease)s)
FROM next WHERE chunk.id = next.id
RETURNING chunk.id, chunk.run_id, chunk.number, next.phase, chunk.fencing_token, chunk.status,
  chunk.customers, chunk.input_key, chunk.winners_key, chunk.attempts, next.reopened,
  next.contacts_at, chunk.counts
"""  # noqa: S608 - constants of ours

BEAT = """
UPDATE campaigns_runchunk SET lease_until = now() + make_interval(secs => %(lease)s)
WHERE id = %(chunk)s AND fencing_token = %(token)s AND lease_until IS NOT NULL
"""

DONE = """
UPDATE campaigns_runchunk
SET status = %(to)s, counts = %(counts)s, winners_key = %(winners)s, part_key = %(part)s,
    lease_until = NULL, not_before = NULL
WHERE id = %(chunk)s AND fencing_token = %(token)s AND status = %(from)s
"""

# Last in the transaction: all workers of the run meet at this row.
COUNT = """
UPDATE campaigns_campaignrun
SET chunks_left = chunks_left - 1, customers_done = customers_done + %(customers)s, waits_for = '',
    phase = CASE WHEN chunks_left > 1 THEN phase WHEN phase = 'decide' THEN 'allocate'
            ELSE 'finish' END
WHERE id = %(run)s AND phase = %(phase)s AND status IN ('running', 'paused') AND chunks_left > 0
RETURNING chunks_left, phase
"""

FAULT = """
UPDATE campaigns_runchunk
SET faults = faults + 1, lease_until = NULL,
    not_before = clock_timestamp()
        + make_interval(secs => least(%(longest)s, 2 * power(4, faults)))
WHERE id = %(chunk)s AND fencing_token = %(token)s
RETURNING faults
"""

# It is nobody's fault: neither the chunk's nor that of the worker that had it.
POSTPONE = """
UPDATE campaigns_runchunk
SET attempts = attempts - 1, lease_until = NULL,
    not_before = clock_timestamp() + make_interval(secs => %(pause)s)
WHERE id = %(chunk)s AND fencing_token = %(token)s
"""

WAITS = """
UPDATE campaigns_campaignrun SET waits_for = %(why)s
WHERE id = %(run)s AND status = 'running'
"""

RELEASE = """
UPDATE campaigns_runchunk SET lease_until = NULL WHERE id = %(chunk)s AND fencing_token = %(token)s
"""

BURY = """
UPDATE campaigns_runchunk SET status = 'dead', lease_until = NULL
WHERE id = %(chunk)s AND fencing_token = %(token)s
"""

LETTER = """
INSERT INTO campaigns_deadletter
  (tenant_id, topic, run_id, chunk, customers, attempts, error, traceback)
SELECT tenant_id, 'campaign_chunks', id, %(number)s, %(customers)s, %(attempts)s, %(error)s,
  %(traceback)s
FROM campaigns_campaignrun WHERE id = %(run)s
"""


@dataclass(slots=True)
class TakenChunk:
    """A chunk that is ours until the lease runs out; `phase` says what is to be done to it."""

    key: int
    run_key: int
    number: int
    phase: str
    token: int
    status: str
    customers: int
    input_key: str
    winners_key: str
    attempts: int
    #: How often the run was opened again, and the instant of its contacts.
    reopened: int
    contacts_at: datetime
    #: As `decide.decide` returns them; empty before.
    counts: dict[str, Any]

    @property
    def folder(self) -> str:
        """Where this attempt stores what it makes."""
        return f"c{self.token}"

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease while the block lasts."""
        with Heartbeat(f"run {self.run_key} chunk {self.number}", self._beat):
            yield

    def done(
        self, to: str, *, counts: dict[str, Any], winners_key: str = "", part_key: str = ""
    ) -> None:
        """Note in the caller's transaction that the chunk is done; raises LeaseLost if not ours."""
        values = {"counts": Jsonb(counts), "winners": winners_key, "part": part_key}
        self._change(DONE, {"to": to, "from": self.status, **values})
        self._count(self.customers)

    def fail(self, error: str, traceback: str) -> None:
        """Have the chunk tried again later, or give it up after too many errors."""
        with transaction.atomic():
            faults = self._change(FAULT, {"longest": MAX_WAIT_SECONDS})
            if faults >= MAX_FAULTS:
                self._bury(error, traceback)
            else:
                why = f"chunk {self.number} is tried again after attempt {self.attempts}: {error}"
                record(self.run_key, "chunk put back", why)

    def postpone(self, error: str) -> None:
        """Have the chunk tried again later, however often."""
        with transaction.atomic():
            self._change(POSTPONE, {"pause": AWAY_SECONDS})
            why = f"chunk {self.number} to be tried again after: {error}"
            self._execute(WAITS, {"why": why[:100]})

    def give_up(self) -> None:
        """Give up a chunk over which one worker after the other was lost."""
        with transaction.atomic():
            self._bury(f"the worker was lost {MAX_ATTEMPTS} times over it", "")

    def release(self) -> None:
        """Leave the chunk to whoever looks next."""
        self._execute(RELEASE, {})

    def _bury(self, error: str, traceback: str) -> None:
        """Leave the chunk to somebody who reads why; the run goes on without it."""
        self._change(BURY, {})
        told = {"error": error, "traceback": traceback, "attempts": self.attempts}
        place = {"number": self.number, "customers": self.customers}
        self._execute(LETTER, told | place)
        record(self.run_key, "chunk failed", f"chunk {self.number} was given up: {error}")
        self._count(0)

    def _count(self, customers: int) -> None:
        """Count the chunk off; the last one opens the next phase."""
        row = self._execute(COUNT, {"customers": customers, "phase": self.phase})
        if row is None:
            raise LeaseLost(f"run {self.run_key} has left the phase {self.phase}")
        if row[0] == 0:
            record(self.run_key, "phase", row[1])

    def _change(self, statement: str, values: dict[str, Any]) -> Any:
        """Change the chunk's row if it is still ours; return what the statement returns."""
        with connection.cursor() as cursor:
            cursor.execute(statement, {"chunk": self.key, "token": self.token, **values})
            if cursor.rowcount != 1:
                raise LeaseLost(f"chunk {self.number} of run {self.run_key} was taken over")
            return cursor.fetchone()[0] if cursor.description else None

    def _execute(self, statement: str, values: dict[str, Any]) -> Any:
        known = {"chunk": self.key, "token": self.token, "run": self.run_key}
        with connection.cursor() as cursor:
            cursor.execute(statement, known | values)
            return cursor.fetchone() if cursor.description else None

    def _beat(self, own: psycopg.Connection) -> bool:
        values = {"chunk": self.key, "token": self.token, "lease": settings.KAIREON_LEASE_SECONDS}
        return own.execute(BEAT, values).rowcount == 1


def take(run_key: int | None = None) -> TakenChunk | None:
    """Take the most urgent chunk (of one run, or of all); None if there is none to take.

    Higher priority first; among equals the run that has got least so far, so that a small run is
    not stuck behind a big one.
    """
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"run": run_key, "lease": settings.KAIREON_LEASE_SECONDS})
        row = cursor.fetchone()
    if row is None:
        return None
    values = [*row[:-1], json.loads(row[-1])]
    return TakenChunk(*values)
