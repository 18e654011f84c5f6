"""What can break, each fault aimed at one part of the site and done by real signals."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from campaigns.management.drill import processes
from campaigns.management.drill.checks import rows
from campaigns.management.drill.patience import patiently, wait_until
from campaigns.management.drill.supervisor import Supervisor
from campaigns.models import CampaignRun

#: Seconds between two faults, and for which a frozen broker is frozen.
PAUSE, FROZEN = (0.1, 1.9), (0.5, 4.0)
#: After so many kills comes one fault of another kind.
KILLS_BETWEEN = 8
TOLD_EVERY = 10
#: Within which something is done again after a fault: all processes may have to start anew.
WORK_SECONDS = 600.0

KILL_WORKER, KILL_CHILD = "kill -9 worker", "kill -9 child process"
KILL_BEAT, KILL_WEB, KILL_REDIS = "kill -9 beat", "kill -9 web server", "kill -9 Redis"
FREEZE_REDIS, FLUSH = "freeze Redis (SIGSTOP, SIGCONT)", "FLUSHALL"
STOP_POSTGRES, KILL_POSTGRES = "PostgreSQL stopped at once", "kill -9 PostgreSQL"


@dataclass(slots=True)
class Strikes:
    """Breaks one thing after the other, chosen by the dice, and counts what was hit."""

    supervisor: Supervisor
    dice: Random
    say: Callable[[str], None]
    #: Unfinished runs at each fault, and faults by name.
    done: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    #: The work that had been done at the last fault.
    _seen: int = 0

    def kill(self, times: int) -> None:
        """Kill so many processes, each while a run is in work; other faults in between."""
        names = [*KILLS]
        weights = [weight for weight, _ in KILLS.values()]
        others = [*OTHERS]
        killed = 0
        while killed < times:
            (name,) = self.dice.choices(names, weights)
            if not self._strike(name, KILLS[name][1]):
                continue
            killed += 1
            if killed % TOLD_EVERY == 0:
                self.say(f"  {killed} of {times} killed")
            if killed % KILLS_BETWEEN == 0:
                if not others:
                    others = [*OTHERS]
                name = others.pop(self.dice.randrange(len(others)))
                self._strike(name, OTHERS[name])

    def flush(self, times: int) -> None:
        while self.done[FLUSH] < times:
            self._strike(FLUSH, flush)

    def _strike(self, name: str, fault: "Fault") -> bool:
        before = self._seen
        wait_until(lambda: seen() > before, WORK_SECONDS, "there is work done after a fault")
        time.sleep(self.dice.uniform(*PAUSE))
        running = CampaignRun.unscoped.filter(status=CampaignRun.Status.RUNNING)
        wait_until(running.exists, WORK_SECONDS, "a run is in work")
        hit = patiently(running.count)
        self._seen = patiently(seen)
        if not fault(self.supervisor, self.dice):
            return False
        self.done[name] += 1
        self.hit[name] += hit
        return True


DONE = """
SELECT (SELECT count(*) FROM campaigns_runevent)
  + (SELECT count(*) FILTER (WHERE status <> 'frozen') + count(*) FILTER (WHERE status = 'written')
     FROM campaigns_runchunk)
"""


def seen() -> int:
    """A number that grows with every step of a run and every chunk that is done."""
    ((done,),) = rows(DONE)
    return int(done)


#: Does it, and tells whether there was anything to do it to.
Fault = Callable[[Supervisor, Random], bool]


def kill_worker(supervisor: Supervisor, dice: Random) -> bool:
    """A worker of Celery, or the local drain that stands in for them while Redis is away."""
    victims = supervisor.pids("worker") + processes.drains(supervisor.sandbox.folder)
    return _kill(victims, dice)


def kill_child(supervisor: Supervisor, dice: Random) -> bool:
    """A process that serves requests for gunicorn, or works for a Celery worker that forks."""
    parents = supervisor.pids("web") + supervisor.pids("worker")
    folder = supervisor.sandbox.folder
    return _kill([pid for each in parents for pid in processes.children(folder, each)], dice)


def killer(kind: str) -> Fault:
    return lambda supervisor, dice: _kill(supervisor.pids(kind), dice)


def _kill(victims: list[int], dice: Random) -> bool:
    return bool(victims) and processes.send(dice.choice(victims), signal.SIGKILL)


def freeze_redis(supervisor: Supervisor, dice: Random) -> bool:
    """Longer and shorter than the timeouts of those who talk to it."""
    seconds = dice.uniform(*FROZEN)
    victims = supervisor.pids("redis")
    if not victims or not processes.send(victims[0], signal.SIGSTOP):
        return False
    time.sleep(seconds)
    return processes.send(victims[0], signal.SIGCONT)


def flush(supervisor: Supervisor, _: Random) -> bool:
    """Every message there is is lost."""
    client = redis.Redis.from_url(
        supervisor.sandbox.redis_url, socket_timeout=2, retry=Retry(NoBackoff(), 0)
    )
    with client:
        try:
            return bool(client.flushall())
        except redis.RedisError:
            return False


def stop_postgres(supervisor: Supervisor, _: Random) -> bool:
    """An immediate shutdown: all sessions end, nothing is written down, it recovers by its log."""
    return _signal_postgres(supervisor, signal.SIGQUIT)


def kill_postgres(supervisor: Supervisor, _: Random) -> bool:
    return _signal_postgres(supervisor, signal.SIGKILL)


def _signal_postgres(supervisor: Supervisor, number: signal.Signals) -> bool:
    pid = supervisor.sandbox.postgres.place.postmaster()
    return bool(pid) and processes.send(pid, number)


#: Name -> (how often, relatively; what it does).
KILLS: dict[str, tuple[int, Fault]] = {
    KILL_WORKER: (9, kill_worker),
    KILL_CHILD: (4, kill_child),
    KILL_BEAT: (2, killer("beat")),
    KILL_WEB: (2, killer("web")),
    KILL_REDIS: (3, killer("redis")),
}
OTHERS: dict[str, Fault] = {
    FREEZE_REDIS: freeze_redis,
    STOP_POSTGRES: stop_postgres,
    FLUSH: flush,
    KILL_POSTGRES: kill_postgres,
}
