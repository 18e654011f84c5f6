"""The look of an idle worker at the database, so that no message is ever needed.

Every five seconds a Celery worker says that it lives and, if it has nothing to do, does what it
finds: a chunk whose worker was lost, or everything while the broker is away.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.concurrency.thread import TaskPool as Threads
from celery.worker import state
from django.db import connection

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
        self._threads: list[threading.Thread] = []

    def start(self, worker: Any) -> None:
        # Apart from the looking, which lasts as long as there is work: the sign of life must not.
        loops = [show_life]
        # Only a pool of threads shares its memory with this thread; in a process that forks, the
        # column engine must not be used before the fork.
        if isinstance(worker.pool, Threads):
            loops.append(look)
        self._threads = [
            threading.Thread(target=repeat, args=[loop], name=f"idle {loop.__name__}", daemon=True)
            for loop in loops
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        """Have whoever works return its work at the next boundary; the pool waits for them."""
        stopping.set()
        for thread in self._threads:
            thread.join()

    terminate = stop


def show_life() -> None:
    workers.seen("worker")


def look() -> None:
    """Do what there is to do, if no message has given this process anything."""
    if not state.active_requests:
        Crew("worker", 1).work()


def repeat(step: Callable[[], None]) -> None:
    """Take the step until the process is told to end; never fail."""
    while not stopping.wait(PAUSE):
        try:
            step()
        except runner.CONNECTION_LOST as error:
            logger.warning("the database is away: %s", error)
            connection.close()  # the next look makes a new one
        except Exception:
            logger.exception("looking for work failed")
    connection.close()
