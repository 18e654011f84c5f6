"""When a campaign is due: its schedule as instants in UTC, with marks where clocks change.

Times of day are wall times of the campaign's zone. A fixed one (daily, weekly, monthly, cron
without `*` or `/` in minute and hour) fires once: the first time the clock shows it, or, when the
clock jumps over it, at the first instant after the jump. That holds for whole days too: what was
due on a day that a zone left out is due at 00:00 of the next. Cron with `*` or `/` in minute or
hour follows elapsed time: it fires whenever the clock shows a time that matches, so not at all in
a gap, and twice where a time is repeated.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from heapq import heappop, heappush
from itertools import islice
from zoneinfo import ZoneInfo

import holidays

from campaigns.schedule_words import cron_fault as cron_fault  # part of this interface
from campaigns.schedule_words import cron_words, grammar_fault, parse_cron
from executor.errors import Broken, Rejected

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
DAYS_OF_MONTH = frozenset(map(str, range(1, 29)))
SATURDAY_AND_SUNDAY = (6, 0)
CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
#: (instant in UTC, mark)
Fire = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a campaign says about when it runs."""

    kind: str  # "manual" | "daily" | "weekly" | "monthly"
    time: str = "09:00"  # HH:mm in `zone`
    zone: str = "UTC"  # IANA
    day_of_week: int | None = None  # 0 Sunday .. 6 Saturday
    day_of_month: str | None = None  # "1" .. "28" | "last_working_day"
    cron: str | None = None  # five fields; takes precedence over `kind`
    holiday_calendar: str = ""  # "" none; a country "US", "US-NY", or a market "XECB", "XNYS"
    weekend: tuple[int, ...] = SATURDAY_AND_SUNDAY  # 0 Sunday .. 6 Saturday


@dataclass(frozen=True, slots=True)
class Instant:
    """One due instant. When two due times fall on one instant, the mark is that of the earlier."""

    at: datetime  # UTC
    local: datetime  # the same, in the schedule's zone
    mark: str  # "" | "gap": the time is left out that day | "repeated, first" | "repeated, second"


