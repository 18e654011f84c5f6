"""Measures a run that uses all the engine has: rules, policies over a history, a model, creatives.

Run it as `python benchmarks/engine.py [--customers N] [--json]`; it uses the configured database,
where its customers and their history stay for the next time. The floor is that of `make bench`: it
reads the columns of the customers and loads the results, and knows of no history; to receive the
history row by row is measured beside it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")

import django  # noqa: E402

django.setup()

import psycopg  # noqa: E402
from django.core.management import call_command  # noqa: E402
from psycopg import sql  # noqa: E402

from benchmarks.data import DATA_SCHEMA  # noqa: E402
from benchmarks.engine_data import CAMPAIGN, EngineSize, open_engine  # noqa: E402
from benchmarks.floor import encoded_results, read_floor, receive, settle, write_floor  # noqa: E402
from benchmarks.runs import execute, subject_of  # noqa: E402
from campaigns.models import Campaign, CampaignRun, RunChunk  # noqa: E402
from campaigns.services.deletion import delete_run  # noqa: E402
from executor import job, outfile, results  # noqa: E402
from executor.decide import (  # noqa: E402
    Assessed,
    choose,
    decide,
)
from executor.deliver import deliver  # noqa: E402
from executor.derive import derive  # noqa: E402
from executor.eligibility import eligible  # noqa: E402
from executor.freeze import read_chunk  # noqa: E402
from executor.scoring import score  # noqa: E402
from kaireon.database.base import dsn  # noqa: E402

ROUNDS = 2


def measure(size: EngineSize) -> dict[str, Any]:
    tenant = open_engine(size)
    campaign = Campaign.objects.of(tenant).get(name=CAMPAIGN)
    with psycopg.connect(dsn(), autocommit=True) as own:
        own.execute(f"VACUUM (ANALYZE) {DATA_SCHEMA}.{size.table}")
        own.execute("VACUUM (ANALYZE) campaigns_contact")
        runs = []
        for number in range(ROUNDS):
            settle(own)
            runs.append(execute(own, campaign))
            print(f"run {number + 1}: {runs[-1].seconds:.2f} s", file=sys.stderr)
            if number < ROUNDS - 1:
                forget(own, runs[-1].key)
        subject, floors = subject_of(runs[-1]), []
        with encoded_results(own, subject.run_key) as data:
            for _ in range(3):
                settle(own)
                table = f"bench_scratch_{subject.run_key}"
                floors.append(read_floor(own, subject) + write_floor(own, table, data))
        history = history_floor(own, tenant.pk)
        parts = by_part(subject.run_key)
        forget(own, subject.run_key)
    best, floor = min(runs, key=lambda run: run.seconds), min(floors)
    return {
        "customers": size.customers,
        "history": size.contacts,
        "floor_seconds": round(floor, 2),
        "run_seconds": best.seconds,
        "ratio": round(best.seconds / floor, 2),
        "history_read_seconds": round(history, 2),
        "ratio_with_history": round(best.seconds / (floor + history), 2),
        "customers_per_second": round(size.customers / best.seconds),
        "peak_pss_mb": round(max(run.peaks.work for run in runs) / 1e6),
        "stages": best.summary["stages"],
        "parts_of_a_chunk": parts,
        "eligible": best.summary["eligible"],
        "recommendations": best.summary["totalRecommendations"],
    }


def history_floor(own: psycopg.Connection, tenant_key: int) -> float:
    """Seconds to receive what the policies look at of each contact, in any order."""
    statement = sql.SQL(
        "COPY (SELECT customer_key, at, offer_id, channel_id FROM campaigns_contact"
        " WHERE tenant_id = {}) TO STDOUT (FORMAT binary)"
    ).format(sql.Literal(tenant_key))
    start = time.perf_counter()
    receive(own, statement)
    return time.perf_counter() - start


def forget(own: psycopg.Connection, run_key: int) -> None:
    """Remove the run with its contacts: the next one finds the same history."""
    own.execute("DELETE FROM campaigns_contact WHERE run_id = %s", [run_key])
    own.execute("VACUUM campaigns_contact")
    delete_run(CampaignRun.unscoped.get(pk=run_key))


def by_part(run_key: int) -> dict[str, float]:
    """Seconds of each part of a chunk's work, one after the other in this process."""
    chunk = RunChunk.objects.filter(run_id=run_key).earliest("number")
    work, taken = job.load(run_key), dict[str, float]()

    def timed(name: str, do: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = do()
        taken[name] = round(time.perf_counter() - start, 3)
        return found

    plan = work.plan
    frame = timed("read", lambda: read_chunk(work.storage, chunk.input_key))
    derived = timed("model", lambda: derive(plan, work.decider.models, frame))
    bits, removed = timed("rules and policies", lambda: eligible(plan, derived))
    scores, worthless = timed("score", lambda: score(plan, derived, bits))
    assessed = Assessed(bits, scores, (*removed, worthless), 0)
    winners = timed("rank", lambda: choose(work.decider, derived, assessed))
    _, counts = decide(work.decider, frame)
    delivery = timed("personalize", lambda: deliver(work, frame, winners, counts))
    rows = results.result_rows(plan, frame, delivery.winners)
    timed("file", lambda: outfile.part(work, rows, delivery))
    return taken | {"customers": chunk.customers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    result = measure(EngineSize(options.customers, 50, 3))
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:22} {value}")


if __name__ == "__main__":
    main()
