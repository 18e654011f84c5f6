"""Ask for a run of a campaign, again for one that failed, and look whether it can be run."""

from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Max

from campaigns.models import Campaign, CampaignRun, Flow, Segment, Status
from campaigns.services.campaign_checks import view_exists
from campaigns.services.errors import Conflict
from executor.tasks import wake

#: By which a dry run is triggered.
DRY_RUN = "dry_run"
RETRIABLE = (CampaignRun.Status.FAILED, CampaignRun.Status.CANCELLED)


def request_run(
    campaign: Campaign, *, triggered_by: str = "manual", dispatch: bool = True
) -> CampaignRun:
    """Insert a pending run and, once committed, have it executed (unless the caller does that).

    Raises Conflict when the campaign is paused or archived, its flow has no published version, or
    the view of its segment is gone.
    """
    with transaction.atomic():
        locked = lock(campaign)
        check_status(locked)
        check_targets(locked.flow, locked.segment)
        return insert_run(locked, triggered_by=triggered_by, dispatch=dispatch)


def request_dry_run(
    campaign: Campaign, *, sample: int | None = None, dispatch: bool = True
) -> CampaignRun:
    """Insert a run that delivers nothing, for the whole segment or a sample of its customers.

    A paused campaign may be tried out too. Raises Conflict for one that is archived, and for
    whatever else `request_run` does.
    """
    with transaction.atomic():
        locked = lock(campaign)
        if locked.status == Status.ARCHIVED:
            raise Conflict("The campaign is archived; only others can be tried out.")
        check_targets(locked.flow, locked.segment)
        return _insert(locked, dispatch=dispatch, dry_run=True, triggered_by=DRY_RUN, sample=sample)


def retry_run(run: CampaignRun) -> CampaignRun:
    """Ask for a new run that decides by and for the same as one that failed or was cancelled.

    Raises Conflict for any other run, and for whatever `request_run` does.
    """
    with transaction.atomic():
        locked = lock(run.campaign)
        if run.status not in RETRIABLE:
            raise Conflict(
                f"Run {run.run_number} is {run.status};"
                f" only {' and '.join(RETRIABLE)} ones can be retried."
            )
        check_status(locked)
        check_targets(run.flow or locked.flow, run.segment or locked.segment)
        own = {"triggered_by": "retry", "flow": run.flow, "segment": run.segment}
        return _insert(locked, dispatch=True, dry_run=run.dry_run, sample=run.sample, **own)


def lock(campaign: Campaign) -> Campaign:
    """The campaign, locked: a run's number is given under it, so two runs never share one."""
    rows = Campaign.objects.of(campaign.tenant_id).select_for_update()
    locked: Campaign | None = rows.filter(pk=campaign.pk).first()
    if locked is None:
        raise Conflict("The campaign has been deleted meanwhile.")
    return locked


def insert_run(
    locked: Campaign,
    *,
    triggered_by: str = "manual",
    flow: Flow | None = None,
    segment: Segment | None = None,
    dispatch: bool = True,
    scheduled_for: datetime | None = None,
    in_turn: bool = False,
) -> CampaignRun:
    """Insert the next run of a locked campaign; `flow` and `segment` replace the campaign's.

    `scheduled_for` is the instant of its schedule; with `in_turn` it waits for earlier runs.
    """
    return _insert(
        locked,
        dispatch=dispatch,
        dry_run=False,
        triggered_by=triggered_by,
        flow=flow,
        segment=segment,
        scheduled_for=scheduled_for,
        in_turn=in_turn,
    )


def _insert(locked: Campaign, *, dispatch: bool, dry_run: bool, **fields: Any) -> CampaignRun:
    """Insert the next run of a locked campaign; dry runs are numbered apart from the others."""
    runs = locked.runs.filter(dry_run=dry_run)
    run: CampaignRun = CampaignRun.unscoped.create(
        tenant_id=locked.tenant_id,
        campaign=locked,
        run_number=(runs.aggregate(last=Max("run_number"))["last"] or 0) + 1,
        dry_run=dry_run,
        priority=locked.priority,
        **fields,
    )
    run.refresh_from_db(fields=["created_at"])
    if dispatch:
        transaction.on_commit(partial(wake, run.pk))
    return run


def check_status(campaign: Campaign) -> None:
    if campaign.status in (Status.PAUSED, Status.ARCHIVED):
        raise Conflict(f"The campaign is {campaign.status}; only draft and active ones can be run")


def check_targets(flow: Flow, segment: Segment) -> None:
    if flow.published is None:
        raise Conflict(f'The decision flow "{flow}" has no published version')
    if not view_exists(segment):
        raise Conflict(f'The view of the segment "{segment}" is gone: refresh the segment')
