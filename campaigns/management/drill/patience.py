"""Waiting for a database that may be away at any moment, and for what must become so in time."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

PAUSE = 0.1
#: Seconds within which a server that was killed has to be back.
BACK = 120.0


class NotInTime(Exception):
    """What must become so has not become so: the drill ends, and has found a fault."""


def patiently(look: Callable[[], T]) -> T:
    """Look at the database, again and again while it is away. Raises NotInTime if it stays so."""
    end = time.monotonic() + BACK
    while True:
        try:
            return look()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() > end:
                raise NotInTime(f"the database is away for {BACK:.0f} s: {error}") from error
            time.sleep(PAUSE)


def wait_until(so: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until it is so. Raises NotInTime, naming `what`, when it is not in time."""
    end = time.monotonic() + seconds
    while not patiently(so):
        if time.monotonic() > end:
            raise NotInTime(f"after {seconds:.0f} s it is still not so that {what}")
        time.sleep(PAUSE)
