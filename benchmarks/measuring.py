"""Everything `manage.py bench` measures, in order, in one invocation."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.core.management.base import CommandError
from psycopg import sql

from benchmarks import one_statement, python_loop
from benchmarks.comparison import Comparison, compare
from benchmarks.data import DATA_SCHEMA, TOPS, Size, campaign_of, open_tenant
from benchmarks.floor import Floor, encoded_results, read_floor, settle, write_floor
from benchmarks.outputs import time_outputs
from benchmarks.runs import MeasuredRun, Subject, execute, remove_runs, subject_of
from campaigns.models import Campaign
from kaireon.access.models import Tenant
from kaireon.database.base import dsn

FLOORS = 3
RUNS = 2
SAMPLE = 20_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure, and whether the last run stays."""

    size: Size
    sql: bool = True
    loop: bool = True
    keep: bool = False


def measure(wanted: Wanted, say: Say) -> dict[str, Any]:
    """Build the data if need be, measure top 1 and top 3, and clean up. `say` gets what is done.

    Raises CommandError when a run fails, when another way decides otherwise than the run, and
    when another bench of this size is at work.
    """
    size = wanted.size
    with psycopg.connect(dsn(), autocommit=True) as own, _alone(own, size):
        say(f"data: {size.customers:,} customers, {size.offers} offers, {size.channels} channels")
        tenant = open_tenant(size)
        remove_runs(own, tenant)
        own.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(DATA_SCHEMA, size.table)))
        before = os.getloadavg()[0]
        results = [_measure_top(own, wanted, tenant, top, say) for top in TOPS]
        if not wanted.keep:
            remove_runs(own, tenant)
        machine = _machine(own, before)
    first, *others = results
    more = {f"top{top}": result for top, result in zip(TOPS[1:], others, strict=True)}
    return {
        "customers": size.customers,
        "offers": size.offers,
        "channels": size.channels,
        **first,
        **more,
        "machine": machine,
    }


@contextmanager
def _alone(own: psycopg.Connection, size: Size) -> Iterator[None]:
    """Hold a lock on this size for as long as the connection lasts."""
    found = own.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [size.slug]).fetchone()
    if found != (True,):
        raise CommandError(f"another bench of {size.slug} is at work on this database")
    yield


def _measure_top(
    own: psycopg.Connection, wanted: Wanted, tenant: Tenant, top: int, say: Say
) -> dict[str, Any]:
    campaign, runs = campaign_of(tenant, top), list[MeasuredRun]()
    for number in range(RUNS):
        remove_runs(own, tenant)
        settle(own)
        runs.append(execute(own, campaign))
        say(f"top {top}, run {number + 1}: {runs[-1].seconds:.2f} s {runs[-1].summary['stages']}")
    subject = subject_of(runs[-1])
    floors = _floors(own, subject, say)
    result = _describe(runs, floors, wanted.size) | {"sql_seconds": None}
    if wanted.sql:
        result |= _by_sql(own, subject, campaign, say)
    loop = _by_loop(own, subject, wanted.size, say) if wanted.loop else None
    return {**result, "python_loop_seconds": loop}


def _floors(own: psycopg.Connection, subject: Subject, say: Say) -> list[Floor]:
    floors = []
    with encoded_results(own, subject.run_key) as data, _scratch(own, subject) as table:
        for number in range(FLOORS):
            settle(own)
            floors.append(Floor(read_floor(own, subject), write_floor(own, table, data)))
            say(f"floor {number + 1}: {floors[-1].read:.2f} + {floors[-1].write:.2f} s")
    return floors


def _describe(runs: list[MeasuredRun], floors: list[Floor], size: Size) -> dict[str, Any]:
    floor = min(floors, key=lambda round: round.total)
    run = min(runs, key=lambda run: run.seconds)
    return {
        "floor_seconds": round(floor.total, 3),
        "run_seconds": run.seconds,
        "ratio": round(run.seconds / floor.total, 3),
        "customers_per_second": round(size.customers / run.seconds),
        "wall_seconds": round(min(run.wall for run in runs), 3),
        "peak_rss_bytes": max(run.peaks.work for run in runs),
        "bench_rss_bytes": max(run.peaks.bench for run in runs),
        "postgres_rss_bytes": max(run.peaks.server for run in runs) or None,
        "stages": run.summary["stages"],
        "eligible": run.summary["eligible"],
        "recommendations": run.summary["totalRecommendations"],
        "floors": [{"read": round(f.read, 3), "write": round(f.write, 3)} for f in floors],
        "runs": [
            {
                "seconds": run.seconds,
                "wall": round(run.wall, 3),
                "cpu": round(run.cpu, 3),
                "stages": run.summary["stages"],
            }
            for run in runs
        ],
    }


def _by_sql(
    own: psycopg.Connection, subject: Subject, campaign: Campaign, say: Say
) -> dict[str, Any]:
    """Seconds of the hand-written and of the generated statement, and of contacts and file."""
    seconds = []
    with _scratch(own, subject) as table:
        for statement in one_statement.run_statements(own, subject, table):
            say(f"SQL, {statement.name}: {statement.seconds:.2f} s")
            _check(statement.name, compare(own, subject.run_key, table))
            seconds.append(round(statement.seconds, 3))
        outputs = time_outputs(own, campaign, table)
        say(f"SQL, contacts and file: {outputs:.2f} s")
    by_hand, generated = seconds
    return {
        "sql_seconds": by_hand,
        "generated_sql_seconds": generated,
        "sql_outputs_seconds": round(outputs, 3),
    }


def _by_loop(own: psycopg.Connection, subject: Subject, size: Size, say: Say) -> float:
    """Seconds of the loop for all customers, reckoned from a sample."""
    with _scratch(own, subject) as table, psycopg.connect(dsn(), autocommit=True) as reader:
        loop = python_loop.run_loop(reader, own, subject, table=table, sample=SAMPLE)
        say(f"Python loop: {loop.seconds:.2f} s for {loop.customers:,} customers")
        _check("the Python loop", compare(own, subject.run_key, table, loop.last_key))
    return round(loop.seconds * size.customers / loop.customers, 3)


def _check(name: str, found: Comparison) -> None:
    if not found.is_equal:
        raise CommandError(f"{name} decides otherwise than the run: {found}")


@contextmanager
def _scratch(own: psycopg.Connection, subject: Subject) -> Iterator[str]:
    """The name of a table that is gone afterwards."""
    name = f"bench_scratch_{subject.run_key}"
    try:
        yield name
    finally:
        own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


def _machine(own: psycopg.Connection, load_before: float) -> dict[str, Any]:
    """Where it was measured, and how busy it was besides: the load before and after."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "postgresql": own.info.parameter_status("server_version"),
        "load": [round(load_before, 2), round(os.getloadavg()[0], 2)],
    }
