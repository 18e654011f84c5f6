"""Who does the present step of a run, that it still does, and how far it is.

Freeze, allocate and finish are such steps; between them the chunks are worked on under leases of
their own (`executor.chunks`).
"""

import json
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db import connection, transaction

from campaigns.models.turn import TURN_LOCK, applies
from executor.heartbeat import Cancelled, Heartbeat, LeaseLost, Paused, Stopped, stopping
from executor.queue import CLAIMABLE
from kaireon.database.base import dsn

CLAIM = f"""
UPDATE campaigns_campaignrun AS run
SET status = CASE status WHEN 'cancelling' THEN status ELSE 'running' END,
    fencing_token = fencing_token + 1,
    lease_until = now() + make_interval(secs => %(lease)s),
    started_at = coalesce(started_at, now()),
    has_policies = {applies("run")},
    policy_turn = policy_turn OR status <> 'cancelling' AND phase = 'claim' AND NOT dry_run
      AND {applies("run")},
    waits_for = ''
WHERE id = %(run)s AND {CLAIMABLE}
RETURNING fencing_token, status
"""  # noqa: S608 - a constant of ours

# Only a first step needs a turn; PostgreSQL looks at the rows anew once it has the lock.
LOCK = """
SELECT pg_advisory_xact_lock(%(lock)s, (tenant_id %% 2147483648)::int)
FROM campaigns_campaignrun WHERE id = %(run)s AND phase = 'claim'
"""

BEAT = """
UPDATE campaigns_campaignrun
SET lease_until = now() + make_interval(secs => %(lease)s), customers_done = %(done)s
WHERE id = %(run)s AND fencing_token = %(token)s AND status IN ('running', 'paused', 'cancelling')
RETURNING status
"""

STATUS = """
SELECT status FROM campaigns_campaignrun WHERE id = %(run)s AND fencing_token = %(token)s
"""

RELEASE = """
UPDATE campaigns_campaignrun SET lease_until = NULL
WHERE id = %(run)s AND fencing_token = %(token)s
"""

EVENT = """
INSERT INTO campaigns_runevent (run_id, at, kind, message, data)
VALUES (%s, clock_timestamp(), %s, %s, %s)
"""


def claim(run_key: int) -> "Lease | None":
    """Take a run whose next step is to be done by compare-and-set; None if it is not ours."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, {"run": run_key, "lock": TURN_LOCK})
        cursor.execute(CLAIM, {"run": run_key, "lease": settings.KAIREON_LEASE_SECONDS})
        row = cursor.fetchone()
    if row is None:
        return None
    lease = Lease(run_key, row[0])
    if row[1] == "cancelling":
        lease.told(row[1])  # not only at the first heartbeat: a small run ends before it
    return lease


def record(run_key: int, kind: str, message: str = "", **data: Any) -> None:
    """Add an event to the run's."""
    with connection.cursor() as cursor:
        cursor.execute(EVENT, [run_key, kind, message, json.dumps(data)])


@dataclass(slots=True)
class Lease:
    """The right to do a step of a run, renewed in the background while the `with` block lasts."""

    run_key: int
    token: int
    #: Customers of the phase that are done.
    done: int = 0
    _lost: threading.Event = field(default_factory=threading.Event)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _paused: threading.Event = field(default_factory=threading.Event)
    _heartbeat: Heartbeat | None = None

    def __enter__(self) -> Self:
        self._heartbeat = Heartbeat(f"run {self.run_key}", self._beat).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._heartbeat:
            self._heartbeat.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raise why the run is no longer ours to work on, if it is not."""
        if self._lost.is_set():
            raise LeaseLost(f"run {self.run_key} was taken over from token {self.token}")
        if self._cancelled.is_set():
            raise Cancelled(f"run {self.run_key} was cancelled")
        if self._paused.is_set():
            raise Paused(f"run {self.run_key} is paused")
        if stopping.is_set():
            raise Stopped("this process is told to end")

    def lose(self) -> None:
        """Stop working: a write was refused, as the run is stopped or somebody else's by now."""
        with psycopg.connect(dsn(), autocommit=True) as own:
            row = own.execute(STATUS, {"run": self.run_key, "token": self.token}).fetchone()
        self.told(row[0] if row else None)
        if not (self._cancelled.is_set() or self._paused.is_set()):
            self._lost.set()
        self.check()

    def told(self, status: str | None) -> None:
        """Take note of the run's status; None: the run is not ours any more."""
        if status is None:
            self._lost.set()
        elif status == "cancelling":
            self._cancelled.set()
        elif status == "paused":
            self._paused.set()

    def release(self) -> None:
        """Leave the run to whoever looks next."""
        with connection.cursor() as cursor:
            cursor.execute(RELEASE, {"run": self.run_key, "token": self.token})

    def event(self, kind: str, message: str = "", **data: Any) -> None:
        record(self.run_key, kind, message, **data)

    def _beat(self, own: psycopg.Connection) -> bool:
        seconds = settings.KAIREON_LEASE_SECONDS
        values = {"run": self.run_key, "token": self.token, "lease": seconds, "done": self.done}
        row = own.execute(BEAT, values).fetchone()
        self.told(row[0] if row else None)
        return row is not None
