"""The scheduler over days on which clocks are changed, by a clock that is stepped forth and back.

The real scheduler runs in several threads on the sandbox's database; only what it takes for "now"
is the drill's. Clocks disagree, and are put back now and then, as badly kept ones are. Whatever
they show, each instant of a schedule must leave one tick and one run.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from random import Random
from zoneinfo import ZoneInfo

from django.db import connection

from campaigns.management.drill.checks import Finding
from campaigns.models import Campaign, CampaignRun, Status, Tick
from campaigns.schedule import instants
from campaigns.services.campaigns import CampaignFields, create_campaign
from campaigns.services.pulse import fire_due
from campaigns.services.schedules import reschedule, schedule_of, wait_for

#: By an hour, by half an hour, with a winter that is the odd one out, and around Ramadan.
ZONES = ("America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca")
YEAR = 2027
AROUND = timedelta(hours=4)
#: Pulses at the same moment, by clocks that differ by so much at most.
PULSES, DISAGREE = 3, timedelta(minutes=45)
#: A step forth is shorter than the time between two instants of a schedule, so none comes late.
STEP_MINUTES, BACK_MINUTES, BACK_CHANCE = (1, 9), (1, 90), 0.2


@dataclass(frozen=True, slots=True)
class Change:
    """Clocks of a zone are changed at an instant, by so much."""

    zone: str
    at: datetime
    by: timedelta


def step_over(like: Campaign, found: Sequence[Change], dice: Random) -> Finding:
    """Step over each change with campaigns for the flow and segment of the one given."""
    looked_at, broken = 0, list[str]()
    for change in found:
        campaigns = _campaigns(like, change)
        begin, end = change.at - AROUND, change.at + AROUND
        _walk(begin, end, dice)
        for campaign in campaigns:
            looked_at += len(_due(campaign, begin, end))
            broken += faults(campaign, begin, end)
            wait_for(campaign, None)
    return Finding("one tick and run per instant over DST", looked_at, broken)


def changes(zone: str) -> list[Change]:
    """The changes of the year, to the quarter of an hour."""
    found, quarter = [], timedelta(minutes=15)
    at, last = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)
    while at < last:
        before, after = (each.astimezone(ZoneInfo(zone)).utcoffset() for each in (at, at + quarter))
        if before != after and before is not None and after is not None:
            found.append(Change(zone, at + quarter, after - before))
        at += quarter
    return found


def _campaigns(like: Campaign, change: Change) -> list[Campaign]:
    """One in the very time that is left out or repeated, and others around it."""
    wall = (change.at - abs(change.by) / 2).astimezone(ZoneInfo(change.zone)).replace(tzinfo=None)
    if change.by > timedelta(0):
        wall += abs(change.by)
    hours = ",".join(str((wall.hour + more) % 24) for more in (-1, 0, 1))
    kinds: list[CampaignFields] = [
        {"schedule_type": "daily", "schedule_time": f"{wall:%H:%M}"},
        {"schedule_cron": f"{wall.minute} {hours} * * *"},
        {"schedule_cron": "*/20 * * * *"},
        {"schedule_cron": "10,40 * * * *"},
    ]
    return [_campaign(like, change, kind) for kind in kinds]


def _campaign(like: Campaign, change: Change, kind: CampaignFields) -> Campaign:
    campaign = create_campaign(
        like.tenant,
        {
            "name": f"{change.zone} {change.at:%Y-%m-%d} {' '.join(map(str, kind.values()))}",
            "status": Status.ACTIVE,
            "flow": like.flow,
            "segment": like.segment,
            "schedule_timezone": change.zone,
            "overlap_policy": Campaign.OverlapPolicy.ALLOW,
            **kind,
        },
    )
    reschedule(campaign, change.at - AROUND)
    return campaign


def _walk(begin: datetime, end: datetime, dice: Random) -> None:
    """Step from `begin` to `end`, with several pulses at each step, and back now and then."""
    now = begin
    with ThreadPoolExecutor(PULSES) as threads:
        while now < end:
            if dice.random() < BACK_CHANCE:
                back = now - timedelta(minutes=dice.randint(*BACK_MINUTES))
                list(threads.map(_pulse, [back] * PULSES))
            now = min(end, now + timedelta(minutes=dice.randint(*STEP_MINUTES)))
            behind = [now - DISAGREE * dice.random() for _ in range(PULSES - 2)]
            list(threads.map(_pulse, [now, *behind, now]))


def _pulse(now: datetime) -> None:
    try:
        fire_due(1000, clock=lambda: now)
    finally:
        connection.close()


def _due(campaign: Campaign, begin: datetime, end: datetime) -> list[datetime]:
    return list(takewhile(lambda at: at <= end, instants(schedule_of(campaign), begin)))


def faults(campaign: Campaign, begin: datetime, end: datetime) -> Iterator[str]:
    due = _due(campaign, begin, end)
    ticks = Tick.unscoped.filter(campaign=campaign).order_by("scheduled_for")
    runs = CampaignRun.unscoped.filter(campaign=campaign).order_by("scheduled_for")
    for what, found in (
        ("ticks", list(ticks.values_list("scheduled_for", flat=True))),
        ("runs", list(runs.values_list("scheduled_for", flat=True))),
    ):
        if found != due:
            odd = sorted({*due} ^ {*found}) or "one twice"
            yield f'"{campaign.name}" has {len(found)} {what} of {len(due)} instants: {odd}'
    if campaign.schedule_type == Campaign.ScheduleType.DAILY and len(due) != 1:
        yield f'"{campaign.name}" was due {len(due)} times that day'