def instants(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield each due instant after `after` (aware) in UTC, ascending; for manual, none.

    Ends when nothing can fire any more. Raises Rejected for a schedule that has no meaning.
    """
    return (at for at, _ in fires(schedule, after))


def next_instant(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first due instant after `after` (aware) in UTC, or None."""
    return next(instants(schedule, after), None)


def preview(schedule: Schedule, after: datetime, count: int = 12) -> list[Instant]:
    """Return the next `count` due instants after `after` (aware); fewer when there are no more."""
    zone = zone_of(schedule)
    return [
        Instant(at, at.astimezone(zone), mark) for at, mark in islice(fires(schedule, after), count)
    ]


def fires(schedule: Schedule, after: datetime) -> Iterator[Fire]:
    if after.tzinfo is None:
        raise Broken("Instants are counted from an aware datetime.")
    zone = zone_of(schedule)
    check(schedule)
    return fires_after(schedule, zone, after.astimezone(UTC))


def fires_after(schedule: Schedule, zone: ZoneInfo, after: datetime) -> Iterator[Fire]:
    place = by_elapsed_time if follows_elapsed_time(schedule.cron) else once_each
    try:
        walls = wall_times(schedule, wall_before(after, zone))
        yield from (fire for fire in place(walls, zone) if fire[0] > after)
    except OverflowError:
        return  # beyond the year 9999


# Wall times: naive, in the schedule's zone, as if its clock were never changed.


def wall_before(after: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall time such that each instant after `after` shows a later one."""
    here, tomorrow = after.astimezone(zone), (after + timedelta(days=1)).astimezone(zone)
    wall, later = here.replace(tzinfo=None), tomorrow.replace(tzinfo=None)
    return min(wall, later - timedelta(days=1))  # the second: the clock is put back before then


def wall_times(schedule: Schedule, start: datetime) -> Iterator[datetime]:
    """Yield the wall times of the schedule, ascending; all after `start`, maybe one before."""
    if schedule.cron is None:
        clock = time.fromisoformat(schedule.time)
        return (datetime.combine(day, clock) for day in days(schedule, start.date()))
    parsed = parse_cron(schedule.cron, start)
    return iter(()) if parsed is None else parsed


def days(schedule: Schedule, start: date) -> Iterator[date]:
    if schedule.kind == "daily":
        yield from dates(start, 1)
    elif schedule.kind == "weekly":
        ahead = ((schedule.day_of_week or 0) - start.isoweekday()) % 7
        yield from dates(start + timedelta(days=ahead), 7)
    elif schedule.kind == "monthly" and schedule.day_of_month == "last_working_day":
        yield from last_working_days(schedule, start)
    elif schedule.kind == "monthly":
        day = int(schedule.day_of_month or 0)
        yield from (date(year, month, day) for year, month in months(start))


def dates(start: date, step: int) -> Iterator[date]:
    return map(date.fromordinal, range(start.toordinal(), date.max.toordinal() + 1, step))


def months(start: date) -> Iterator[tuple[int, int]]:
    """Yield (year, month) from the month of `start` to the end of 9999."""
    for number in range(start.year * 12 + start.month - 1, (date.max.year + 1) * 12):
        yield number // 12, number % 12 + 1


def last_working_days(schedule: Schedule, start: date) -> Iterator[date]:
    """Yield the last working day of each month; a month without one is left out."""
    working_days = {*range(7)} - {*schedule.weekend}
    for year, month in months(start) if working_days else ():
        off = holidays_of(schedule.holiday_calendar, year)
        for day in range(monthrange(year, month)[1], 0, -1):
            last = date(year, month, day)
            if last.isoweekday() % 7 in working_days and last not in off:
                yield last
                break


@lru_cache(maxsize=1024)
def holidays_of(code: str, year: int) -> frozenset[date]:
    """Return the days off of a calendar in a year, observed days included, half days not."""
    if not code:
        return frozenset()
    if code in markets():
        return frozenset(holidays.financial_holidays(code, years=year))
    country, _, subdivision = code.partition("-")
    return frozenset(holidays.country_holidays(country, subdivision or None, years=year))


# From wall times to instants.


def once_each(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[Fire]:
    """Yield for each wall time the first instant whose clock shows it or, after a jump, more."""
    last = None
    for wall in walls:
        first, second = shown(wall, zone)
        if second < first:
            fire = after_jump(wall, zone, second, first), "gap"
        else:
            fire = first, "repeated, first" if second > first else ""
        if fire[0] != last:
            yield fire
        last = fire[0]


def by_elapsed_time(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[Fire]:
    """Yield every instant whose clock shows one of the wall times."""
    repeated: list[Fire] = []
    for wall in walls:
        first, second = shown(wall, zone)
        if second < first:
            continue
        # What the clock shows first never goes back, so nothing can come before this any more.
        while repeated and repeated[0][0] < first:
            yield heappop(repeated)
        yield first, "repeated, first" if second > first else ""
        if second > first:
            heappush(repeated, (second, "repeated, second"))
    yield from sorted(repeated)


def shown(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the instants in UTC at which the clock shows a wall time: first and last.

    They are the same on most days. In a gap there is none; then the second lies before the gap
    and the first at or after its end (PEP 495).
    """
    first, second = wall.replace(tzinfo=zone), wall.replace(tzinfo=zone, fold=1)
    return first.astimezone(UTC), second.astimezone(UTC)


def after_jump(wall: datetime, zone: ZoneInfo, before: datetime, behind: datetime) -> datetime:
    """Return the first instant, to the second, whose clock shows `wall` or more."""
    low, high = 0, int((behind - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        local = (before + timedelta(seconds=middle)).astimezone(zone)
        if local.replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return before + timedelta(seconds=high)


def follows_elapsed_time(cron: str | None) -> bool:
    return cron is not None and any(set("*/") & set(field) for field in cron.split()[:2])


# What is wrong, and in words.


def zone_of(schedule: Schedule) -> ZoneInfo:
    try:
        return ZoneInfo(schedule.zone)
    except (KeyError, ValueError, OSError) as error:
        raise Rejected(f'The time zone "{schedule.zone}" is not known.') from error


def check(schedule: Schedule) -> None:
    """Raise Rejected for a schedule that has no meaning."""
    fault = None
    if schedule.cron is not None:
        fault = grammar_fault(schedule.cron)
    elif schedule.kind != "manual" and not CLOCK.fullmatch(schedule.time):
        fault = f'The time "{schedule.time}" is not HH:mm.'
    elif schedule.kind == "weekly" and schedule.day_of_week not in range(7):
        fault = "A weekly schedule needs a day, 0 (Sunday) to 6 (Saturday)."
    elif schedule.kind == "monthly" and schedule.day_of_month == "last_working_day":
        fault = holiday_calendar_fault(schedule.holiday_calendar)
    elif schedule.kind == "monthly" and schedule.day_of_month not in DAYS_OF_MONTH:
        fault = 'A monthly schedule needs a day: "1" to "28" or "last_working_day".'
    if fault:
        raise Rejected(fault)


def holiday_calendar_fault(code: str) -> str | None:
    """Say why a holiday calendar is not known, or return None. The empty code is no calendar."""
    country, dash, subdivision = code.partition("-")
    if not code or code in markets() or (not dash and country in countries()):
        return None
    if country not in countries():
        return (
            f'"{code}" is not a holiday calendar: a country, such as "IT", a country and its'
            ' subdivision, such as "US-NY", or a market, such as "XECB" or "XNYS".'
        )
    known = countries()[country]
    if subdivision in known:
        return None
    allowed = f"one of: {', '.join(known)}" if known else "none"
    return f'"{subdivision}" is not a subdivision of "{country}", which has {allowed}.'


@cache
def countries() -> dict[str, list[str]]:
    """Country code (ISO 3166, two letters or three) -> codes and names of its subdivisions."""
    return holidays.list_supported_countries()


@cache
def markets() -> frozenset[str]:
    return frozenset(holidays.list_supported_financial())


def describe(schedule: Schedule) -> str:
    """Return the schedule in words, zone included. Raises Rejected if it has no meaning."""
    check(schedule)
    if schedule.cron is not None:
        return f"{cron_words(schedule.cron)} ({schedule.zone})"
    if schedule.kind == "manual":
        return "Not scheduled"
    notes = [schedule.zone]
    if schedule.kind == "daily":
        which = "Every day"
    elif schedule.kind == "weekly":
        which = f"Every {DAYS[schedule.day_of_week or 0]}"
    elif schedule.day_of_month == "last_working_day":
        which = "On the last working day of every month"
        notes += working_day_notes(schedule)
    else:
        which = f"On day {schedule.day_of_month} of every month"
    return f"{which} at {schedule.time} ({'; '.join(notes)})"


def working_day_notes(schedule: Schedule) -> Iterator[str]:
    if schedule.holiday_calendar:
        yield f"holidays of {schedule.holiday_calendar}"
    if {*schedule.weekend} != {*SATURDAY_AND_SUNDAY}:
        weekend = [day for number, day in enumerate(DAYS) if number in schedule.weekend]
        yield f"weekend {', '.join(weekend) or 'none'}"
