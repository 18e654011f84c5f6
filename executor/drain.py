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
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

from campaigns.models import CampaignRun
from executor import runner
from executor.progress import Watch, silent

logger = logging.getLogger(__name__)

#: Seconds between two looks at a run that cannot be claimed yet.
PAUSE = 0.5

CLAIMABLE = """
SELECT id FROM campaigns_campaignrun
WHERE status IN ('pending', 'running', 'cancelling')
  AND (status = 'pending' OR lease_until IS NULL OR lease_until < now())
ORDER BY created_at, id
"""


def claimable() -> list[int]:
    """Runs nobody works on, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIMABLE)
        return [row[0] for row in cursor.fetchall()]


def drain(watch: Watch = silent) -> int:
    """Execute waiting runs until there are none. Returns how many were worked on."""
    done, begun = 0, set[int]()
    while True:
        for key in claimable():
            begun.add(key)
            done += runner.execute(key, watch)
        if not _unfinished(begun):
            return done
        time.sleep(PAUSE)  # a run that was put back can be claimed once its lease has run out


def _unfinished(run_keys: set[int]) -> bool:
    runs = CampaignRun.unscoped.filter(pk__in=run_keys, status__in=CampaignRun.UNFINISHED)
    return bool(runs.exists())


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
        again = take_lock() if claimable() else None
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
    while True:
        runner.execute(run_key, watch)
        status = CampaignRun.unscoped.values_list("status", flat=True).get(pk=run_key)
        if status not in CampaignRun.UNFINISHED:
            return
        time.sleep(PAUSE)
