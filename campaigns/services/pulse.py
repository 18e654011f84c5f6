"""The scheduler: looks which campaigns are due, and makes one run of each instant that has come.

All it goes by is in PostgreSQL, so any number of pulses may beat at once, or none for a while:
a campaign is decided about by whoever holds its row, and each instant leaves one tick, whatever
became of it.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from django.db import InterfaceError, OperationalError, transaction

from campaigns.models import Campaign, CampaignRun, Status, Tick
from campaigns.schedule import Schedule, instants, next_instant
from campaigns.services.errors import Conflict
from campaigns.services.runs import check_targets, insert_run
from campaigns.services.schedules import (
    database_now,
    followed_schedule,
    schedule_of,
    wait_for,
)
from executor.errors import Rejected
from executor.tasks import dispatch
from executor.workers import seen

logger = logging.getLogger(__name__)

#: What comes no later than this is on time: the pulse itself comes every 15 s.
ON_TIME = timedelta(seconds=60)
#: The latest instants that get a tick each; those before them share one.
MAX_TICKS = 200
#: Campaigns between two signs of life.
BATCH = 100

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a pulse did: the campaigns that were due, ticks by outcome, and messages sent."""

    campaigns: int = 0
    run: int = 0
    skipped: int = 0
    missed: int = 0
    refused: int = 0
    dispatched: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """Instants that have come and have no tick, ascending; those before `latest` only counted."""

    latest: list[datetime]
    first: datetime | None
    earlier: int


def pulse() -> Counts:
    """Decide about all that is due, then have the work dispatched that nobody has taken up."""
    done: Counter[str] = Counter()
    while True:
        fired = fire_due(BATCH)
        done += fired
        seen("pulse")
        if fired["campaigns"] < BATCH:
            return Counts(**done, dispatched=dispatch())


def fire_due(limit: int, clock: Clock = database_now) -> Counter[str]:
    """Decide about at most `limit` due campaigns, each in a transaction of its own.

    Returns the number of `campaigns`, and of ticks by outcome.
    """
    done: Counter[str] = Counter()
    while done["campaigns"] < limit:
        ticks = fire_next(clock)
        if ticks is None:
            break
        done["campaigns"] += 1
        for tick in ticks:
            done[str(tick.outcome)] += tick.instants
    return done


def fire_next(clock: Clock) -> list[Tick] | None:
    """Decide about the campaign that has been due for longest; None if none is due."""
    with transaction.atomic():
        now = clock()
        campaign = lock_due(now)
        since = campaign.next_run_at if campaign else None
        if campaign is None or since is None:
            return None
        try:
            with transaction.atomic():
                return fire(campaign, since, now)
        except (OperationalError, InterfaceError):
            raise  # the database's trouble is not the campaign's
        except Exception:  # one campaign must not stop all others
            logger.exception("the scheduler fails on campaign %s", campaign.public_id)
            return [give_up(campaign, since, now)]


def lock_due(now: datetime) -> Campaign | None:
    rows = Campaign.unscoped.filter(status=Status.ACTIVE, next_run_at__lte=now)
    rows = rows.select_related("flow", "segment").order_by("next_run_at", "pk")
    due: Campaign | None = rows.select_for_update(
        skip_locked=True, of=("self",), no_key=True
    ).first()
    return due


def fire(campaign: Campaign, since: datetime, now: datetime) -> list[Tick]:
    """Make the ticks of a locked campaign from `since` to `now`, at most one of them with a run."""
    schedule = followed_schedule(campaign)
    if schedule is None:
        wait_for(campaign, None)
        return []
    due = find_due(campaign, schedule, since, now)
    ticks = [*missed_ticks(campaign, due, now), *newest_tick(campaign, due, now)]
    Tick.unscoped.bulk_create(ticks)
    wait_for(campaign, next_instant(schedule, now))
    return ticks


def find_due(campaign: Campaign, schedule: Schedule, since: datetime, now: datetime) -> Due:
    start = since - timedelta(seconds=1)  # `since` is an instant itself
    decided = was_decided(campaign, since)
    first, count = None, 0
    latest: deque[datetime] = deque(maxlen=MAX_TICKS)
    for at in takewhile(lambda at: at <= now, instants(schedule, start)):
        if not decided(at):
            first = first or at
            count += 1
            latest.append(at)
    return Due([*latest], first, count - len(latest))


