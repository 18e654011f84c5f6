"""What makes a campaign's configuration wrong, field by field, under the documented names."""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from zoneinfo import available_timezones

from django.db import connection

from campaigns.models import Campaign, Channel, Segment, Status
from campaigns.models.campaign import MAX_GRACE_MINUTES
from campaigns.models.channel import BATCH_DELIVERY_MODES
from campaigns.schedule import cron_fault, holiday_calendar_fault
from campaigns.services.segment_views import VIEW_SCHEMA
from executor.s3 import find_fault

#: (path of the field, what is wrong with it)
Fault = tuple[str, str]

FILE_COLUMNS = (
    "customer_id",
    "offer_id",
    "offer_name",
    "category",
    "channel",
    "channel_id",
    "creative",
    "creative_id",
    "rank",
    "score",
    "run_id",
    "campaign",
)
#: Variables of creatives and computed fields, and rendered content.
PERSONAL_COLUMN = re.compile(r"(personalization|content)\.[A-Za-z0-9_][A-Za-z0-9_ .-]{0,98}")
PERSONAL = "personalization.<variable>, content.<field>"
MAX_VOLUME = 2**53
MAX_NAME = 255
MAX_PRIORITY = 100
TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
DAY_OF_MONTH = re.compile(r"[1-9]|1[0-9]|2[0-8]|last_working_day")
#: A key on S3 has at most 1,024 bytes, and the file's name comes behind the path.
MAX_S3_PATH = 512
#: Only what needs no escaping in a key; "=" for folders such as date=2026-03-22.
S3_PATH = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)+")


def campaign_faults(
    campaign: Campaign, *, given: Collection[str], channels: Sequence[Channel] | None
) -> list[Fault]:
    """Return all that is wrong with `campaign` as it would be saved.

    `given` names the attributes this change sets; `channels` are the new channels, or None to
    keep the present ones. Costs a few queries, however large the campaign.
    """
    return [
        *name_faults(campaign, given),
        *reference_faults(campaign),
        *schedule_faults(campaign),
        *scheduler_faults(campaign),
        *volume_faults(campaign),
        *file_faults(campaign),
        *channel_faults(campaign, channels or ()),
        *activation_faults(campaign, given),
    ]


def name_faults(campaign: Campaign, given: Collection[str]) -> Iterator[Fault]:
    if "name" in given and not campaign.name.strip():
        yield "name", "May not be blank."
    if len(campaign.name) > MAX_NAME:
        yield "name", f"May have at most {MAX_NAME} characters."


def reference_faults(campaign: Campaign) -> Iterator[Fault]:
    if campaign.flow_id is None:
        yield "decisionFlowId", "This field is required."
    elif campaign.flow.tenant_id != campaign.tenant_id:
        yield "decisionFlowId", "Is a decision flow of another tenant."
    if campaign.segment_id is None:
        yield "segmentId", "This field is required."
    elif campaign.segment.tenant_id != campaign.tenant_id:
        yield "segmentId", "Is a segment of another tenant."


def schedule_faults(campaign: Campaign) -> Iterator[Fault]:
    """What is wrong with when the campaign is due; needs nothing but its schedule."""
    yield from day_faults(campaign)
    yield from clock_faults(campaign)
    if campaign.schedule_cron is not None and (fault := cron_fault(campaign.schedule_cron)):
        yield "scheduleCron", fault
    if fault := holiday_calendar_fault(campaign.holiday_calendar):
        yield "holidayCalendar", fault
    yield from weekend_faults(campaign.weekend_days)


def scheduler_faults(campaign: Campaign) -> Iterator[Fault]:
    if not 0 <= campaign.misfire_grace_minutes <= MAX_GRACE_MINUTES:
        yield "misfireGraceMinutes", f"Must be an integer from 0 to {MAX_GRACE_MINUTES}."
    if not 0 <= campaign.priority <= MAX_PRIORITY:
        yield "priority", f"Must be an integer from 0 to {MAX_PRIORITY}."


def weekend_faults(days: Sequence[int]) -> Iterator[Fault]:
    for number, day in enumerate(days):
        if not 0 <= day <= 6:
            yield f"weekendDays[{number}]", "Must be 0 (Sunday) to 6 (Saturday)."
        elif day in days[:number]:
            yield f"weekendDays[{number}]", f"{day} is there twice."
    if {*range(7)} <= {*days}:
        yield "weekendDays", "Must leave at least one day to work."


def day_faults(campaign: Campaign) -> Iterator[Fault]:
    day, has_cron = campaign.schedule_day_of_week, campaign.schedule_cron is not None
    weekly = campaign.schedule_type == Campaign.ScheduleType.WEEKLY
    if day is not None and not 0 <= day <= 6:
        yield "scheduleDayOfWeek", "Must be 0 (Sunday) to 6 (Saturday)."
    elif day is None and weekly and not has_cron:
        yield "scheduleDayOfWeek", "A weekly schedule needs a day, 0 (Sunday) to 6 (Saturday)."
    date = campaign.schedule_day_of_month
    monthly = campaign.schedule_type == Campaign.ScheduleType.MONTHLY
    if date is not None and not DAY_OF_MONTH.fullmatch(date):
        yield "scheduleDayOfMonth", 'Must be "1" to "28" or "last_working_day".'
    elif date is None and monthly and not has_cron:
        yield (
            "scheduleDayOfMonth",
            'A monthly schedule needs a day: "1" to "28" or "last_working_day".',
        )


