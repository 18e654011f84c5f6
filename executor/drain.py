"""Executes whatever runs wait, in one process per host, without a broker.

A lock file, held by the process that drains, makes it one per host. Whoever wants a run executed
takes the lock and hands it to a new process, or finds it taken: then the holder will look at the
database once more after it has let go, so no committed run is missed.
"""

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import connection

from campaigns.models import CampaignRun
from executor import queue, runner, workers
from executor.crew import Crew
from executor.heartbeat import stopping

logger = logging.getLogger(__name__)

#: Seconds between two looks at what cannot be taken yet, and at how far it is.
PAUSE, PAUSE_TO_WATCH = 0.5, 0.1

#: So often a drain looks at a database that is away, before it leaves the work to the next one.
LOOKS_IN_VAIN = 120

#: A process decides with all cores anyway; more threads keep them busy while others store.
THREADS = min(4, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `done` of `total` customers of one phase (total 0: not known yet)."""

    phase: str
    done: int
    total: int


Watch = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Watch nothing."""


def drain(run_key: int | None = None) -> int:
    """Do what there is to do (for one run, or for all) until nothing of it is left.

    Returns how many runs were worked on.
    """
    crew = Crew("drain", THREADS, partial(runner.step, run_key))
    away = 0
    while True:
        try:
            workers.seen("drain")
            crew.work()
            if stopping.is_set() or not _unfinished(crew.runs):
                return len(crew.runs)
            away = 0
        except runner.CONNECTION_LOST:
            away += 1
            if stopping.is_set() or away == LOOKS_IN_VAIN:
                raise
            connection.close()
        stopping.wait(PAUSE)  # what was put back can be taken once its lease has run out


def _unfinished(run_keys: set[int]) -> bool:
    going = set(CampaignRun.UNFINISHED) - {CampaignRun.Status.PAUSED}
    return CampaignRun.unscoped.filter(pk__in=run_keys, status__in=going).exists()


def waiting() -> bool:
    """Is there anything to do that nobody does?"""
    return bool(queue.claimable(limit=1) or queue.takeable())


def lock_path() -> Path:
    settings.VAR_DIR.mkdir(exist_ok=True)
    return Path(settings.VAR_DIR / "drain.lock")


def take_lock() -> int | None:
    """The lock as an open file descriptor, or None while another process holds it."""
    descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def drain_locked(descriptor: int, work: Callable[[], int] = drain) -> int:
    """Drain under the lock; look again after letting go, for a run committed in between."""
    done, held = 0, descriptor
    while True:
        try:
            done += work()
        finally:
            os.close(held)
        again = take_lock() if waiting() and not stopping.is_set() else None
        if again is None:
            return done
        held = again


def start() -> bool:
    """Have a `manage.py drain` on this host, starting one if there is none. False if it cannot be.

    The shell in between ends at once, so the drain is init's child: no zombie, and it survives
    the web server. It inherits the lock, so there is never a moment without a holder.
    """
    descriptor = take_lock()
    if descriptor is None:
        return True
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drain"]
    command += ["--lock-fd", str(descriptor)]
    log = settings.VAR_DIR / "drain.log"
    try:
        subprocess.run(  # noqa: S603 - fixed words, no shell input from outside
            ["/bin/sh", "-c", '"$@" >>"$0" 2>&1 </dev/null &', str(log), *command],
            check=True,
            start_new_session=True,
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("no local drain could be started: %s", error)
        return False
    finally:
        os.close(descriptor)
    return True


def wait_for(run_key: int, watch: Watch = silent) -> None:
    """Execute one run, or wait while another worker does, until it is finished."""
    with ThreadPoolExecutor(1) as side:
        work = side.submit(_until_ended, run_key)
        while not work.done():
            with suppress(*runner.CONNECTION_LOST):
                watch(_progress(run_key))
            wait([work], timeout=PAUSE_TO_WATCH)
        work.result()
    watch(_progress(run_key))


def _until_ended(run_key: int) -> None:
    try:
        while not stopping.is_set():
            drain(run_key)
            with suppress(*runner.CONNECTION_LOST):
                if not _unfinished({run_key}):
                    return
            stopping.wait(PAUSE)
    finally:
        connection.close()


def _progress(run_key: int) -> Progress:
    try:
        run = CampaignRun.unscoped.only("phase", "customers_done", "audience_count").get(pk=run_key)
    except runner.CONNECTION_LOST:
        connection.close()
        raise
    return Progress(run.phase, run.customers_done, run.audience_count or 0)