def was_decided(campaign: Campaign, since: datetime) -> Callable[[datetime], bool]:
    """Whether an instant has its tick, or shares one, from before `next_run_at` was set back."""
    ticks = Tick.unscoped.filter(campaign=campaign)
    alone = {*ticks.filter(scheduled_for__gte=since).values_list("scheduled_for", flat=True)}
    shared = ticks.filter(instants__gt=1, decided_at__gte=since)
    spans = [*shared.values_list("scheduled_for", "decided_at")]
    return lambda at: at in alone or any(first <= at <= last for first, last in spans)


def missed_ticks(campaign: Campaign, due: Due, now: datetime) -> list[Tick]:
    """The ticks of all instants but the newest."""
    ticks = [
        missed(campaign, at, why_missed(campaign, at, due.latest[-1], now))
        for at in due.latest[:-1]
    ]
    if due.earlier and due.first:
        reason = why_missed(campaign, due.first, due.latest[-1], now)
        shared = missed(campaign, due.first, f"The first of {due.earlier}: {reason}")
        shared.instants = due.earlier
        ticks.insert(0, shared)
    return ticks


def newest_tick(campaign: Campaign, due: Due, now: datetime) -> list[Tick]:
    """The tick of the newest instant, with its run if there is to be one."""
    if not due.latest:
        return []
    at = due.latest[-1]
    reason = why_late(campaign, now - at)
    return [missed(campaign, at, reason) if reason else run_tick(campaign, at)]


def run_tick(campaign: Campaign, at: datetime) -> Tick:
    """Make the run of an instant, unless there is something in its way."""
    tick = Tick(tenant_id=campaign.tenant_id, campaign=campaign, scheduled_for=at)
    try:
        check_targets(campaign.flow, campaign.segment)
    except Conflict as error:
        tick.outcome, tick.reason = Tick.Outcome.REFUSED, f"{error}."
        return tick
    runs = CampaignRun.unscoped.filter(campaign=campaign, dry_run=False)
    unfinished = runs.filter(status__in=CampaignRun.UNFINISHED)
    other = unfinished.order_by("-run_number").first()
    if other is not None and campaign.overlap_policy == Campaign.OverlapPolicy.SKIP:
        tick.outcome = Tick.Outcome.SKIPPED
        tick.reason = f"Run {other.run_number} ({other.public_id}) was {other.status}."
        return tick
    queues = campaign.overlap_policy == Campaign.OverlapPolicy.QUEUE
    tick.outcome = Tick.Outcome.RUN
    tick.run = insert_run(
        campaign,
        triggered_by="schedule",
        scheduled_for=at,
        in_turn=other is not None and queues,
        dispatch=False,  # the pulse dispatches what it has made when all is made
    )
    return tick


def missed(campaign: Campaign, at: datetime, reason: str) -> Tick:
    return Tick(
        tenant_id=campaign.tenant_id,
        campaign=campaign,
        scheduled_for=at,
        outcome=Tick.Outcome.MISSED,
        reason=reason,
    )


def why_missed(campaign: Campaign, at: datetime, newest: datetime, now: datetime) -> str:
    """Why an instant is missed that has a newer one."""
    late = now - at
    replaced = f"{spell(late)} late; the newer instant {newest:%Y-%m-%d %H:%M} UTC took its place."
    return why_late(campaign, late) or replaced


def why_late(campaign: Campaign, late: timedelta) -> str:
    """Why an instant comes too late to run; empty if it does not."""
    if late <= ON_TIME:
        return ""
    if campaign.misfire_policy == Campaign.MisfirePolicy.SKIP:
        return f"{spell(late)} late; the campaign skips what is late."
    grace = campaign.misfire_grace_minutes
    if late <= timedelta(minutes=grace):
        return ""
    return f"{spell(late)} late; the campaign runs what is at most {grace} min late."


def spell(late: timedelta) -> str:
    """45 s, 5 min, 3 h 5 min, 2 d 3 h"""
    seconds = int(late.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    if hours >= 24:
        parts = (hours // 24, "d"), (hours % 24, "h")
    else:
        parts = (hours, "h"), (minutes, "min")
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def give_up(campaign: Campaign, since: datetime, now: datetime) -> Tick:
    """Let go what has come; wait for the next instant, or for a change if there can be none."""
    following, reason = None, "The scheduler failed on it; the log of its process says why."
    try:
        following = next_instant(schedule_of(campaign), now)
    except Rejected as fault:
        reason = f"The schedule cannot be followed, so the campaign waits for a change: {fault}"
    except Exception:
        reason = f"{reason} The campaign waits for a change of its schedule."
    tick = missed(campaign, since, reason)
    tick.outcome = Tick.Outcome.REFUSED
    Tick.unscoped.bulk_create([tick], ignore_conflicts=True)
    wait_for(campaign, following)
    return tick
