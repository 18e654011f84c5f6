"""The look of an idle worker at the database, so that no message is ever needed.

Every five seconds a Celery worker says that it lives and, if it has nothing to do, does what it
finds: a chunk whose worker was lost, or everything while the broker is away.
"""

import logging
import threading
from typing import Any

from celery import bootsteps
from celery.concurrency.thread import TaskPool as Threads
from celery.worker import state

from executor import runner, workers
from executor.crew import Crew
from executor.heartbeat import stopping

logger = logging.getLogger(__name__)

PAUSE = 5.0


class IdleLook(bootsteps.StartStopStep):
    """A part of the worker that starts behind its pool and stops before it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        # Only a pool of threads shares its memory with this thread; in a process that forks, the
        # column engine must not be used before the fork.
        works = isinstance(worker.pool, Threads)
        self._thread = threading.Thread(target=look, args=(works,), name="idle look", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Have whoever works return its work at the next boundary; the pool waits for them."""
        stopping.set()
        if self._thread:
            self._thread.join()

    terminate = stop


def look(works: bool) -> None:
    """Look until the process is told to end; never fail."""
    while not stopping.wait(PAUSE):
        try:
            workers.seen("worker")
            if works and not state.active_requests:
                Crew("worker", 1).work()
        except runner.CONNECTION_LOST as error:
            logger.warning("the database is away: %s", error)
        except Exception:
            logger.exception("looking for work failed")
