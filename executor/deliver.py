"""Winners -> what can be delivered of them, with their creatives rendered; and what cannot, why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from campaigns.models import DeliveryError
from executor.allocation import Winners
from executor.decide import taken, won
from executor.flow.plan import Plan
from executor.job import Job
from executor.results import ResultRows, result_rows
from executor.spec import PERSONAL

#: Delivery errors that are stored of a chunk, in key order; all are counted.
STORED_PER_CHUNK = 1_000
#: Different reasons that are counted apart; the rest are one.
MAX_REASONS = 100
OTHER = "other reasons"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is delivered, with the columns the file wants of it, and what is not.

    `lost` are the winners that cannot be delivered, with a reason each.
    """

    winners: Winners
    columns: Mapping[str, pl.Series]
    counts: dict[str, Any]
    lost: Winners
    reasons: pl.Series


def deliver(job: Job, frame: pl.DataFrame, winners: Winners, counts: dict[str, Any]) -> Delivery:
    """Personalize the winners if the file is to have it; `counts` are those of the winners."""
    if job.personalizer is None:
        nobody = taken(winners, np.zeros(len(winners.row), dtype=np.bool_))
        return Delivery(winners, {}, counts, nobody, pl.Series(dtype=pl.String))
    wanted = [name for name in job.file_columns if name.startswith(PERSONAL)]
    rendered = job.personalizer.render(frame, winners.row, winners.candidate, wanted)
    kept = ~rendered.failed
    delivered = _renumbered(taken(winners, kept))
    reasons = rendered.reasons.filter(pl.Series(rendered.failed))
    return Delivery(
        winners=delivered,
        columns={name: rendered.columns[name].filter(pl.Series(kept)) for name in wanted},
        counts=_counts(job.plan, delivered, counts, reasons, rendered.failures),
        lost=taken(winners, rendered.failed),
        reasons=reasons,
    )


def _renumbered(winners: Winners) -> Winners:
    """Ranks without the gaps of what is not delivered."""
    starts = np.flatnonzero(np.diff(winners.row, prepend=-1))
    lengths = np.diff(np.append(starts, len(winners.row)))
    rank = np.arange(len(winners.row)) - np.repeat(starts, lengths) + 1
    return Winners(winners.row, rank.astype(winners.rank.dtype), winners.candidate, winners.key)


def _counts(
    plan: Plan,
    delivered: Winners,
    counts: Mapping[str, Any],
    reasons: pl.Series,
    missing: Mapping[str, int],
) -> dict[str, Any]:
    """The counts of what is delivered, and under `undelivered` of what is not."""
    new = won(plan, delivered)
    different, each = reasons.value_counts().get_columns()
    found = Counter(dict(zip(different, each, strict=True)))
    undelivered = {
        "customers": counts["served"] - new["served"],
        "recommendations": len(reasons),
        "reasons": _most(found),
        "missing": dict(missing),
    }
    kept = {"served": new["served"], "candidates": new["candidates"]}
    return {**counts, **kept, "undelivered": undelivered}


def _most(found: Counter[str]) -> dict[str, int]:
    """The most frequent reasons, in an order of their own, and the others as one."""
    ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    most = dict(ordered[:MAX_REASONS])
    rest = sum(count for _, count in ordered[MAX_REASONS:])
    return most | ({OTHER: most.get(OTHER, 0) + rest} if rest else {})


def total_undelivered(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Add up what all chunks could not deliver; None if nothing was personalized."""
    parts = [chunk["undelivered"] for chunk in counts if "undelivered" in chunk]
    if not parts:
        return None
    reasons: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for part in parts:
        reasons.update(part["reasons"])
        missing.update(part["missing"])
    return {
        "customers": sum(part["customers"] for part in parts),
        "recommendations": sum(part["recommendations"] for part in parts),
        "reasons": _most(reasons),
        "missing": dict(sorted(missing.items())),
    }


def record_errors(job: Job, frame: pl.DataFrame, chunk: int, delivery: Delivery) -> None:
    """Name the first customers of the chunk whose deliveries failed, in the caller's transaction.

    Whatever an attempt before has left of the chunk goes.
    """
    DeliveryError.objects.filter(run_id=job.run_key, chunk=chunk).delete()
    first = np.arange(len(delivery.lost.row)) < STORED_PER_CHUNK
    rows: ResultRows = result_rows(job.plan, frame, taken(delivery.lost, first))
    DeliveryError.objects.bulk_create(
        DeliveryError(
            run_id=job.run_key,
            chunk=chunk,
            customer_key=key,
            offer_id=offer,
            channel_id=channel,
            creative_id=creative or None,
            reason=reason,
        )
        for key, offer, channel, creative, reason in zip(
            rows.keys,
            rows.offers.tolist(),
            rows.channels.tolist(),
            rows.creatives.tolist(),
            delivery.reasons[:STORED_PER_CHUNK],
            strict=True,
        )
    )


def forget_errors(run_key: int, chunks: Sequence[int] | None = None) -> None:
    """Delete what is stored of all chunks, or of some."""
    errors = DeliveryError.objects.filter(run_id=run_key)
    (errors if chunks is None else errors.filter(chunk__in=chunks)).delete()
