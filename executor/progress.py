"""Who works on a run, that it still does, and how far it is: lease, heartbeat, events, cancel.

Time is PostgreSQL's clock. The heartbeat has its own connection and thread, so a long statement
does not look like a lost worker.
"""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db import connection

from kaireon.database.base import dsn

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken the run over; nothing more may be written for it."""


class Cancelled(Exception):
    """The run was asked to stop."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `done` of `total` customers of one phase (total 0: not known yet)."""

    phase: str
    done: int
    total: int


Watch = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Watch nothing."""


CLAIM = """
UPDATE campaigns_campaignrun
SET status = CASE status WHEN 'cancelling' THEN status ELSE 'running' END,
    fencing_token = fencing_token + 1,
    lease_until = now() + make_interval(secs => %(lease)s),
    started_at = coalesce(started_at, now()),
    waits_for = ''
WHERE id = %(run)s
  AND (status = 'pending' OR (status IN ('running', 'cancelling')
       AND (lease_until IS NULL OR lease_until < now())))
RETURNING fencing_token, status
"""

BEAT = """
UPDATE campaigns_campaignrun
SET lease_until = now() + make_interval(secs => %(lease)s), customers_done = %(done)s
WHERE id = %(run)s AND fencing_token = %(token)s AND status IN ('running', 'cancelling')
RETURNING status
"""

CANCELLING = """
SELECT 1 FROM campaigns_campaignrun
WHERE id = %(run)s AND fencing_token = %(token)s AND status = 'cancelling'
"""


def claim(run_key: int, watch: Watch = silent) -> "Lease | None":
    """Take a pending or abandoned run by compare-and-set; None if somebody else has it."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, {"run": run_key, "lease": settings.KAIREON_LEASE_SECONDS})
        row = cursor.fetchone()
    lease = Lease(run_key, row[0], watch) if row else None
    if lease and row[1] == "cancelling":
        lease._cancelled.set()  # not only at the first heartbeat: a small run ends before it
    return lease


@dataclass(slots=True)
class Lease:
    """The right to work on a run, renewed in the background while the `with` block lasts."""

    run_key: int
    token: int
    watch: Watch = silent
    done: int = 0
    total: int = 0
    phase: str = "claim"
    _lost: threading.Event = field(default_factory=threading.Event)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost or Cancelled if the run is no longer ours to work on."""
        if self._lost.is_set():
            raise LeaseLost(f"run {self.run_key} was taken over from token {self.token}")
        if self._cancelled.is_set():
            raise Cancelled(f"run {self.run_key} was cancelled")

    def enter(self, phase: str, total: int = 0) -> None:
        """Record the phase of the run and start counting its customers."""
        self.check()
        self.phase, self.done, self.total = phase, 0, total
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE campaigns_campaignrun SET phase = %s, customers_done = 0"
                " WHERE id = %s AND fencing_token = %s",
                [phase, self.run_key, self.token],
            )
            if cursor.rowcount != 1:
                self._lost.set()
        self.check()
        self.watch(Progress(phase, 0, total))

    def report(self, customers: int) -> None:
        """Say how many customers of the phase are done."""
        self.done = customers
        self.watch(Progress(self.phase, customers, self.total))

    def lose(self) -> None:
        """Stop working: a write was refused, as the run is cancelled or somebody else's by now."""
        with psycopg.connect(dsn(), autocommit=True) as own:
            found = own.execute(CANCELLING, {"run": self.run_key, "token": self.token}).fetchone()
        (self._cancelled if found else self._lost).set()
        self.check()

    def event(self, kind: str, message: str = "", **data: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO campaigns_runevent (run_id, kind, message, data)"
                " VALUES (%s, %s, %s, %s)",
                [self.run_key, kind, message, json.dumps(data)],
            )

    def _beat(self) -> None:
        """Renew the lease every third of its length until stopped, lost or cancelled.

        A beat that cannot be sent is tried again with the next one: the lease covers two of them.
        """
        address = dsn()
        while not self._lost.is_set() and not self._stop.is_set():
            try:
                with psycopg.connect(address, autocommit=True) as own:
                    self._beat_on(own)
            except psycopg.OperationalError as error:
                logger.warning("run %s: heartbeat failed: %s", self.run_key, error)
                self._stop.wait(1)

    def _beat_on(self, own: psycopg.Connection) -> None:
        """Beat on one connection for as long as it holds."""
        seconds = settings.KAIREON_LEASE_SECONDS
        values = {"run": self.run_key, "token": self.token, "lease": seconds}
        while not self._stop.wait(seconds / 3):
            row = own.execute(BEAT, {**values, "done": self.done}).fetchone()
            if row is None:
                self._lost.set()
                return
            if row[0] == "cancelling":
                self._cancelled.set()
