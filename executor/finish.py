"""How a run ends: everything becomes visible in one transaction, or nothing does."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from campaigns.models import CampaignRun, RunEvent
from executor import outfile, results
from executor.contacts import History
from executor.decide import total
from executor.job import Job
from executor.manifest import load
from executor.progress import Lease
from executor.storage import Written, open_storage
from executor.summary import summarize
from kaireon.database.base import dsn

#: How often a run may be put back for a passing fault before it fails.
MAX_RETRIES = 5


def publish(job: Job, history: History) -> None:
    """Index, summary, file; then, in the transaction of the history: attach and complete.

    The file is written beforehand under a key of this attempt; its row makes it the run's file.
    """
    with job.stage("finish"):
        with psycopg.connect(dsn(), autocommit=True) as own, ThreadPoolExecutor(1) as side:
            parts = [chunk.part_key for chunk in job.chunks]
            file = side.submit(
                job.storage.write, _file_key(job), outfile.joined(job.spec, job.storage, parts)
            )
            results.build_index(own, job.lease.run_key)
            summary = _summary(own, job)
            written = file.result()
        job.lease.check()
        results.attach(history.own, job.lease.run_key)
        _record_file(history.own, job, written, summary["totalRecommendations"])
    _complete(history.own, job, summary)


def _file_key(job: Job) -> str:
    return f"runs/{job.lease.run_key}/{job.lease.token}/file.{job.spec.file.format}"


def _summary(own: psycopg.Connection, job: Job) -> dict[str, Any]:
    run = CampaignRun.unscoped.only("audience_count", "allocation_report").get(pk=job.lease.run_key)
    return summarize(
        job.plan,
        run.audience_count or 0,
        total([chunk.counts for chunk in job.chunks], job.plan),
        stored=results.count(own, job.lease.run_key),
        allocation=run.allocation_report,
    )


def _record_file(own: psycopg.Connection, job: Job, written: Written, rows: int) -> None:
    own.execute(
        "INSERT INTO campaigns_runfile"
        " (tenant_id, run_id, name, format, storage_key, size_bytes, row_count, sha256)"
        " SELECT tenant_id, id, %s || run_number || %s, %s, %s, %s, %s, %s"
        " FROM campaigns_campaignrun WHERE id = %s",
        [
            f"{outfile.file_stem(job.spec)}-run-",
            f".{job.spec.file.format}",
            job.spec.file.format,
            _file_key(job),
            written.size_bytes,
            rows,
            written.sha256,
            job.lease.run_key,
        ],
    )


COMPLETE = """
UPDATE campaigns_campaignrun
SET status = 'completed', phase = 'done', completed_at = clock_timestamp(), lease_until = NULL,
    customers_done = coalesce(audience_count, 0),
    summary = %(summary)s || jsonb_build_object('durationSeconds',
        round(extract(epoch FROM clock_timestamp() - started_at), 3))
WHERE id = %(run)s AND fencing_token = %(token)s AND status = 'running'
"""


def _complete(own: psycopg.Connection, job: Job, summary: dict[str, Any]) -> None:
    """The last statement of the run, and the one that a lost lease makes fail."""
    stages = {name: round(seconds, 3) for name, seconds in job.seconds.items()}
    done = own.execute(
        COMPLETE,
        {
            "summary": Jsonb(summary | {"stages": stages}),
            "run": job.lease.run_key,
            "token": job.lease.token,
        },
    )
    if done.rowcount != 1:
        job.lease.lose()
    own.execute(
        "INSERT INTO campaigns_runevent (run_id, kind, message, data)"
        " VALUES (%s, 'completed', '', '{}')",
        [job.lease.run_key],
    )


def fail(lease: Lease, error: str, traceback: str = "") -> None:
    """End the run as failed, with the reason; its results are dropped, never shown."""
    _end(lease, "failed", error, traceback)


def cancel(lease: Lease) -> None:
    """End the run as cancelled; what it had decided is dropped."""
    _end(lease, "cancelled", "", "")


def put_back(lease: Lease, error: str) -> None:
    """Leave the run to whoever claims it once the lease has run out; give up after some times."""
    lease.event("put back", error)
    if RunEvent.objects.filter(run_id=lease.run_key, kind="put back").count() > MAX_RETRIES:
        fail(lease, f"gave up after {MAX_RETRIES} retries: {error}")
        return
    CampaignRun.unscoped.filter(pk=lease.run_key, fencing_token=lease.token).update(
        waits_for=f"retry after {error}"[:100]
    )


END = """
UPDATE campaigns_campaignrun
SET status = %(status)s, error = %(error)s, traceback = %(traceback)s, lease_until = NULL,
    completed_at = clock_timestamp()
WHERE id = %(run)s AND fencing_token = %(token)s AND status IN ('running', 'cancelling')
"""


def _end(lease: Lease, status: str, error: str, traceback: str) -> None:
    with psycopg.connect(dsn(), autocommit=True) as own, own.transaction():
        ended = own.execute(
            END,
            {
                "status": status,
                "error": error,
                "traceback": traceback,
                "run": lease.run_key,
                "token": lease.token,
            },
        )
        if ended.rowcount != 1:
            return
        results.drop_table(own, lease.run_key)
        own.execute(
            "INSERT INTO campaigns_runevent (run_id, kind, message, data)"
            " VALUES (%s, %s, %s, '{}')",
            [lease.run_key, status, error],
        )
    storage = open_storage()
    storage.delete(
        key for chunk in load(lease.run_key) for key in (chunk.winners_key, chunk.part_key) if key
    )


def delete_scratch(job: Job) -> None:
    """Parts and spools of the attempt that finished; frozen input stays for explanations."""
    job.storage.delete(
        key for chunk in job.chunks for key in (chunk.winners_key, chunk.part_key) if key
    )
