"""What a campaign says about when it runs, and the instant that the scheduler waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from campaigns.models import Campaign, Status
from campaigns.schedule import Instant, Schedule, describe, next_instant, preview
from executor.errors import Rejected


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule for its reader."""

    description: str
    timezone: str
    next_run_at: datetime | None
    instants: Sequence[Instant]


def schedule_of(campaign: Campaign) -> Schedule:
    return Schedule(
        kind=campaign.schedule_type,
        time=campaign.schedule_time,
        zone=campaign.schedule_timezone,
        day_of_week=campaign.schedule_day_of_week,
        day_of_month=campaign.schedule_day_of_month,
        cron=campaign.schedule_cron,
        holiday_calendar=campaign.holiday_calendar,
        weekend=tuple(campaign.weekend_days),
    )


def followed_schedule(campaign: Campaign) -> Schedule | None:
    """The schedule that the scheduler follows; None for a campaign that waits for nothing."""
    manual = campaign.schedule_type == Campaign.ScheduleType.MANUAL
    if campaign.status != Status.ACTIVE or (manual and campaign.schedule_cron is None):
        return None
    return schedule_of(campaign)


def reschedule(campaign: Campaign, now: datetime) -> None:
    """Have the scheduler wait for the first instant after `now`; earlier ones are given up."""
    schedule = followed_schedule(campaign)
    wait_for(campaign, None if schedule is None else next_instant(schedule, now))


def wait_for(campaign: Campaign, at: datetime | None) -> None:
    # No change of the configuration: it leaves no history and raises no version.
    Campaign.objects.of(campaign.tenant_id).filter(pk=campaign.pk).update(next_run_at=at)
    campaign.next_run_at = at


def database_now() -> datetime:
    """PostgreSQL's clock, the only one that several machines share; in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return row[0]


def in_words(campaign: Campaign) -> str:
    """The schedule in words or, for one that has no meaning any more, what is wrong with it."""
    try:
        return describe(schedule_of(campaign))
    except Rejected as error:
        return str(error)


def timetable(campaign: Campaign, now: datetime) -> Timetable:
    """The schedule in words with its next instants, whether or not the campaign is active.

    There are none for a schedule that has no meaning any more. Of a campaign that is not saved,
    the next run is the first of them.
    """
    try:
        instants = preview(schedule_of(campaign), now)
    except Rejected:
        instants = []
    first = instants[0].at if instants else None
    next_run_at = campaign.next_run_at if campaign.pk else first
    return Timetable(in_words(campaign), campaign.schedule_timezone, next_run_at, instants)