def clock_faults(campaign: Campaign) -> Iterator[Fault]:
    if not TIME.fullmatch(campaign.schedule_time):
        yield "scheduleTime", 'Must be a time of day as HH:mm, such as "09:00".'
    if campaign.schedule_timezone not in known_timezones():
        yield "scheduleTimezone", 'Must be an IANA time zone, such as "America/New_York".'


@cache
def known_timezones() -> frozenset[str]:
    # "localtime" is whatever this machine is set to, and "Factory" means that nothing is.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def volume_faults(campaign: Campaign) -> Iterator[Fault]:
    caps = {
        "maxTotalPerRun": campaign.max_total_per_run,
        "maxPerOffer": campaign.max_per_offer,
        "maxPerChannel": campaign.max_per_channel,
    }
    for name, cap in caps.items():
        if cap is not None and not 1 <= cap <= MAX_VOLUME:
            yield f"volumeConstraints.{name}", f"Must be an integer from 1 to {MAX_VOLUME}."
    if not 0 <= campaign.holdout_percent <= 100:
        yield "holdoutPercent", "Must be a number from 0 to 100."


def file_faults(campaign: Campaign) -> Iterator[Fault]:
    if campaign.file_format not in Campaign.FileFormat.values:
        yield "fileConfig.format", f"Must be one of: {', '.join(Campaign.FileFormat.values)}."
    if campaign.file_destination not in Campaign.Destination.values:
        allowed = ", ".join(Campaign.Destination.values)
        yield "fileConfig.destination", f"Must be one of: {allowed}."
    elif fault := s3_fault(campaign):
        yield "fileConfig.s3Path", fault
    yield from column_faults(campaign.file_columns)


def s3_fault(campaign: Campaign) -> str | None:
    path = campaign.s3_path
    if campaign.file_destination != Campaign.Destination.S3:
        return 'May be given only with the destination "s3".' if path else None
    if not path:
        return 'Is required with the destination "s3", as s3://bucket/prefix.'
    if len(path) > MAX_S3_PATH:
        return f"May have at most {MAX_S3_PATH} characters."
    if not S3_PATH.fullmatch(path) or {".", ".."} & {*path.split("/")}:
        return (
            "Must be s3://bucket/prefix; a prefix is one or more parts separated by /, none of"
            ' them empty, "." or "..", of letters (a to z), digits and ! - _ . * \' ( ) = only.'
        )
    return find_fault(path, campaign.tenant.s3_locations)


def column_faults(columns: Sequence[str]) -> Iterator[Fault]:
    if not columns:
        yield "fileConfig.columns", f"Must name at least one of: {', '.join(FILE_COLUMNS)}."
    for number, column in enumerate(columns):
        if column not in FILE_COLUMNS and not PERSONAL_COLUMN.fullmatch(column):
            allowed = ", ".join(FILE_COLUMNS)
            message = f"Is not a column; the columns are: {allowed}, {PERSONAL}."
            yield f"fileConfig.columns[{number}]", message
        elif column in columns[:number]:
            yield f"fileConfig.columns[{number}]", f'"{column}" is there twice.'


def channel_faults(campaign: Campaign, channels: Sequence[Channel]) -> Iterator[Fault]:
    modes = ", ".join(BATCH_DELIVERY_MODES)
    for number, channel in enumerate(channels):
        path = f"channelIds[{number}]"
        if channel.tenant_id != campaign.tenant_id:
            yield path, "Is a channel of another tenant."
        elif not channel.is_batch:
            yield (
                path,
                f'"{channel}" is delivered by {channel.delivery_mode}; '
                f"a campaign can use only batch channels ({modes}).",
            )
        elif channel.status != Status.ACTIVE:
            yield path, f'"{channel}" is {channel.status}; it must be active.'


def activation_faults(campaign: Campaign, given: Collection[str]) -> Iterator[Fault]:
    """Whatever is being made active, or retargeted while active, must be able to run."""
    retargeted = not {"status", "flow", "segment"}.isdisjoint(given)
    if campaign.status != Status.ACTIVE or not retargeted:
        return
    if campaign.flow_id is not None and campaign.flow.published is None:
        yield "status", f'Cannot be active: the flow "{campaign.flow}" has no published version.'
    if campaign.segment_id is None:
        return
    segment, base = campaign.segment, campaign.segment.base_schema
    if not relation_exists(base.relation_schema, base.relation_name):
        yield "status", f'Cannot be active: the table of segment "{segment}" is gone.'
    elif not view_exists(segment):
        yield "status", f'Cannot be active: the view of segment "{segment}" is gone.'


def view_exists(segment: Segment) -> bool:
    return relation_exists(VIEW_SCHEMA, segment.view_name)


def relation_exists(schema: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('%%I.%%I', %s, %s)) IS NOT NULL", [schema, name])
        row: tuple[bool] = cursor.fetchone()
    return row[0]
