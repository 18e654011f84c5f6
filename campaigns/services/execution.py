"""Execute a run with a flow and a segment that the caller names, for this run alone."""

from functools import partial

from django.db import transaction

from campaigns.models import Campaign, CampaignRun, Flow, Segment
from campaigns.services.errors import Conflict
from campaigns.services.pausing import lock_run
from campaigns.services.runs import check_status, insert_run, lock
from executor.tasks import wake


def execute_campaign(campaign: Campaign, flow: Flow, segment: Segment) -> CampaignRun:
    """Insert a run of the campaign and, once committed, have it executed.

    What is wrong with flow or segment fails the run and stands on its row. Raises Conflict for a
    campaign that is paused or archived.
    """
    with transaction.atomic():
        locked = lock(campaign)
        check_status(locked)
        return insert_run(locked, flow=flow, segment=segment)


def execute_pending(run: CampaignRun, flow: Flow, segment: Segment) -> CampaignRun:
    """Have a pending run executed with flow and segment. Raises Conflict for any other run."""
    with transaction.atomic():
        stored = lock_run(run)
        if stored.status != CampaignRun.Status.PENDING:
            raise Conflict(f"The run is {stored.status}; only a pending one can be executed.")
        stored.flow, stored.segment = flow, segment
        stored.save(update_fields=["flow", "segment"])
        transaction.on_commit(partial(wake, stored.pk))
    return stored
