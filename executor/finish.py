"""How a run ends: everything becomes visible in one transaction, or nothing does."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from campaigns.models import CampaignRun, RunEvent
from executor import outfile, results, s3
from executor.contacts import History
from executor.decide import total
from executor.job import Job
from executor.manifest import load
from executor.progress import Lease
from executor.storage import CONTENT_TYPES, Written, open_storage
from executor.summary import summarize
from kaireon import ids
from kaireon.database.base import dsn

#: How often a run may be put back for a passing fault before it fails.
MAX_RETRIES = 5


def publish(job: Job, history: History) -> None:
    """Index, summary, file; then, in the transaction of the history: attach and complete.

    The file is written beforehand under a key of this attempt; its row makes it the run's file.
    S3 gets its copy when nothing but that transaction is left, so a retry writes it once more.
    """
    with job.stage("finish"):
        with psycopg.connect(dsn(), autocommit=True) as own, ThreadPoolExecutor(1) as side:
            parts = [chunk.part_key for chunk in job.chunks]
            file = side.submit(outfile.write, job.spec, job.storage, _file_key(job), parts)
            results.build_index(own, job.lease.run_key)
            summary = _summary(own, job)
            written = file.result()
        job.lease.check()
        run = CampaignRun.unscoped.only("run_number", "campaign_id").get(pk=job.lease.run_key)
        name = outfile.file_name(job.spec, run.run_number)
        error = _deliver(job, f"{ids.encode('Campaign', run.campaign_id)}/{name}")
        job.lease.check()
        results.attach(history.own, job.lease.run_key)
        _record_file(history.own, job, name, written, summary["totalRecommendations"])
    _complete(history.own, job, summary, error)


def _file_key(job: Job) -> str:
    return f"runs/{job.lease.run_key}/{job.lease.token}/file.{job.spec.file.format}"


def _deliver(job: Job, name: str) -> str:
    """Copy the file to S3 if the campaign says so; returns why that failed, if it did.

    `name` begins with the campaign's id: campaigns of one name and path keep their files apart.
    """
    file = job.spec.file
    if not file.s3_path:
        return ""
    allowed = CampaignRun.unscoped.values_list("tenant__s3_locations", flat=True)
    fault = s3.find_fault(file.s3_path, allowed.get(pk=job.lease.run_key))
    try:
        if fault:
            raise s3.Undelivered(fault)
        content_type = CONTENT_TYPES[file.format]
        s3.deliver(job.storage, _file_key(job), file.s3_path, name, content_type)
    except s3.Undelivered as error:
        return f"the file could not be written to {file.s3_path}: {error}"
    job.lease.event("delivered", f"{file.s3_path.rstrip('/')}/{name}")
    return ""


def _summary(own: psycopg.Connection, job: Job) -> dict[str, Any]:
    run = CampaignRun.unscoped.only("audience_count", "allocation_report").get(pk=job.lease.run_key)
    return summarize(
        job.plan,
        run.audience_count or 0,
        total([chunk.counts for chunk in job.chunks], job.plan),
        stored=results.count(own, job.lease.run_key),
        allocation=run.allocation_report,
    )


def _record_file(own: psycopg.Connection, job: Job, name: str, written: Written, rows: int) -> None:
    own.execute(
        "INSERT INTO campaigns_runfile"
        " (tenant_id, run_id, name, format, storage_key, size_bytes, row_count, sha256)"
        " SELECT tenant_id, id, %s, %s, %s, %s, %s, %s"
        " FROM campaigns_campaignrun WHERE id = %s",
        [
            name,
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
SET status = %(status)s, error = %(error)s, phase = 'done', completed_at = clock_timestamp(),
    lease_until = NULL, customers_done = coalesce(audience_count, 0),
    summary = %(summary)s || jsonb_build_object('durationSeconds',
        round(extract(epoch FROM clock_timestamp() - started_at), 3))
WHERE id = %(run)s AND fencing_token = %(token)s AND status = 'running'
"""


def _complete(own: psycopg.Connection, job: Job, summary: dict[str, Any], error: str) -> None:
    """The last statement of the run, and the one that a lost lease makes fail."""
    stages = {name: round(seconds, 3) for name, seconds in job.seconds.items()}
    status = "completed_with_errors" if error else "completed"
    done = own.execute(
        COMPLETE,
        {
            "status": status,
            "error": error,
            "summary": Jsonb(summary | {"stages": stages}),
            "run": job.lease.run_key,
            "token": job.lease.token,
        },
    )
    if done.rowcount != 1:
        job.lease.lose()
    own.execute(
        "INSERT INTO campaigns_runevent (run_id, kind, message, data) VALUES (%s, %s, %s, '{}')",
        [job.lease.run_key, status, error],
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
