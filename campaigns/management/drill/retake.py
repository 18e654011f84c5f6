"""How soon a chunk whose worker was killed is in another one's hands, by the shipped settings."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

from campaigns.management.drill.checks import Finding, rows
from campaigns.management.drill.patience import patiently, wait_until
from campaigns.management.drill.supervisor import Supervisor

#: What is promised, and after which a chunk is taken for forgotten.
PROMISED_SECONDS, FORGOTTEN_SECONDS = 30.0, 90.0
#: Seconds for statements that were on their way when their sender was stopped.
SETTLE = 0.1
WORK_SECONDS, LOOK, LEASES = 300.0, 0.01, 2

LEASED = """
SELECT id, fencing_token, status FROM campaigns_runchunk
WHERE lease_until > now() AND status IN ('frozen', 'decided')
"""
STATE = """
SELECT run_id, number, fencing_token, status FROM campaigns_runchunk WHERE id = %s
"""


@dataclass(frozen=True, slots=True)
class Retaken:
    """A chunk that a killed worker had, and when another one took it."""

    run_key: int
    chunk: int
    seconds: float


def retakes(supervisor: Supervisor, times: int, dice: Random) -> Iterator[Retaken]:
    """Kill a worker that has a chunk, again and again, and watch until the chunk is taken."""
    seen = 0
    while seen < times:
        found = list(_kill_one(supervisor, dice))
        seen += bool(found)
        yield from found


def finding(found: list[Retaken]) -> Finding:
    late = [
        f"run {one.run_key}, chunk {one.chunk} was retaken after {one.seconds:.1f} s"
        for one in found
        if one.seconds > PROMISED_SECONDS
    ]
    return Finding(f"lost chunks retaken within {PROMISED_SECONDS:.0f} s", len(found), late)


def _kill_one(supervisor: Supervisor, dice: Random) -> Iterator[Retaken]:
    """Kill one of the workers while there are chunks in work; yield those that were its own."""
    wait_until(partial(_all_live, supervisor), WORK_SECONDS, "all workers live")
    _wait_for_leases()
    with _stopped(supervisor.pids("worker")) as pids:
        time.sleep(SETTLE)
        held = {chunk: (token, status) for chunk, token, status in patiently(partial(rows, LEASED))}
        if not held or not pids:
            return
        victim = dice.choice(pids)
        killed = time.monotonic()
        os.killpg(victim, signal.SIGKILL)
    # Of the chunks in work, the living end theirs; what is left was the victim's.
    while held:
        forgotten = time.monotonic() - killed > FORGOTTEN_SECONDS
        for chunk, (token, status) in list(held.items()):
            ((run_key, number, now, is_status),) = patiently(partial(rows, STATE, chunk))
            if is_status == status and (now > token or forgotten):
                yield Retaken(run_key, number, time.monotonic() - killed)
            if is_status != status or now > token or forgotten:
                del held[chunk]
        time.sleep(LOOK)


def _all_live(supervisor: Supervisor) -> bool:
    return len(supervisor.pids("worker")) == len(supervisor.of("worker"))


def _wait_for_leases() -> None:
    """Until so many chunks are in work that the victim is likely to have one."""
    end = time.monotonic() + WORK_SECONDS
    while len(patiently(partial(rows, LEASED))) < LEASES and time.monotonic() < end:
        time.sleep(LOOK)


@contextmanager
def _stopped(pids: list[int]) -> Iterator[list[int]]:
    """Hold the processes, with their children, still for the block."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)
