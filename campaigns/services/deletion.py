"""Deleting a campaign with all that its runs left; contacts and the history of changes stay.

Every step can be repeated, and a run's row goes last: a deletion that was cut short is finished
by asking for it again.
"""

import time

from django.db import connection, transaction
from psycopg import errors as pg

from campaigns.models import Campaign, CampaignRun
from campaigns.services.cancellation import begin_cancelling, end_run
from campaigns.services.errors import Conflict
from campaigns.services.resources import delete_row
from executor import heldout, results
from executor.storage import open_storage

#: Dropping a partition waits for everybody who reads any results, and all others wait behind it:
#: so it waits briefly, and tries again for some seconds.
LOCK_TIMEOUT = "1s"
PATIENCE = 15.0
PAUSE = 0.2


def delete_campaign(campaign: Campaign, *, force: bool = False) -> None:
    """Delete the campaign and its runs, one run after the other; `force` cancels them first.

    Raises Conflict naming a run that is in progress, is being read, or was requested meanwhile.
    """
    for run_key in stop_runs(campaign, force=force):
        end_run(run_key)
    runs = CampaignRun.objects.of(campaign.tenant_id).filter(campaign_id=campaign.pk)
    for run in runs.only("run_number", "reopened").order_by("pk"):
        delete_run(run)
    with transaction.atomic():
        stored = lock(campaign)
        if stored is not None:
            delete_row(stored)


def stop_runs(campaign: Campaign, *, force: bool) -> list[int]:
    """Cancel what is in progress, and return its keys. Raises Conflict unless it may be."""
    with transaction.atomic():
        lock(campaign)  # so that no run is requested meanwhile
        runs = CampaignRun.objects.of(campaign.tenant_id).filter(campaign_id=campaign.pk)
        unfinished = runs.filter(status__in=CampaignRun.UNFINISHED).order_by("pk")
        found = list(unfinished.only("run_number", "status"))
        if found and not force:
            run = found[0]
            raise Conflict(
                f"Run {run.run_number} ({run.public_id}) is {run.status}: wait for its end,"
                " cancel it, or delete with force=true, which cancels it first."
            )
        for run in found:
            begin_cancelling(run.pk)
        return [run.pk for run in found]


def lock(campaign: Campaign) -> Campaign | None:
    rows = Campaign.objects.of(campaign.tenant_id).select_for_update()
    found: Campaign | None = rows.filter(pk=campaign.pk).first()
    return found


def delete_run(run: CampaignRun) -> None:
    """Delete a run that has ended: its results, what is stored of it, and its rows."""
    drop_results(run)
    heldout.drop(run.pk)
    open_storage().delete_under(f"runs/{run.pk}")
    CampaignRun.unscoped.filter(pk=run.pk).delete()


def drop_results(run: CampaignRun) -> None:
    """Drop what holds the run's results. Raises Conflict when others keep holding it."""
    end = time.monotonic() + PATIENCE
    while not dropped(run.pk, run.reopened):
        if time.monotonic() >= end:
            raise Conflict(
                f"The results of run {run.run_number} ({run.public_id}) are in use;"
                " what is left is deleted when you try again in a moment."
            )
        time.sleep(PAUSE)


def dropped(run_key: int, reopened: int) -> bool:
    """Drop the run's table, and the one beside it of a run that was opened again and cut short.

    In a transaction of its own; False if a lock could not be had.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            for number in {0, reopened}:
                results.drop_table(connection.connection, run_key, number)
    except (pg.LockNotAvailable, pg.DeadlockDetected):
        return False
    return True
