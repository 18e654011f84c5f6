"""Stopping a run: one that waits ends at once, one in work at its worker's next look."""

import time
from functools import partial

from django.db import connection, transaction

from campaigns.models import CampaignRun, RunEvent
from campaigns.services.errors import Conflict
from executor.tasks import wake

#: Seconds a worker that is told to stop is waited for; then its writes are refused.
PATIENCE = 15.0
PAUSE = 0.2

# What has not begun is over at once. A run that has is ended by whoever works on it, who then
# drops what it has decided so far; one that was opened again goes back to how it had ended.
CANCEL = """
UPDATE campaigns_campaignrun
SET status = CASE WHEN started_at IS NULL AND status <> 'running' THEN 'cancelled'
             ELSE 'cancelling' END,
    completed_at = CASE WHEN started_at IS NULL AND status <> 'running' THEN clock_timestamp()
                   ELSE completed_at END,
    waits_for = ''
WHERE id = %s AND status IN ('pending', 'running', 'paused')
RETURNING status
"""

# The raised token is what refuses every later write of a worker that is still there.
FENCE = """
UPDATE campaigns_campaignrun AS run
SET status = 'cancelled', completed_at = clock_timestamp(), lease_until = NULL,
    fencing_token = fencing_token + 1
WHERE id = %(run)s AND status IN ('pending', 'running', 'cancelling')
  AND (%(now)s OR (lease_until IS NULL OR lease_until < clock_timestamp())
    AND NOT EXISTS (
      SELECT FROM campaigns_runchunk AS busy
      WHERE busy.run_id = run.id AND busy.lease_until > clock_timestamp()))
"""


def cancel_run(run: CampaignRun) -> None:
    """Cancel a run that has not begun, or have one that has stopped, also while it is paused.

    Asking again does nothing. Raises Conflict for a run that has ended.
    """
    with transaction.atomic():
        status = begin_cancelling(run.pk)
        if status is None:
            check_cancelling(run)
        elif status == CampaignRun.Status.CANCELLING:
            # A run that its worker has left is ended by the next who looks.
            transaction.on_commit(partial(wake, run.pk))


def begin_cancelling(run_key: int) -> str | None:
    """Return the new status, or None if the run is being cancelled already, or has ended."""
    with connection.cursor() as cursor:
        cursor.execute(CANCEL, [run_key])
        row = cursor.fetchone()
    if row is None:
        return None
    message = "" if row[0] == CampaignRun.Status.CANCELLED else "asked to stop"
    RunEvent.objects.create(run_id=run_key, kind=row[0], message=message)
    return str(row[0])


def check_cancelling(run: CampaignRun) -> None:
    status = CampaignRun.objects.of(run.tenant_id).filter(pk=run.pk).values_list("status").first()
    if status is None:
        raise Conflict("The run has been deleted meanwhile.")
    if status[0] != CampaignRun.Status.CANCELLING:
        raise Conflict(
            f"The run is {status[0]}; only pending, running and paused ones can be cancelled."
        )


def end_run(run_key: int) -> None:
    """Wait until no worker is on a run that is being cancelled, or shut out the one that is.

    Afterwards nobody can write anything of the run that would ever be visible.
    """
    end = time.monotonic() + PATIENCE
    while not has_ended(run_key, now=time.monotonic() >= end):
        time.sleep(PAUSE)


def has_ended(run_key: int, *, now: bool) -> bool:
    """End the run if nobody works on it (or `now`), and return whether it has ended."""
    with connection.cursor() as cursor:
        cursor.execute(FENCE, {"run": run_key, "now": now})
    unfinished = CampaignRun.unscoped.filter(pk=run_key, status__in=CampaignRun.UNFINISHED)
    return not unfinished.exists()
