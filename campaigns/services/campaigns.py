"""Making and changing campaigns. Nothing is written when anything is wrong."""

from collections.abc import Sequence
from itertools import chain, count
from typing import Any, TypedDict

from django.db import transaction

from campaigns.models import Campaign, Channel, Flow, Segment
from campaigns.services.campaign_checks import Fault, campaign_faults
from campaigns.services.resources import check_version
from campaigns.services.schedules import database_now, followed_schedule, reschedule
from executor.errors import Rejected
from kaireon.access.models import Tenant


class CampaignFields(TypedDict, total=False):
    """What may be set on a campaign, by attribute name; only `flow` and `segment` are required."""

    name: str
    description: str
    status: str
    flow: Flow
    segment: Segment
    channels: Sequence[Channel]
    schedule_type: str
    schedule_day_of_week: int | None
    schedule_day_of_month: str | None
    schedule_time: str
    schedule_timezone: str
    schedule_cron: str | None
    holiday_calendar: str
    weekend_days: list[int]
    misfire_policy: str
    misfire_grace_minutes: int
    overlap_policy: str
    priority: int
    max_total_per_run: int | None
    max_per_offer: int | None
    max_per_channel: int | None
    holdout_percent: float
    allocation: str
    file_format: str
    file_columns: list[str]
    include_personalization: bool
    file_destination: str
    s3_path: str


def create_campaign(tenant: Tenant, fields: CampaignFields) -> Campaign:
    """Make a campaign; it starts nothing. Without a name it gets "<flow> · <segment>".

    Raises Rejected with every fault, each under the documented name of its field.
    """
    with transaction.atomic():
        campaign = Campaign(tenant=tenant)
        reject(find_faults(campaign, fields))
        if not campaign.name:
            campaign.name = free_name(campaign)
        campaign.save(force_insert=True)
        campaign.channels.set(fields.get("channels", ()))
        reschedule(campaign, database_now())
    campaign.refresh_from_db(fields=["created_at"])
    return campaign


def update_campaign(
    campaign: Campaign, fields: CampaignFields, expected: int | None = None
) -> Campaign:
    """Change any subset of the fields and raise the version; return the campaign as stored.

    Raises Rejected with every fault, each under the documented name of its field, and Conflict
    when the campaign no longer has the version `expected`.
    """
    with transaction.atomic():
        rows = Campaign.unscoped.select_related("tenant", "flow", "segment__base_schema")
        stored: Campaign = rows.select_for_update(of=("self",), no_key=True).get(pk=campaign.pk)
        check_version(stored, expected)
        before = followed_schedule(stored)
        reject(find_faults(stored, fields))
        if fields:
            stored.version += 1
            changed = [name for name in fields if name != "channels"]
            stored.save(update_fields=[*changed, "version", "updated_at"])
        if "channels" in fields:
            stored.channels.set(fields["channels"])
        if followed_schedule(stored) != before:  # else what is due by now must stay due
            reschedule(stored, database_now())
    return stored


def find_faults(campaign: Campaign, fields: CampaignFields) -> list[Fault]:
    """Set the fields on the unsaved `campaign` and return all that is wrong with the outcome."""
    values: dict[str, Any] = dict(fields)
    channels = values.pop("channels", None)
    for name, value in values.items():
        setattr(campaign, name, value)
    return campaign_faults(campaign, given=fields.keys(), channels=channels)


def reject(faults: list[Fault]) -> None:
    if faults:
        raise Rejected.of(faults)


def free_name(campaign: Campaign) -> str:
    """Return "<flow> · <segment>", numbered from 2 when the tenant has it already."""
    base = f"{campaign.flow.name[:110]} · {campaign.segment.name[:110]}"
    taken = set(
        Campaign.objects.of(campaign.tenant_id)
        .filter(name__startswith=base)
        .values_list("name", flat=True)
    )
    numbered = (f"{base} ({number})" for number in count(2))
    return next(name for name in chain((base,), numbered) if name not in taken)
