"""A run that has ended is opened again for chunks that had been given up.

What it had ended with stays as it is, and visible: its results, file, summary and reason. What the
chunks win now goes to a table beside, which the run's next end adds to the results. When it fails
or is cancelled instead, the table is dropped, and the run is again what it was.
"""

from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Sum

from campaigns.models import CampaignRun, Contact, RunChunk
from executor import contacts, manifest, results
from executor.deliver import forget_errors
from executor.errors import Rejected
from executor.freeze import KEY, read_chunk
from executor.job import Job
from executor.manifest import Phase
from executor.progress import EVENT, Lease
from executor.storage import open_storage

# Nobody can write for the run any more. Whoever claims it next undoes what there is.
STOP = """
UPDATE campaigns_campaignrun
SET status = 'cancelling', lease_until = NULL, fencing_token = fencing_token + 1, waits_for = ''
WHERE id = %(run)s AND reopened > 0 AND status IN ('running', 'paused', 'cancelling')
  AND (fencing_token = %(token)s OR %(token)s IS NULL AND phase IN ('decide', 'write'))
"""

LETTERS = """
INSERT INTO campaigns_deadletter
  (tenant_id, topic, run_id, chunk, customers, attempts, error, traceback)
SELECT run.tenant_id, 'campaign_chunks', run.id, chunk.number, chunk.customers, chunk.attempts,
  %(error)s, %(traceback)s
FROM campaigns_runchunk AS chunk JOIN campaigns_campaignrun AS run ON run.id = chunk.run_id
WHERE run.id = %(run)s AND chunk.reopened = run.reopened AND chunk.status <> 'dead'
ON CONFLICT DO NOTHING
"""

BURY = """
UPDATE campaigns_runchunk AS chunk
SET status = 'dead', lease_until = NULL, not_before = NULL, winners_key = '', part_key = ''
FROM campaigns_campaignrun AS run
WHERE run.id = %(run)s AND chunk.run_id = run.id AND chunk.reopened = run.reopened
"""

UNHOLD = """
DELETE FROM campaigns_heldout AS held
USING campaigns_runchunk AS chunk, campaigns_campaignrun AS run
WHERE run.id = %(run)s AND chunk.run_id = run.id AND chunk.reopened = run.reopened
  AND held.run_id = run.id AND held.chunk = chunk.number
"""

CLOSE = """
UPDATE campaigns_campaignrun
SET status = 'completed_with_errors', phase = 'done', chunks_left = 0, lease_until = NULL,
    customers_done = coalesce(audience_count, 0), waits_for = ''
WHERE id = %(run)s AND fencing_token = %(token)s AND status = 'cancelling'
"""


def times(run_key: int) -> int:
    """How often the run was opened again."""
    reopened: int = CampaignRun.unscoped.values_list("reopened", flat=True).get(pk=run_key)
    return reopened


def take_up(lease: Lease, job: Job) -> None:
    """Make the table beside, and have the chunks done; what others have won counts with the caps.

    May be repeated: nothing is anybody's to take before the phase is entered. Raises Rejected if
    contact policies would have to go by a history that is not the present one any more.
    """
    _check_history(lease, job)
    chunks = RunChunk.objects.filter(run_id=lease.run_key)
    counted = chunks.filter(status=RunChunk.Status.FROZEN).aggregate(left=Count("pk"))
    written = chunks.filter(status=RunChunk.Status.WRITTEN).aggregate(sum=Sum("customers"))
    audience = CampaignRun.unscoped.values_list("audience_count", flat=True).get(pk=lease.run_key)
    contacts.prepare(job)
    name = "decide" if job.may_bind(audience or 0) else "write"
    manifest.enter(lease, Phase(name, counted["left"], done=written["sum"] or 0))


def _check_history(lease: Lease, job: Job) -> None:
    """Counts of contacts were frozen when the run began: they must not have grown since."""
    if not CampaignRun.unscoped.values_list("has_policies", flat=True).get(pk=lease.run_key):
        return
    since = Contact.objects.filter(tenant_id=job.tenant_key, at__gt=job.spec.now)
    others = since.exclude(run_id=lease.run_key)
    chunks = RunChunk.objects.filter(run_id=lease.run_key, status=RunChunk.Status.FROZEN)
    for number, input_key in chunks.order_by("number").values_list("number", "input_key"):
        keys = read_chunk(job.storage, input_key, [KEY])[KEY].to_list()
        if others.extra(where=["customer_key = ANY(%s)"], params=[keys]).exists():
            raise Rejected(
                f"customers of chunk {number} have had contacts of other runs since, which contact"
                " policies would not see; ask for a new run instead"
            )


def stop(run_key: int, error: str, traceback: str, lease: Lease | None) -> bool:
    """Have a run undone that has failed since it was opened again; False if it is none."""
    told: dict[str, Any] = {
        "run": run_key,
        "error": f"the retry failed: {error}",
        "traceback": traceback,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(STOP, {"run": run_key, "token": lease.token if lease else None})
        if cursor.rowcount != 1:
            return False
        cursor.execute(EVENT, [run_key, "retry failed", error, "{}"])
        cursor.execute(LETTERS, told)
    return True


def undo(lease: Lease) -> None:
    """Give the chunks up again, and leave the run as it had ended before.

    The table goes first: should the process end here, the next who claims the run does the same.
    """
    with transaction.atomic():
        results.drop_table(connection.connection, lease.run_key, times(lease.run_key))
    told: dict[str, Any] = {"run": lease.run_key, "token": lease.token}
    told |= {"error": "the retry was cancelled", "traceback": ""}
    with transaction.atomic(), connection.cursor() as cursor:
        keys = _scratch(lease.run_key)
        chunks = RunChunk.objects.filter(run_id=lease.run_key, reopened=times(lease.run_key))
        forget_errors(lease.run_key, [*chunks.values_list("number", flat=True)])
        cursor.execute(CLOSE, told)
        if cursor.rowcount != 1:
            return
        cursor.execute(LETTERS, told)
        cursor.execute(UNHOLD, told)
        cursor.execute(BURY, told)
        cursor.execute(EVENT, [lease.run_key, "completed_with_errors", "as before", "{}"])
    open_storage().delete(keys)


def _scratch(run_key: int) -> list[str]:
    chunks = RunChunk.objects.filter(run_id=run_key, reopened=times(run_key))
    pairs = chunks.values_list("winners_key", "part_key")
    return [key for pair in pairs for key in pair if key]
