"""Why one customer got what they got from a run: found in the frozen chunks, and traced."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from campaigns.models import CampaignRun, DeliveryError, Recommendation, RunChunk
from executor import job
from executor.explained import Explanation
from executor.fates import Stored, fates
from executor.flow.inputs import KEY
from executor.job import Job
from executor.nearest import nearest_changes
from executor.storage import Storage, open_storage
from executor.trace import block_of, trace

COMPLETED = (CampaignRun.Status.COMPLETED, CampaignRun.Status.COMPLETED_WITH_ERRORS)


class NotFrozen(Exception):
    """The run has not frozen its customers, or never came to it."""


class UnknownCustomer(Exception):
    """The customer was not in the run's audience."""


class Expired(Exception):
    """The frozen customers are not stored any more."""


def explain(run: CampaignRun, customer_key: str) -> dict[str, Any]:
    """The explanation as JSON. Raises NotFrozen, UnknownCustomer or Expired."""
    chunk, frame, place = _find(run, customer_key)
    present = job.load(run.pk)
    seen = trace(present.decider, *block_of(frame, place))
    plan = present.plan
    has_results = run.status in COMPLETED and chunk.status == RunChunk.Status.WRITTEN
    stored = _stored(run, customer_key, present) if has_results else None
    told = Explanation(
        plan=plan,
        catalog=present.spec.catalog,
        now=datetime.fromisoformat(present.spec.now),
        seen=seen,
        fates=fates(plan, seen, stored),
        changes=nearest_changes(present.decider, seen),
        caps=(run.allocation_report or {}).get("caps", ()),
        errors=stored.errors if stored else {},
    )
    return {**_head(run, chunk, present, customer_key), **told.shown()}


def _head(run: CampaignRun, chunk: RunChunk, present: Job, customer_key: str) -> dict[str, Any]:
    given_up = chunk.status == RunChunk.Status.DEAD
    told = datetime.fromisoformat(present.spec.now)
    return {
        "runId": run.public_id,
        "campaignId": present.spec.campaign_id,
        "customerId": customer_key,
        "runStatus": run.status,
        "now": told.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "chunk": chunk.number,
        "chunkGivenUp": given_up,
        "isFinal": run.status in COMPLETED and not given_up,
    }


def _find(run: CampaignRun, customer_key: str) -> tuple[RunChunk, pl.DataFrame, int]:
    """The customer's chunk, its rows, and the customer's place among them."""
    chunks = RunChunk.objects.filter(run=run)
    if not chunks.exists():
        if run.audience_count == 0:
            raise UnknownCustomer
        raise NotFrozen
    if "\0" in customer_key:  # which PostgreSQL has in no text
        raise UnknownCustomer
    storage = open_storage()
    within = chunks.filter(first_key__lte=customer_key, last_key__gte=customer_key)
    candidates = [*within, *chunks.filter(first_key__isnull=True).order_by("number")]
    for chunk in candidates:
        frame = _rows(storage, chunk)
        at = (frame[KEY] == customer_key).arg_true()
        if len(at):
            return chunk, frame, int(at[0])
    raise UnknownCustomer


def _rows(storage: Storage, chunk: RunChunk) -> pl.DataFrame:
    try:
        return pl.read_parquet(storage.get(chunk.input_key))
    except FileNotFoundError as error:
        raise Expired from error


def _stored(run: CampaignRun, customer_key: str, present: Job) -> Stored:
    plan = present.plan
    numbers = {
        (plan.offers[one.offer].key, plan.channels[one.channel].key, one.creative_key): number
        for number, one in enumerate(plan.candidates)
    }
    names = ("offer_id", "channel_id", "creative_id")
    got = Recommendation.objects.filter(run_id=run.pk, customer_key=customer_key)
    lost = DeliveryError.objects.filter(run_id=run.pk, customer_key=customer_key)
    return Stored(
        ranks={numbers[tuple(name)]: rank for *name, rank in got.values_list(*names, "rank")},
        errors={
            numbers[tuple(name)]: reason for *name, reason in lost.values_list(*names, "reason")
        },
        has_caps=present.caps.is_set,
        is_personal=present.personalizer is not None,
    )
