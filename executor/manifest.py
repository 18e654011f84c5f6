"""The chunks of a run in the database, and from which phase to which the run goes.

A phase is entered only by the holder of the run's fencing token, in the same transaction as what
the step before it found out. So a repeated or stale step writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from campaigns.models import CampaignRun, RunChunk
from executor.freeze import FrozenChunk
from executor.progress import Lease
from executor.queue import CHUNK_PHASES


@dataclass(frozen=True, slots=True)
class Chunk:
    number: int
    customers: int
    input_key: str
    status: str
    winners_key: str
    part_key: str
    counts: dict[str, Any]


def load(run_key: int) -> list[Chunk]:
    rows = RunChunk.objects.filter(run_id=run_key).order_by("number")
    return [
        Chunk(
            row.number,
            row.customers,
            row.input_key,
            row.status,
            row.winners_key,
            row.part_key,
            row.counts,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Decided:
    """A chunk's uncapped winners, spooled under a key, and its counts."""

    winners_key: str
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """What comes next, and how many chunks it has to do."""

    name: str
    chunks: int = 0
    #: Customers of chunks that have all phases behind them.
    done: int = 0


def commit(
    lease: Lease, frozen: Sequence[FrozenChunk], decided: Mapping[int, Decided], then: Phase
) -> None:
    """Make the freeze true: the chunks, the audience and the next phase, at once.

    `decided` has the chunks, by number, that were decided meanwhile.
    """
    with transaction.atomic():
        enter(lease, then, audience_count=sum(chunk.customers for chunk in frozen))
        RunChunk.objects.bulk_create(
            _row(lease, chunk, decided.get(chunk.number)) for chunk in frozen
        )


def _row(lease: Lease, chunk: FrozenChunk, decided: Decided | None) -> RunChunk:
    row = RunChunk(
        run_id=lease.run_key,
        number=chunk.number,
        customers=chunk.customers,
        input_key=chunk.input_key,
        input_sha256=chunk.sha256,
        first_key=chunk.first_key,
        last_key=chunk.last_key,
    )
    if decided:
        row.status = RunChunk.Status.DECIDED
        row.winners_key, row.counts = decided.winners_key, decided.counts
    return row


def record_allocation(
    lease: Lease,
    report: dict[str, Any],
    winners_keys: Sequence[tuple[int, str]],
    then: Phase,
) -> None:
    """Replace the chunks' spooled winners by the allocated ones and keep the caps' report."""
    with transaction.atomic():
        enter(lease, then, allocation_report=report)
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE campaigns_runchunk SET winners_key = %s WHERE run_id = %s AND number = %s",
                [(key, lease.run_key, number) for number, key in winners_keys],
            )


def enter(lease: Lease, phase: Phase, **values: Any) -> None:
    """Enter a phase and set `values` on the run; chunks are then everybody's to take."""
    if phase.name in CHUNK_PHASES:
        values["lease_until"] = None
    with transaction.atomic():
        entered = CampaignRun.unscoped.filter(
            pk=lease.run_key,
            fencing_token=lease.token,
            status__in=(CampaignRun.Status.RUNNING, CampaignRun.Status.PAUSED),
        ).update(phase=phase.name, chunks_left=phase.chunks, customers_done=phase.done, **values)
        if not entered:
            lease.lose()
        lease.event("phase", phase.name)
    lease.done = phase.done
