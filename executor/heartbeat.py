"""Leases on work: renewed in the background by whoever works, lost by whoever is gone.

Time is PostgreSQL's clock. The heartbeat has its own connection and thread, so a long statement
does not look like a lost worker.
"""

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Self

import psycopg
from django.conf import settings

from kaireon.database.base import dsn

logger = logging.getLogger(__name__)

#: Set when the process is told to end: whoever works returns its work at the next boundary.
stopping = threading.Event()


class LeaseLost(Exception):
    """Another worker has taken the work over; nothing more may be written for it."""


class Cancelled(Exception):
    """The run was asked to stop."""


class Paused(Exception):
    """The run is to go on only when it is resumed."""


class Stopped(Exception):
    """This process is told to end."""


class Heartbeat:
    """Calls `beat` every third of a lease, while the block lasts, until that returns False.

    A beat that cannot be sent is tried again with the next one: the lease covers two of them.
    Work that ends before the first beat costs no connection.
    """

    def __init__(self, what: str, beat: Callable[[psycopg.Connection], bool]) -> None:
        self._what, self._beat = what, beat
        self._stop = threading.Event()
        run = partial(copy_context().run, self._run)  # its log lines name the run too
        self._thread = threading.Thread(target=run, name=f"heartbeat {what}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = settings.KAIREON_LEASE_SECONDS / 3
        while not self._stop.wait(pause):
            try:
                with psycopg.connect(dsn(), autocommit=True) as own:
                    while self._beat(own) and not self._stop.wait(pause):
                        pass
                    return
            except psycopg.OperationalError as error:
                logger.warning("%s: heartbeat failed: %s", self._what, error)
                pause = min(1.0, pause)
