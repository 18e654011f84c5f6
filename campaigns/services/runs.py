"""Ask for a run of a campaign."""

from functools import partial

from django.db import connection, transaction
from django.db.models import Max

from campaigns.models import Campaign, CampaignRun, Status
from campaigns.services.errors import Conflict
from executor.tasks import wake


def request_run(
    campaign: Campaign, *, triggered_by: str = "manual", dispatch: bool = True
) -> CampaignRun:
    """Insert a pending run and, once committed, have it executed (unless the caller does that).

    Raises Conflict when the campaign is paused or archived, its flow has no published version, or
    the view of its segment is gone.
    """
    with transaction.atomic():
        # The number is given under the campaign's lock, so two triggers never share one.
        locked = Campaign.objects.of(campaign.tenant_id).select_for_update().get(pk=campaign.pk)
        _check_runnable(locked)
        last = locked.runs.aggregate(last=Max("run_number"))["last"] or 0
        run: CampaignRun = CampaignRun.unscoped.create(
            tenant_id=locked.tenant_id,
            campaign=locked,
            run_number=last + 1,
            triggered_by=triggered_by,
        )
        run.refresh_from_db(fields=["created_at"])
        if dispatch:
            transaction.on_commit(partial(wake, run.pk))
    return run


def _check_runnable(campaign: Campaign) -> None:
    if campaign.status in (Status.PAUSED, Status.ARCHIVED):
        raise Conflict(f"The campaign is {campaign.status}; only draft and active ones can be run")
    if campaign.flow.published is None:
        raise Conflict(f'The decision flow "{campaign.flow}" has no published version')
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_regclass(format('segments.%%I', %s::text)) IS NOT NULL",
            [campaign.segment.view_name],
        )
        (exists,) = cursor.fetchone()
    if not exists:
        raise Conflict(f'The view of the segment "{campaign.segment}" is gone: refresh the segment')
