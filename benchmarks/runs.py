"""Runs of the bench tenant: executed as in real life, watched, and removed without a trace."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError
from psycopg import errors, sql

from benchmarks.memory import Peaks, postmaster_of, watch_memory
from campaigns.models import Campaign, CampaignRun, RunChunk, RunFile
from executor import results
from executor.contacts import PARENT as CONTACTS
from executor.flow.plan import Plan
from executor.planning import decider_of
from executor.spec import RunSpec
from executor.storage import open_storage
from kaireon.access.models import Tenant


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A finished run: `seconds` from claim to completion, `wall` with the start of the process.

    `cpu` is the seconds of processor time that our process used, PostgreSQL's not included.
    """

    key: int
    seconds: float
    wall: float
    cpu: float
    peaks: Peaks
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What the run decided from, for whoever does the same in another way."""

    run_key: int
    plan: Plan
    view: str
    key_column: str


def subject_of(run: MeasuredRun) -> Subject:
    spec = RunSpec.from_json(CampaignRun.unscoped.values_list("spec", flat=True).get(pk=run.key))
    plan = decider_of(spec, open_storage()).plan
    return Subject(run.key, plan, spec.view, spec.key_column)


def execute(own: psycopg.Connection, campaign: Campaign) -> MeasuredRun:
    """Run the campaign in a process of its own, as a local drain would, and measure it."""
    last = campaign.runs.order_by("-run_number").values_list("run_number", flat=True).first()
    # Inserted, not requested: nobody is woken who would execute it in our stead.
    run = CampaignRun.unscoped.create(
        tenant_id=campaign.tenant_id, campaign=campaign, run_number=(last or 0) + 1
    )
    postmaster = postmaster_of(own)
    start, cpu_before = time.perf_counter(), _cpu_of_children()
    with subprocess.Popen(  # noqa: S603 - fixed words
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "drain", "--run", str(run.pk)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        with watch_memory(child.pid, postmaster) as peaks:
            _, said = child.communicate()
        wall = time.perf_counter() - start
    run.refresh_from_db()
    if run.status != CampaignRun.Status.COMPLETED:
        raise CommandError(f"run {run.pk} is {run.status}: {run.error}\n{said.decode()}")
    return MeasuredRun(
        run.pk,
        seconds=run.summary["durationSeconds"],
        wall=wall,
        cpu=_cpu_of_children() - cpu_before,
        peaks=peaks,
        summary=run.summary,
    )


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def remove_runs(own: psycopg.Connection, tenant: Tenant) -> None:
    """Remove the tenant's runs with results, files and contacts: the next run starts as the first.

    Rows of other tenants are never touched.
    """
    runs = CampaignRun.objects.of(tenant)
    keys = list(runs.values_list("pk", flat=True))
    for key in keys:
        results.drop_table(own, key)
    _remove_objects(keys)
    runs.delete()
    remove_contacts(own, tenant.pk)


def remove_contacts(own: psycopg.Connection, tenant_key: int) -> None:
    """Remove the tenant's contacts, and what would slow down those that follow."""
    for partition in _partitions(own):
        _remove_from(own, partition, tenant_key)


def _remove_objects(run_keys: list[int]) -> None:
    names: list[str] = []
    chunks = RunChunk.objects.filter(run__in=run_keys)
    for row in chunks.values_list("input_key", "winners_key", "part_key"):
        names += filter(None, row)
    names += RunFile.unscoped.filter(run__in=run_keys).values_list("storage_key", flat=True)
    open_storage().delete(names)


def _partitions(own: psycopg.Connection) -> list[sql.Identifier]:
    rows = own.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = %s::regclass ORDER BY relname",
        [CONTACTS],
    )
    return [sql.Identifier(name) for (name,) in rows]


def _remove_from(own: psycopg.Connection, partition: sql.Identifier, tenant: int) -> None:
    """Empty the partition if it is the tenant's alone, else delete its rows."""
    if not _has_contacts(own, partition, tenant, "="):
        return
    try:
        with own.transaction():
            if not _has_contacts(own, partition, tenant, "<>"):
                own.execute("SET LOCAL lock_timeout = '1s'")
                own.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(partition))
                # Somebody may have got contacts before the lock was ours.
                if not _has_contacts(own, partition, tenant, "<>"):
                    own.execute(sql.SQL("TRUNCATE {}").format(partition))
                    return
    except errors.LockNotAvailable:
        pass
    own.execute(sql.SQL("DELETE FROM {} WHERE tenant_id = %s").format(partition), [tenant])
    own.execute(sql.SQL("VACUUM {}").format(partition))


def _has_contacts(
    own: psycopg.Connection, partition: sql.Identifier, tenant: int, comparison: str
) -> bool:
    statement = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE tenant_id {} %s)")
    found = own.execute(statement.format(partition, sql.SQL(comparison)), [tenant]).fetchone()
    return found == (True,)
