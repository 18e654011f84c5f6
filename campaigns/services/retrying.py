"""Trying again: chunks that a run had given up, or a whole run that failed."""

from collections.abc import Collection
from functools import partial

from django.db import transaction

from campaigns.models import CampaignRun, DeadLetter, RunChunk, RunEvent
from campaigns.services.errors import Conflict
from campaigns.services.pausing import lock_run
from campaigns.services.runs import check_status, lock, retry_run
from executor.tasks import wake

Status = CampaignRun.Status


def retry(run: CampaignRun) -> CampaignRun:
    """Have the chunks retried that the run had given up, or else ask for a new run in its place.

    Returns the run that will do it. Raises Conflict for a run that has nothing to retry.
    """
    if run.status == Status.COMPLETED_WITH_ERRORS:
        return retry_failed_chunks(run)
    return retry_run(run)


def retry_failed_chunks(run: CampaignRun, numbers: Collection[int] | None = None) -> CampaignRun:
    """Open a run again for the chunks that it had given up (of these numbers, or all).

    All that it has delivered stays, and stays visible; the chunks' customers are added to it. The
    executor takes it from here. Raises Conflict for a run without such chunks.
    """
    with transaction.atomic():
        check_status(lock(run.campaign))
        stored = lock_run(run)
        named = f"Run {stored.run_number} ({stored.public_id})"
        if stored.status != Status.COMPLETED_WITH_ERRORS:
            raise Conflict(
                f"{named} is {stored.status}; only of a completed_with_errors one"
                " can the failed chunks be retried."
            )
        chunks = RunChunk.objects.filter(run=stored, status=RunChunk.Status.DEAD)
        if numbers is not None:
            chunks = chunks.filter(number__in=numbers)
        customers = [*chunks.values_list("number", "customers")]
        if not customers:
            raise Conflict(f"{named} has no failed chunks; its error says what went wrong.")
        open_again(stored, dict(customers))
    return stored


def open_again(stored: CampaignRun, customers: dict[int, int]) -> None:
    """Leave the chunks, by number, and the run to the executor, as if they had never been tried."""
    stored.status, stored.phase = Status.RUNNING, CampaignRun.Phase.CLAIM
    stored.reopened += 1
    stored.customers_done = 0
    stored.policy_turn = False  # it waits for it anew
    fields = ["status", "phase", "reopened", "customers_done", "policy_turn"]
    stored.save(update_fields=fields)
    RunChunk.objects.filter(run=stored, number__in=customers).update(
        status=RunChunk.Status.FROZEN,
        reopened=stored.reopened,
        attempts=0,
        faults=0,
        not_before=None,
        counts={},
    )
    DeadLetter.unscoped.filter(run=stored, chunk__in=customers).delete()
    what = f"for {len(customers)} failed chunks with {sum(customers.values())} customers"
    RunEvent.objects.create(run=stored, kind="opened again", message=what)
    transaction.on_commit(partial(wake, stored.pk))
