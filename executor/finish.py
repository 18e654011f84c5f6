"""How a run ends: everything becomes visible in one transaction, or nothing does."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from campaigns.models import CampaignRun, RunChunk, RunFile
from executor import contacts, outfile, results, s3
from executor.allocation import uncapped_reports
from executor.decide import total
from executor.deliver import total_undelivered
from executor.errors import Unavailable
from executor.estimate import estimated
from executor.job import Job
from executor.manifest import Chunk, load
from executor.progress import EVENT, Lease
from executor.storage import CONTENT_TYPES, Written
from executor.summary import cap_lines, summarize
from kaireon import ids
from kaireon.database.base import dsn

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """What the run comes to."""

    run: CampaignRun
    summary: dict[str, Any]
    file_name: str
    #: None of a dry run.
    file: Written | None
    #: Why part of it could not be done; empty if all was.
    error: str


def publish(lease: Lease, job: Job) -> None:
    """Index, summary, file; then, in one transaction: attach, contacts, and the run's end.

    The file is written beforehand under a key of this attempt; its row makes it the run's file.
    S3 gets its copy when nothing but that transaction is left, so a retry writes it once more.
    """
    run = CampaignRun.unscoped.defer("spec").get(pk=lease.run_key)
    chunks = load(lease.run_key)
    with psycopg.connect(dsn(), autocommit=True) as own:
        ending = _prepare(own, lease, job, run, chunks)
        lease.check()
        replaced = [file.storage_key for file in RunFile.objects.of(run.tenant_id).filter(run=run)]
        with own.transaction():
            _show(own, lease, job, ending)
            _complete(own, lease, job, ending)
    logger.info("the run is completed%s", ending.error and f" with errors: {ending.error}")
    try:
        job.storage.delete(replaced)
        _delete_scratch(job, chunks, _file_key(lease, job))
    except Unavailable as error:
        logger.warning("the run has left its scratch: %s", error)


def _prepare(
    own: psycopg.Connection, lease: Lease, job: Job, run: CampaignRun, chunks: Sequence[Chunk]
) -> Ending:
    """Do all that may be done before anything is visible."""
    written = [chunk for chunk in chunks if chunk.status == RunChunk.Status.WRITTEN]
    with ThreadPoolExecutor(1) as side:
        parts = [chunk.part_key for chunk in written]
        file = side.submit(_write_file, lease, job, parts)
        if not run.reopened:
            results.build_index(own, run.pk)
        summary = _summary(own, job, run, written)
        whole = file.result()
    lease.check()
    name = outfile.file_name(job.spec, run.run_number)
    given_up = [chunk.customers for chunk in chunks if chunk.status == RunChunk.Status.DEAD]
    faults = [
        f"{len(given_up)} of {len(chunks)} chunks with {sum(given_up)} customers were given up"
        if given_up
        else "",
        _undelivered(summary),
        _deliver(lease, job, f"{ids.encode('Campaign', run.campaign_id)}/{name}"),
    ]
    return Ending(run, summary, name, whole, "; ".join(filter(None, faults)))


def _undelivered(summary: dict[str, Any]) -> str:
    count = summary.get("deliveryErrors", {}).get("count", 0)
    return f"{count} recommendations could not be delivered" if count else ""


def _write_file(lease: Lease, job: Job, parts: Sequence[str]) -> Written | None:
    if job.is_dry:
        return None
    return outfile.write(job, _file_key(lease, job), parts)


def _file_key(lease: Lease, job: Job) -> str:
    return f"runs/{lease.run_key}/{lease.token}/file.{job.spec.file.format}"


def _deliver(lease: Lease, job: Job, name: str) -> str:
    """Copy the file to S3 if the campaign says so; returns why that failed, if it did.

    `name` begins with the campaign's id: campaigns of one name and path keep their files apart.
    """
    file = job.spec.file
    if job.is_dry or not file.s3_path:
        return ""
    allowed = CampaignRun.unscoped.values_list("tenant__s3_locations", flat=True)
    fault = s3.find_fault(file.s3_path, allowed.get(pk=lease.run_key))
    try:
        if fault:
            raise s3.Undelivered(fault)
        content_type = CONTENT_TYPES[file.format]
        s3.deliver(job.storage, _file_key(lease, job), file.s3_path, name, content_type)
    except s3.Undelivered as error:
        return f"the file could not be written to {file.s3_path}: {error}"
    lease.event("delivered", f"{file.s3_path.rstrip('/')}/{name}")
    return ""


def _summary(
    own: psycopg.Connection, job: Job, run: CampaignRun, written: Sequence[Chunk]
) -> dict[str, Any]:
    stored = results.count(own, run.pk)
    if run.reopened:
        late = results.count(own, run.pk, run.reopened)
        stored = (stored[0] + late[0], stored[1] + late[1])
    audience = run.audience_count or 0
    parts = [chunk.counts for chunk in written]
    counts = total(parts, job.plan) | {"undelivered": total_undelivered(parts)}
    summary = summarize(
        job.plan,
        audience,
        counts,
        given_up=audience - sum(chunk.customers for chunk in written),
        stored=stored,
        caps=_caps(job, run, np.array(counts["candidates"])),
    )
    sample = job.spec.sample
    if sample is not None:
        summary["estimate"] = estimated(
            summary, sample.population, job.plan.k, job.whole_caps, _of_offers(job)
        )
    return summary


def _of_offers(job: Job) -> dict[str, int | None]:
    """How often a whole run gives each offer at most."""
    offers = enumerate(job.plan.offers)
    return {ids.encode("Offer", one.key): job.whole_caps.of_offer(n) for n, one in offers}


def _caps(job: Job, run: CampaignRun, won: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The caps after allocation, and how far what was written uses them.

    What a chunk that was given up later had been allotted is nobody's.
    """
    if run.allocation_report is None:
        return []
    used = cap_lines(
        job.plan, uncapped_reports(job.caps, job.candidates, won), job.spec.caps.per_offer
    )
    lines = zip(run.allocation_report["caps"], used, strict=True)
    return [{**line, "used": now["used"]} for line, now in lines]


