"""Messages to the broker, sent without ever waiting long for it.

Timeouts of sockets are not enough: they cover neither the look-up of a name nor a broker that
answers each question just in time. So a thread of its own sends, and is left alone when it takes
too long; what it was to say is in the database.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

logger = logging.getLogger(__name__)

#: Seconds that the caller waits, whatever the broker does.
PATIENCE = 1.5
#: Threads that may be stuck in a broker that does not answer; while so many are, none is begun.
MOST_STUCK = 32
#: A connection from the pool may be older than the broker: what fails at once is tried again.
ATTEMPTS = 2

_free = threading.Semaphore(MOST_STUCK)


def send(publish: Callable[[], object], *, times: int = 1) -> int:
    """Call `publish` so many times, and return after `PATIENCE` at the latest.

    Returns how many calls have succeeded by then: fewer than `times` if the broker fails.
    """
    if not _free.acquire(blocking=False):
        return 0
    sending = _Sending(publish, times)
    run = partial(copy_context().run, sending.run)  # its log lines belong to the caller's
    thread = threading.Thread(target=run, name="messages", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # the machine has no thread left, or the process ends
        _free.release()
        logger.warning("no thread to speak to the broker: %s", error)
        return 0
    thread.join(PATIENCE)
    return sending.sent


class _Sending:
    def __init__(self, publish: Callable[[], object], times: int) -> None:
        self._publish, self._times = publish, times
        self._until = time.monotonic() + PATIENCE
        self.sent = 0

    def run(self) -> None:
        try:
            while self.sent < self._times and time.monotonic() < self._until:
                self._try()
                self.sent += 1
        except Exception as error:  # whatever it is, the work does not depend on it
            logger.warning("the broker takes no messages: %s: %s", type(error).__name__, error)
        finally:
            _free.release()

    def _try(self) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                self._publish()
            except Exception:
                if not left or time.monotonic() > self._until - PATIENCE / 2:
                    raise
            else:
                return
