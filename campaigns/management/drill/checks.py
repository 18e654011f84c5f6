"""What must be true of every run when all is over, whatever happened: read from the database.

Each check names the run, and where there is one the customer, for which it does not hold.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import takewhile
from typing import Any

from django.db import connection
from psycopg import sql

from campaigns.models import CampaignRun, RunChunk, Tick
from campaigns.schedule import instants
from campaigns.services.schedules import schedule_of
from executor.results import PARENT as RESULTS
from executor.results import table_name


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has looked at, and each thing that it found broken."""

    name: str
    looked_at: int
    broken: list[str] = field(default_factory=list)


Runs = Sequence[CampaignRun]
Check = Callable[[Runs], Iterator[str]]


def check(runs: Runs) -> list[Finding]:
    return [Finding(name, len(runs), list(look(runs))) for name, look in CHECKS.items()]


def answered_once(runs: Runs, asked: Mapping[str, int]) -> Finding:
    """Each Idempotency-Key has a run of its own, and only the schedule makes others."""
    keys_of = Counter(asked.values())
    broken = [f"run {key} stands for {n} Idempotency-Keys" for key, n in keys_of.items() if n > 1]
    odd = (run for run in runs if run.scheduled_for is None and run.pk not in keys_of)
    broken += [f"{name_of(run)} was made for nobody's Idempotency-Key" for run in odd]
    gone = keys_of.keys() - {run.pk for run in runs}
    broken += [f"run {key}, which a caller was told of, is gone" for key in sorted(gone)]
    return Finding("one run per Idempotency-Key", len(asked), broken)


def name_of(run: CampaignRun) -> str:
    return f'run {run.run_number} ({run.public_id}) of "{run.campaign.name}"'


