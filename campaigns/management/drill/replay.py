"""What a run should have come to: decided once more over its frozen customers, undisturbed.

A run is a function of its spec and its frozen rows, and customers change all the while. So a run
over the changing table is compared with a calm one of the same spec over the very same frozen
chunks, done from the first decision to the file by one process with nobody else at work. What the
freeze itself does is compared over the table that nobody changes, with a run before the first
fault.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from campaigns.management.drill.checks import CONTACTED, Finding, Runs, name_of, rows
from campaigns.models import CampaignRun, RunChunk, RunFile
from executor import runner

TRIGGERED_BY = "replay"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two runs that decided alike have in common."""

    size: int
    sha256: str
    recommendations: int
    digest: str


def outcome(run: CampaignRun) -> Outcome:
    file = RunFile.objects.of(run.tenant_id).get(run=run)
    ((count, digest),) = rows(CONTACTED, run.pk)
    return Outcome(file.size_bytes, file.sha256, count, str(digest))


def compare_with_calm(runs: Runs, calm: Mapping[int, Outcome]) -> Finding:
    """Compare runs over the calm table with the calm outcome of the same campaign."""
    broken = [fault for run in runs for fault in _differs(run, calm[run.campaign_id])]
    return Finding("byte-identical to a calm run", len(runs), broken)


def compare_with_replay(runs: Runs) -> Finding:
    """Compare each run with its replay; only a process that is alone may do this."""
    broken = [fault for run in runs for fault in _differs(run, outcome(replay(run)))]
    return Finding("byte-identical to a replay of the frozen rows", len(runs), broken)


def _differs(run: CampaignRun, right: Outcome) -> Iterator[str]:
    found = outcome(run)
    if found != right:
        yield f"{name_of(run)} has come to {found}, undisturbed it is {right}"


def replay(run: CampaignRun) -> CampaignRun:
    """Decide and write the run once more over its frozen chunks, in this process."""
    again = _copy(run)
    while runner.execute(again.pk):
        pass
    again.refresh_from_db()
    return again


def _copy(run: CampaignRun) -> CampaignRun:
    chunks = list(run.chunks.order_by("number"))
    with transaction.atomic():
        last = run.campaign.runs.aggregate(last=Max("run_number"))["last"]
        again: CampaignRun = CampaignRun.unscoped.create(
            tenant_id=run.tenant_id,
            campaign=run.campaign,
            run_number=last + 1,
            triggered_by=TRIGGERED_BY,
            status=CampaignRun.Status.RUNNING,
            phase=CampaignRun.Phase.DECIDE if chunks else CampaignRun.Phase.ALLOCATE,
            chunks_left=len(chunks),
            started_at=Now(),
            spec=run.spec,
            audience_count=run.audience_count,
        )
        RunChunk.objects.bulk_create(
            RunChunk(
                run=again,
                number=chunk.number,
                customers=chunk.customers,
                input_key=chunk.input_key,
                input_sha256=chunk.input_sha256,
            )
            for chunk in chunks
        )
    connection.close()
    return again
