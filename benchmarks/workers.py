"""Measures how much faster the chunks of a run are done by two worker processes than by one.

Run it as `python benchmarks/workers.py [--customers N] [--rounds N] [--json]`; it uses the
configured database, where its customers stay for the next time, and a Valkey of its own. Each
round freezes one run for each way and measures the time in which its chunks are decided and
written: from the first that is taken to the last that is done.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")
PORT = 16379
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{PORT}/0"

import django  # noqa: E402

django.setup()

import psycopg  # noqa: E402
from django.core.management import call_command  # noqa: E402

from benchmarks.data import Size, campaign_of, open_tenant  # noqa: E402
from benchmarks.floor import settle  # noqa: E402
from benchmarks.memory import postmaster_of  # noqa: E402
from benchmarks.runs import remove_runs  # noqa: E402
from campaigns.management.drill.sandbox import valkey_server  # noqa: E402
from campaigns.models import CampaignRun, RunChunk, RunEvent, Worker  # noqa: E402
from campaigns.services.schedules import database_now  # noqa: E402
from executor import ahead, runner, tasks  # noqa: E402
from kaireon.access.models import Tenant  # noqa: E402
from kaireon.database.base import dsn  # noqa: E402

#: Name of a way -> worker processes, each with one thread for all; 0: one local drain.
WAYS = {"1 worker": 1, "2 workers": 2, "drain": 0}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    #: Seconds of processor time meanwhile.
    postgres: float
    workers: float


def measure(tenant: Tenant, own: psycopg.Connection, way: str) -> Measured:
    """Have the chunks of a run done in this way; workers, who live long, are warm by then."""
    with ExitStack() as stack:
        log = stack.enter_context(Path(os.devnull).open("wb"))
        workers = [stack.enter_context(worker(log)) for _ in range(WAYS[way])]
        wait_until(lambda: Worker.objects.filter(kind="worker").count() >= len(workers))
        for _ in range(2 if workers else 1):
            run = frozen_run(tenant, own)
            if workers:
                tasks.dispatch()
            working = workers or [stack.enter_context(drain(run.pk, log))]
            measured = watch(run, working, postmaster_of(own) or 0)
    Worker.objects.all().delete()
    return measured


def watch(run: CampaignRun, workers: list[subprocess.Popen[bytes]], postmaster: int) -> Measured:
    """Measure from the first chunk that is taken to the last that is done; let the run end."""
    wait_until(RunChunk.objects.filter(run=run, attempts__gt=0).exists)
    begun = database_now()
    server, used = cpu_of_family(postmaster), sum(map(cpu_of, workers))
    written = RunEvent.objects.filter(run=run, kind="phase", message="finish")
    wait_until(written.exists, pause=0.1)  # to look costs what is measured
    measured = Measured(
        (written.get().at - begun).total_seconds(),
        cpu_of_family(postmaster) - server,
        sum(map(cpu_of, workers)) - used,
    )
    wait_until(lambda: has_ended(run), pause=0.1)
    return measured


def frozen_run(tenant: Tenant, own: psycopg.Connection) -> CampaignRun:
    """A run whose customers are frozen, and none of whose chunks is decided yet."""
    remove_runs(own, tenant)
    settle(own)
    run = CampaignRun.unscoped.create(
        tenant=tenant, campaign=campaign_of(tenant, top=1), run_number=1
    )
    ahead.WAITING = 0  # what was decided while others were frozen would be nobody's work
    runner.advance(run.pk)
    return run


def has_ended(run: CampaignRun) -> bool:
    run.refresh_from_db(fields=["status", "error"])
    if run.status == CampaignRun.Status.FAILED:
        sys.exit(f"the run failed: {run.error}")
    return run.status == CampaignRun.Status.COMPLETED


@contextmanager
def process(words: list[str], log: Any, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - fixed words
        words, cwd=ROOT, env=os.environ | env, stdout=log, stderr=log
    ) as child:
        yield child
        child.terminate()


def worker(log: Any) -> Any:
    queues = ["-Q", "control,files,chunks", "--pool", "threads", "--concurrency", "1"]
    words = [sys.executable, "-m", "celery", "-A", "kaireon", "worker", *queues]
    name = f"bench-{time.monotonic_ns()}@%h"
    return process([*words, "--hostname", name], log, POLARS_MAX_THREADS="1")


def drain(run_key: int, log: Any) -> Any:
    words = [sys.executable, str(ROOT / "manage.py"), "drain", "--run", str(run_key)]
    return process(words, log, REDIS_URL="")


@contextmanager
def broker(folder: str) -> Iterator[None]:
    words = [str(valkey_server()), "--port", str(PORT), "--save", "", "--dir", folder]
    with process(words, subprocess.DEVNULL):
        yield


def wait_until(true: Callable[[], bool], pause: float = 0.01) -> None:
    while not true():
        time.sleep(pause)


def cpu_of(child: subprocess.Popen[bytes] | int) -> float:
    """Seconds of processor time of a process, its ended children included."""
    key = child if isinstance(child, int) else child.pid
    try:
        fields = Path(f"/proc/{key}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def cpu_of_family(parent: int) -> float:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return cpu_of(parent) + sum(cpu_of(int(child)) for child in children)


def report(found: dict[str, list[Measured]]) -> dict[str, Any]:
    best = {way: min(rounds, key=lambda one: one.seconds) for way, rounds in found.items()}
    one, two, drained = (best[way] for way in WAYS)
    return {
        "seconds": {way: round(measured.seconds, 3) for way, measured in best.items()},
        "all": {way: [round(m.seconds, 3) for m in rounds] for way, rounds in found.items()},
        "twoOverOne": round(one.seconds / two.seconds, 3),
        "twoOverDrain": round(drained.seconds / two.seconds, 3),
        "postgresShareOfCpu": {
            way: round(m.postgres / (m.postgres + m.workers), 3) for way, m in best.items()
        },
        "coresBusy": {
            way: round((m.postgres + m.workers) / m.seconds, 2) for way, m in best.items()
        },
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    call_command("migrate", verbosity=0)
    tenant = open_tenant(Size(given.customers, offers=50, channels=3))
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    with (
        TemporaryDirectory() as folder,
        broker(folder),
        psycopg.connect(dsn(), autocommit=True) as own,
    ):
        for _ in range(given.rounds):
            for way, rounds in found.items():
                rounds.append(measure(tenant, own, way))
                print(f"{way}: {rounds[-1]}", file=sys.stderr)
        remove_runs(own, tenant)
    print(json.dumps(report(found), indent=2))


if __name__ == "__main__":
    main()
