"""The chunks of a run in the database: the manifest, and each chunk's step by compare-and-set.

A step is taken only by the holder of the run's fencing token and only from the status it expects,
in the same transaction as what the step wrote. So a repeated or stale step writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from campaigns.models import CampaignRun, RunChunk
from executor.freeze import FrozenChunk
from executor.progress import Lease


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


def commit(lease: Lease, frozen: Sequence[FrozenChunk], decided: Mapping[int, Decided]) -> None:
    """Make the freeze true: the chunks and the audience, at once, under the token.

    `decided` has the chunks, by number, that were decided meanwhile.
    """
    with transaction.atomic():
        updated = CampaignRun.unscoped.filter(
            pk=lease.run_key, fencing_token=lease.token, audience_count__isnull=True
        ).update(audience_count=sum(chunk.customers for chunk in frozen))
        if not updated:
            lease.lose()
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
    )
    if decided:
        row.status = RunChunk.Status.DECIDED
        row.winners_key, row.counts = decided.winners_key, decided.counts
    return row


STEP = """
UPDATE campaigns_runchunk AS chunk
SET status = %(to)s, counts = %(counts)s, winners_key = %(winners)s, part_key = %(part)s
FROM campaigns_campaignrun AS run
WHERE run.id = chunk.run_id AND run.id = %(run)s AND run.fencing_token = %(token)s
  AND run.status = 'running' AND chunk.number = %(number)s AND chunk.status = %(from)s
"""


def step(
    own: psycopg.Connection,
    lease: Lease,
    chunk: Chunk,
    to: str,
    *,
    counts: dict[str, Any],
    winners_key: str = "",
    part_key: str = "",
) -> bool:
    """Move the chunk to status `to` inside the caller's transaction; False if it is not ours."""
    cursor = own.execute(
        STEP,
        {
            "to": to,
            "from": chunk.status,
            "counts": Jsonb(counts),
            "winners": winners_key,
            "part": part_key,
            "run": lease.run_key,
            "token": lease.token,
            "number": chunk.number,
        },
    )
    return cursor.rowcount == 1


def record_allocation(
    lease: Lease, report: dict[str, Any], winners_keys: Sequence[tuple[int, str]]
) -> None:
    """Replace every chunk's spooled winners by the allocated ones and keep the caps' report."""
    with transaction.atomic():
        updated = CampaignRun.unscoped.filter(
            pk=lease.run_key, fencing_token=lease.token, allocation_report__isnull=True
        ).update(allocation_report=report)
        if not updated:
            lease.lose()
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE campaigns_runchunk SET winners_key = %s WHERE run_id = %s AND number = %s",
                [(key, lease.run_key, number) for number, key in winners_keys],
            )
