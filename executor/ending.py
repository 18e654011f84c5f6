"""How a run ends without results: failed or cancelled, and what is left of it is removed.

The end is committed first, so that nobody writes for the run any more; what it left is removed
after that, by whoever comes to it. A run that had results before keeps them: see `reopening`.
"""

import logging

from django.db import connection, transaction

from campaigns.models import CampaignRun, ContactHold, RunEvent
from executor import contacts, heldout, reopening, results
from executor.deliver import forget_errors
from executor.errors import Unavailable
from executor.manifest import load
from executor.progress import EVENT, Lease
from executor.storage import open_storage

logger = logging.getLogger(__name__)

#: How often a run may be put back for a passing fault before it fails.
MAX_RETRIES = 5

# A run in its chunks' phases is nobody's: it is ended by the worker of a chunk, without a token.
END = """
UPDATE campaigns_campaignrun
SET status = %(status)s, error = %(error)s, traceback = %(traceback)s, lease_until = NULL,
    completed_at = clock_timestamp(), fencing_token = fencing_token + 1, waits_for = ''
WHERE id = %(run)s AND reopened = 0 AND status IN ('running', 'paused', 'cancelling')
  AND (fencing_token = %(token)s OR %(token)s IS NULL AND phase IN ('decide', 'write'))
"""

# Rarer as time goes by, so that a day of it does not fill the list of events.
PAUSE = """
UPDATE campaigns_campaignrun
SET lease_until = greatest(lease_until, now() + least('1 minute', (now() - started_at) / 10))
WHERE id = %(run)s AND fencing_token = %(token)s
"""

LETTER = """
INSERT INTO campaigns_deadletter
  (tenant_id, topic, run_id, customers, attempts, error, traceback)
SELECT tenant_id, 'campaign_runs', id, coalesce(audience_count, 0), fencing_token, error, traceback
FROM campaigns_campaignrun WHERE id = %s
ON CONFLICT DO NOTHING
"""


def fail(run_key: int, error: str, traceback: str = "", lease: Lease | None = None) -> None:
    """End the run as failed, with the reason; its results are dropped, never shown.

    A traceback says that the fault is ours: the run is then a dead letter too.
    """
    if not reopening.stop(run_key, error, traceback, lease):
        _end(run_key, "failed", error, traceback, lease)


def cancel(lease: Lease) -> None:
    """End the run as cancelled; what it had decided is dropped."""
    if reopening.times(lease.run_key):
        reopening.undo(lease)
    else:
        _end(lease.run_key, "cancelled", "", "", lease)


def put_back(lease: Lease, error: str) -> None:
    """Leave the run to whoever claims it once the lease has run out; give up after some times."""
    lease.event("put back", error)
    if RunEvent.objects.filter(run_id=lease.run_key, kind="put back").count() > MAX_RETRIES:
        fail(lease.run_key, f"gave up after {MAX_RETRIES} retries: {error}", lease=lease)
        return
    _wait(lease, error)


def wait(lease: Lease, error: str) -> None:
    """Leave the run to whoever claims it in a while, however often it comes to that."""
    lease.event("waiting", error)
    _wait(lease, error)
    with connection.cursor() as cursor:
        cursor.execute(PAUSE, {"run": lease.run_key, "token": lease.token})


def _wait(lease: Lease, error: str) -> None:
    CampaignRun.unscoped.filter(pk=lease.run_key, fencing_token=lease.token).update(
        waits_for=f"retry after {error}"[:100]
    )


def _end(run_key: int, status: str, error: str, traceback: str, lease: Lease | None) -> None:
    told = {"status": status, "error": error, "traceback": traceback}
    token = lease.token if lease else None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(END, told | {"run": run_key, "token": token})
        if cursor.rowcount != 1:
            return
        cursor.execute(EVENT, [run_key, status, error, "{}"])
        if traceback:
            cursor.execute(LETTER, [run_key])
    logger.warning("the run is %s%s", status, error and f": {error}")
    try:
        clean_up(run_key)
    except Unavailable as error:
        logger.warning("the run has left things behind: %s", error)


def clean_up(run_key: int) -> None:
    """Remove the results, the contacts and the scratch of a run that ended without results.

    May be repeated.
    """
    with transaction.atomic():
        results.drop_table(connection.connection, run_key)
    chunks = load(run_key)
    open_storage().delete(
        key for chunk in chunks for key in (chunk.winners_key, chunk.part_key) if key
    )
    heldout.drop(run_key)
    forget_errors(run_key)
    contacts.drop_held(run_key)


def clean_up_left() -> None:
    """Remove what ended runs left when their last worker was lost; the holds say which they are."""
    unfinished = CampaignRun.unscoped.filter(status__in=CampaignRun.UNFINISHED).values("pk")
    held = ContactHold.objects.exclude(run_id__in=unfinished).values_list("run_id", flat=True)
    try:
        for run_key in held:
            clean_up(run_key)
    except Unavailable as error:
        logger.warning("what ended runs left stays for now: %s", error)