def rows(statement: str | sql.Composable, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def completed(runs: Runs) -> Iterator[str]:
    for run in runs:
        if run.status != CampaignRun.Status.COMPLETED:
            yield f"{name_of(run)} is {run.status} in the phase {run.phase}: {run.error}"


def one_tick_per_instant(runs: Runs) -> Iterator[str]:
    """Every instant from the first to the last has one tick, and a run if that says so."""
    for campaign in {run.campaign for run in runs if run.scheduled_for is not None}:
        ticks = list(Tick.unscoped.filter(campaign=campaign).order_by("scheduled_for"))
        ran = [tick.scheduled_for for tick in ticks if tick.outcome == Tick.Outcome.RUN]
        made = sorted(
            run.scheduled_for
            for run in runs
            if run.campaign_id == campaign.pk and run.scheduled_for
        )
        if ran != made:
            yield f'"{campaign.name}" has {len(made)} runs of {len(ran)} instants'
        at = [tick.scheduled_for for tick in ticks]
        due = instants(schedule_of(campaign), at[0] - timedelta(seconds=1))
        if list(takewhile(lambda one, last=at[-1]: one <= last, due)) != at:  # type: ignore[misc]
            yield f'"{campaign.name}" lacks instants between {at[0]} and {at[-1]}'


# A rank that is missing or stands twice makes the count of ranks differ from the highest.
RANKS = """
SELECT customer_key, count(*), max(rank) FROM campaigns_recommendation WHERE run_id = %s
GROUP BY customer_key
HAVING count(*) <> max(rank) OR count(DISTINCT rank) <> max(rank) OR min(rank) <> 1
  OR count(DISTINCT (offer_id, channel_id)) <> count(*)
LIMIT 3
"""


def once_each(runs: Runs) -> Iterator[str]:
    for run in runs:
        for customer, count, highest in rows(RANKS, run.pk):
            yield (
                f"{name_of(run)}: customer {customer} has {count} recommendations,"
                f" the highest rank being {highest}"
            )


CONTACTS = """
SELECT run_id, count(*), sum(hashtextextended(concat_ws(' ', customer_key, offer_id, channel_id,
  creative_id), 0)::numeric)
FROM campaigns_contact WHERE tenant_id = %s GROUP BY run_id
"""
CONTACTED = """
SELECT count(*), sum(hashtextextended(concat_ws(' ', customer_key, offer_id, channel_id,
  creative_id), 0)::numeric)
FROM campaigns_recommendation WHERE run_id = %s
"""
DIFFERENT = """
SELECT customer_key FROM (
  SELECT customer_key, offer_id, channel_id, 1 AS n FROM campaigns_contact WHERE run_id = %s
  UNION ALL
  SELECT customer_key, offer_id, channel_id, -1 FROM campaigns_recommendation WHERE run_id = %s
) AS each
GROUP BY customer_key, offer_id, channel_id HAVING sum(n) <> 0 LIMIT 1
"""


def contacts_are_the_results(runs: Runs) -> Iterator[str]:
    tenants = {run.tenant_id for run in runs}
    contacts = {key: tuple(rest) for tenant in tenants for key, *rest in rows(CONTACTS, tenant)}
    for run in runs:
        ((count, digest),) = rows(CONTACTED, run.pk)
        found = contacts.pop(run.pk, (0, None))
        if found != (count, digest):
            different = rows(DIFFERENT, run.pk, run.pk)
            customer = different[0][0] if different else "unknown"
            yield (
                f"{name_of(run)} has {count} recommendations and {found[0]} contacts;"
                f" they differ for customer {customer}"
            )


def adds_up(runs: Runs) -> Iterator[str]:
    """Every customer of the audience left the funnel at one line, or has recommendations."""
    for run in runs:
        summary = run.summary or {}
        removed = sum(line["removedCustomers"] for line in summary.get("funnel", []))
        served = summary.get("customersWithRecommendations", 0)
        ((total, customers),) = rows(SERVED, run.pk)
        if run.audience_count != removed + served:
            yield (
                f"{name_of(run)}: {run.audience_count} customers, but {removed} were removed"
                f" and {served} have recommendations"
            )
        if (total, customers) != (summary.get("totalRecommendations"), served):
            yield f"{name_of(run)}: the summary does not count the {total} results there are"


SERVED = """
SELECT count(*), count(DISTINCT customer_key) FROM campaigns_recommendation WHERE run_id = %s
"""


def chunks_are_written(runs: Runs) -> Iterator[str]:
    for run in runs:
        chunks = list(run.chunks.order_by("number"))
        if [chunk.number for chunk in chunks] != list(range(len(chunks))):
            yield f"{name_of(run)} lacks chunks"
        if sum(chunk.customers for chunk in chunks) != run.audience_count:
            yield f"{name_of(run)}: its chunks do not have its {run.audience_count} customers"
        for chunk in chunks:
            if chunk.status != RunChunk.Status.WRITTEN or chunk.lease_until is not None:
                yield f"{name_of(run)}: chunk {chunk.number} is {chunk.status} or still leased"


def nothing_is_held(runs: Runs) -> Iterator[str]:
    """No leases, no contacts that are not true yet, no dead letters."""
    for run in runs:
        if run.lease_until is not None:
            yield f"{name_of(run)} is still leased until {run.lease_until}"
    keys = [run.pk for run in runs]
    for (key,) in rows("SELECT run_id FROM campaigns_contacthold"):
        yield f"the contacts of run {key} are still held back"
    for key, chunk, error in rows(LETTERS, keys):
        yield f"run {key}, chunk {chunk} is a dead letter: {error}"


LETTERS = "SELECT run_id, chunk, error FROM campaigns_deadletter WHERE run_id = ANY(%s)"

TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE %s
EXCEPT
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass
"""


def no_tables_are_left(runs: Runs) -> Iterator[str]:
    """Each table of results is a partition, and belongs to a run."""
    for (table,) in rows(TABLES, f"{RESULTS}_r%", RESULTS):
        yield f"the table {table} belongs to no run that has ended"
    known = {table_name(run.pk) for run in runs}
    partitions = rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", RESULTS
    )
    for (table,) in partitions:
        known.discard(table)
    for table in sorted(known):
        yield f"the table {table} is gone"


CHECKS: dict[str, Check] = {
    "every run has completed": completed,
    "one tick and run per instant": one_tick_per_instant,
    "each customer and rank once": once_each,
    "contacts are the results": contacts_are_the_results,
    "the funnel adds up": adds_up,
    "every chunk is written once": chunks_are_written,
    "no lease, hold or dead letter": nothing_is_held,
    "no table is left over": no_tables_are_left,
}
