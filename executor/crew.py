"""The threads of one process that do whatever there is to do."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from executor import runner, workers
from executor.heartbeat import stopping

logger = logging.getLogger(__name__)

#: Seconds after which an idle thread looks again: another process may have opened a phase.
LOOK_AGAIN = 0.5


class Crew:
    """Threads that work until none of them finds anything to do."""

    def __init__(
        self, kind: str, threads: int, step: Callable[[], int | None] = runner.step
    ) -> None:
        """kind: of the process, as it is listed among the workers."""
        self._kind, self._threads, self._step = kind, threads, step
        self._busy = threads
        self._changed = threading.Condition()
        #: The runs that were worked on.
        self.runs: set[int] = set()

    def work(self) -> None:
        """Return when nothing is to be done any more, or the process is told to end."""
        self._busy = self._threads
        with ThreadPoolExecutor(self._threads, thread_name_prefix="crew") as pool:
            for future in [pool.submit(self._member) for _ in range(self._threads)]:
                future.result()

    def _member(self) -> None:
        try:
            while not stopping.is_set():
                run_key = self._try()
                if run_key is not None:
                    self._note(run_key)
                elif not self._wait():
                    return
        except BaseException:
            with self._changed:
                self._busy -= 1
            raise
        finally:
            connection.close()

    def _try(self) -> int | None:
        try:
            run_key = self._step()
            if run_key is not None:
                workers.worked(self._kind)
            return run_key
        except runner.CONNECTION_LOST as error:
            logger.warning("the database is away: %s", error)
            connection.close()
            stopping.wait(1)
            return None

    def _note(self, run_key: int) -> None:
        with self._changed:
            self.runs.add(run_key)
            self._changed.notify_all()

    def _wait(self) -> bool:
        """Wait until somebody has done something; False once nobody is doing anything."""
        with self._changed:
            self._busy -= 1
            if self._busy:
                self._changed.wait(LOOK_AGAIN)
            if not self._busy:
                self._changed.notify_all()
                return False
            self._busy += 1
            return True