def _show(own: psycopg.Connection, lease: Lease, job: Job, ending: Ending) -> None:
    run = ending.run
    if run.reopened:
        # Policies count contacts by the day on which they are made, which may not be the run's.
        at = None if run.has_policies else run.contacts_at
        if not job.is_dry:
            contacts.add_late(own, job, at or contacts.make_ready(own), run.reopened)
        results.merge(own, run.pk, run.reopened)
    else:
        results.attach(own, run.pk)
    contacts.make_true(own, run.pk)
    own.execute("DELETE FROM campaigns_runfile WHERE run_id = %s", [run.pk])
    if ending.file is None:
        return
    own.execute(
        "INSERT INTO campaigns_runfile"
        " (tenant_id, run_id, name, format, storage_key, size_bytes, row_count, sha256)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            run.tenant_id,
            run.pk,
            ending.file_name,
            job.spec.file.format,
            _file_key(lease, job),
            ending.file.size_bytes,
            ending.summary["totalRecommendations"],
            ending.file.sha256,
        ],
    )


COMPLETE = """
UPDATE campaigns_campaignrun
SET status = %(status)s, error = %(error)s, phase = 'done', completed_at = clock_timestamp(),
    lease_until = NULL, customers_done = coalesce(audience_count, 0), waits_for = '',
    summary = %(summary)s || jsonb_build_object('durationSeconds',
        round(extract(epoch FROM clock_timestamp() - started_at) - %(idle)s, 3))
WHERE id = %(run)s AND fencing_token = %(token)s AND status = 'running'
"""


def _complete(own: psycopg.Connection, lease: Lease, job: Job, ending: Ending) -> None:
    """The last statement of the run, and the one that a lost lease makes fail."""
    status = "completed_with_errors" if ending.error else "completed"
    stages, idle = _seconds(own, lease.run_key)
    done = own.execute(
        COMPLETE,
        {
            "status": status,
            "error": ending.error,
            "summary": Jsonb(ending.summary | {"stages": stages}),
            "idle": idle,
            "run": lease.run_key,
            "token": lease.token,
        },
    )
    if done.rowcount != 1:
        lease.lose()
    own.execute(EVENT, [lease.run_key, status, ending.error, "{}"])


SECONDS = """
SELECT message, sum(extract(epoch FROM coalesce(next, clock_timestamp()) - at)) AS seconds
FROM (SELECT CASE kind WHEN 'phase' THEN message END AS message, at,
        lead(at) OVER (ORDER BY id) AS next
      FROM campaigns_runevent
      WHERE run_id = %(run)s AND kind IN ('phase', 'paused', 'completed_with_errors')
        AND id >= (SELECT min(id) FROM campaigns_runevent
                   WHERE run_id = %(run)s AND kind = 'phase')) AS phases
GROUP BY message ORDER BY min(at)
"""


def _seconds(own: psycopg.Connection, run_key: int) -> tuple[dict[str, float], Decimal]:
    """Seconds the run has spent in each phase, in the order in which it came to them.

    And those since the first in which it was not to be worked on: paused, or ended and not yet
    taken up again.
    """
    spent: dict[str | None, Decimal] = dict(own.execute(SECONDS, {"run": run_key}).fetchall())
    idle = spent.pop(None, Decimal(0))
    return {phase: round(float(seconds), 3) for phase, seconds in spent.items() if phase}, idle


def _delete_scratch(job: Job, chunks: Sequence[Chunk], file_key: str) -> None:
    """Delete parts and spools, unless chunks that were given up may be retried and need them.

    Spools that allocation has replaced and what lost attempts left go too. Frozen input stays for
    explanations.
    """
    if all(chunk.status == RunChunk.Status.WRITTEN for chunk in chunks):
        kept = {file_key, *(chunk.input_key for chunk in chunks)}
        job.storage.delete_under(f"runs/{job.run_key}", kept)
