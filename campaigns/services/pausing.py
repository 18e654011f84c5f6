"""Pausing a run and having it go on: it stops at its workers' next look, and nothing is lost."""

from functools import partial

from django.db import transaction

from campaigns.models import CampaignRun, RunEvent
from campaigns.services.errors import Conflict
from executor.tasks import wake

Status = CampaignRun.Status
PAUSABLE = (Status.PENDING, Status.RUNNING)


def pause_run(run: CampaignRun) -> None:
    """Have a pending or running run wait until it is resumed.

    Chunks in work are ended, and no more are taken. Asking again does nothing. Raises Conflict for
    a run that is being cancelled, or has ended.
    """
    with transaction.atomic():
        stored = lock_run(run)
        if stored.status == Status.PAUSED:
            return
        if stored.status not in PAUSABLE:
            raise Conflict(
                f"The run is {stored.status}; only pending and running ones can be paused."
            )
        set_status(stored, Status.PAUSED)
        RunEvent.objects.create(run=stored, kind="paused")


def resume_run(run: CampaignRun) -> None:
    """Have a paused run go on where it was. Raises Conflict for any other run."""
    with transaction.atomic():
        stored = lock_run(run)
        if stored.status != Status.PAUSED:
            raise Conflict(f"The run is {stored.status}; only a paused one can be resumed.")
        set_status(stored, Status.PENDING if stored.started_at is None else Status.RUNNING)
        RunEvent.objects.create(run=stored, kind="resumed")
        if stored.phase != CampaignRun.Phase.CLAIM:  # its time counts for the phase again
            RunEvent.objects.create(run=stored, kind="phase", message=stored.phase)
        transaction.on_commit(partial(wake, stored.pk))


def lock_run(run: CampaignRun) -> CampaignRun:
    """The run, locked without what is bulky. Raises Conflict when it is not there any more."""
    rows = CampaignRun.objects.of(run.tenant_id).defer("spec", "summary", "allocation_report")
    stored: CampaignRun | None = rows.select_for_update(no_key=True).filter(pk=run.pk).first()
    if stored is None:
        raise Conflict("The run has been deleted meanwhile.")
    return stored


def set_status(stored: CampaignRun, status: str) -> None:
    stored.status, stored.waits_for = status, ""
    stored.save(update_fields=["status", "waits_for"])
