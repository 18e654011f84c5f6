"""Random schedules in many zones agree with an oracle, and with croniter where that may be asked.

SCHEDULE_ZONES is the number of zones, or "all"; 40 unless set, and those 40 are in any number.
With `-o junit_family=xunit1 --junitxml=FILE` each test writes there how much it has compared.
"""

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import takewhile
from zoneinfo import ZoneInfo, available_timezones

import holidays
import pytest
from croniter import CroniterBadDateError, croniter

from campaigns.schedule import Schedule, instants, next_instant
from tests.schedule_oracle import (
    DAY,
    Rule,
    due,
    instant_of,
    is_last_working_day,
    minute_of,
    transitions,
)

Case = tuple[Schedule, Rule]
Record = Callable[[str, object], None]
#: (first minute, one behind the last)
Window = tuple[int, int]

#: All that is odd: changes at midnight, of half an hour, of two, for Ramadan, across the date
#: line, negative, abolished, announced late; and offsets of 45 minutes.
NASTY_NAMES = """
    Africa/Cairo Africa/Casablanca Africa/Juba Africa/Lagos
    America/Asuncion America/Havana America/Mexico_City America/New_York America/Los_Angeles
    America/Nuuk America/Santiago America/Sao_Paulo America/Scoresbysund America/St_Johns
    Antarctica/Casey Antarctica/Troll
    Asia/Almaty Asia/Amman Asia/Beirut Asia/Gaza Asia/Hebron Asia/Jerusalem Asia/Kathmandu
    Asia/Kolkata Asia/Tehran Asia/Tokyo Atlantic/Azores
    Australia/Eucla Australia/Lord_Howe Australia/Sydney
    Europe/Berlin Europe/Dublin Europe/London Europe/Rome Europe/Volgograd
    Pacific/Apia Pacific/Chatham Pacific/Easter Pacific/Kwajalein UTC
"""
NASTY = NASTY_NAMES.split()
#: Days left out or had twice, and changes at midnight that are history.
HISTORY = [
    ("Pacific/Apia", 2011),
    ("Pacific/Fakaofo", 2011),
    ("Pacific/Kwajalein", 1993),
    ("Pacific/Kiritimati", 1994),
    ("Pacific/Kwajalein", 1969),
    ("America/Sao_Paulo", 2017),
    ("Africa/Cairo", 2014),
    ("Asia/Pyongyang", 2015),
    ("America/Caracas", 2016),
    ("Europe/London", 1968),
    ("America/St_Johns", 2010),
    ("Antarctica/Casey", 2010),
    ("Asia/Dhaka", 2009),
]
CALENDARS = [("", None), ("IT", ("IT", None)), ("US-NY", ("US", "NY")), ("AE", ("AE", None))]
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def zones() -> list[str]:
    asked = os.environ.get("SCHEDULE_ZONES", "40")
    others = sorted(
        name
        for name in available_timezones() - {*NASTY}
        if "/" in name and not name.startswith(("Etc/", "SystemV/", "posix/", "right/"))
    )
    if asked == "all":
        return NASTY + others
    return NASTY[: int(asked)] + random.Random(4).sample(others, max(0, int(asked) - len(NASTY)))


def test_forty_zones_are_the_default() -> None:
    assert len({*NASTY}) == 40
    assert {*NASTY} <= available_timezones()


def field(draw: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    """Return the text of a cron field without a star or a step, and what it means."""
    if draw.random() < 0.3:
        first, last = sorted(draw.sample(range(low, high + 1), 2))
        return f"{first}-{last}", {*range(first, last + 1)}
    return few(draw, low, high)


def few(draw: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    values = draw.sample(range(low, high + 1), draw.choice([1, 1, 2, 3]))
    return ",".join(map(str, values)), {*values}


def stepped(draw: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    step = draw.choice([2, 3, 5, 7])
    first = draw.randint(low, high)
    last = draw.randint(first + 1, high + 1)
    if last > high:
        return f"*/{step}", {*range(low, high + 1, step)}
    return f"{first}-{last}/{step}", {*range(first, last + 1, step)}


def days(draw: random.Random) -> tuple[str, str, set[int], set[int]]:
    """Return day-of-month, day-of-week (texts) and what they mean."""
    dates, numbers = field(draw, 1, 31)
    weekdays, of_week = field(draw, 0, 7)
    if draw.random() < 0.2:
        name = draw.randrange(7)
        weekdays, of_week = WEEKDAYS[name], {name}
    return dates, weekdays, numbers, {number % 7 for number in of_week}


def cron_days(draw: random.Random) -> tuple[str, Rule]:
    """Return day-of-month, month, day-of-week and a rule with these days and no times."""
    dates, weekdays, numbers, of_week = days(draw)
    months, in_months = ("*", {*range(1, 13)}) if draw.random() < 0.7 else field(draw, 1, 12)
    form = draw.choice(["every", "date", "weekday", "either", "both", "last"])
    if form == "both":
        dates, numbers = stepped(draw, 1, 31)
        form = "both" if dates.startswith("*") else "either"

    def is_due(day: date) -> bool:
        on_date, on_weekday = day.day in numbers, day.isoweekday() % 7 in of_week
        return (
            day.month in in_months
            and {
                "every": True,
                "date": on_date,
                "weekday": on_weekday,
                "either": on_date or on_weekday,
                "both": on_date and on_weekday,
                "last": (day + timedelta(days=1)).day == 1,
            }[form]
        )

    text = {
        "every": f"* {months} *",
        "date": f"{dates} {months} *",
        "weekday": f"* {months} {weekdays}",
        "last": f"L {months} *",
    }.get(form, f"{dates} {months} {weekdays}")
    return text, Rule(frozenset(), frozenset(), is_due)


def cron(draw: random.Random, zone: str) -> Case:
    text, rule = cron_days(draw)
    elapsed = draw.random() < 0.5
    minute, minutes = few(draw, 0, 59)
    # Near midnight and in the small hours, where clocks are changed.
    hour, hours = field(draw, 0, draw.choice([3, 23]))
    which = draw.choice(["minute", "hour", "any hour"]) if elapsed else ""
    if which == "minute":
        minute, minutes = stepped(draw, 0, 59)
        hour, hours = few(draw, 0, 3)
    elif which == "hour":
        hour, hours = stepped(draw, 0, 23)
    elif which == "any hour":
        hour, hours = "*", {*range(24)}
    elif draw.random() < 0.2:
        first = draw.randrange(54)
        minute, minutes = f"{first}-{first + 5}", {*range(first, first + 6)}
    schedule = Schedule("manual", zone=zone, cron=f"{minute} {hour} {text}")
    return schedule, Rule(frozenset(minutes), frozenset(hours), rule.day, elapsed)


def simple(draw: random.Random, zone: str, kind: str) -> Case:
    hour = draw.choice([0, 0, 1, 2, 3, 23, draw.randrange(24)])
    minute = draw.choice([0, 15, 30, draw.randrange(60)])
    given = {"time": f"{hour:02}:{minute:02}", "zone": zone}
    times = frozenset({minute}), frozenset({hour})
    if kind == "weekly":
        weekday = draw.randrange(7)
        schedule = Schedule(kind, **given, day_of_week=weekday)
        return schedule, Rule(*times, lambda day: day.isoweekday() % 7 == weekday)
    if kind == "monthly":
        number = draw.randint(1, 28)
        schedule = Schedule(kind, **given, day_of_month=str(number))
        return schedule, Rule(*times, lambda day: day.day == number)
    return Schedule(kind, **given), Rule(*times, lambda day: True)


@cache
def calendar(country: str, subdivision: str | None) -> holidays.HolidayBase:
    return holidays.country_holidays(country, subdivision)


def working_day(draw: random.Random, zone: str) -> Case:
    hour, minute = draw.choice([0, 2, draw.randrange(24)]), draw.randrange(60)
    code, names = draw.choice(CALENDARS)
    weekend = draw.choice([(6, 0), (5, 6), (0,), ()])
    off = calendar(*names) if names else holidays.HolidayBase()
    schedule = Schedule(
        "monthly",
        time=f"{hour:02}:{minute:02}",
        zone=zone,
        day_of_month="last_working_day",
        holiday_calendar=code,
        weekend=weekend,
    )
    return schedule, Rule(
        frozenset({minute}),
        frozenset({hour}),
        cache(lambda day: is_last_working_day(day, off, {*weekend})),
    )


def cases(draw: random.Random, zone: str) -> Iterator[Case]:
    for kind in ("daily", "weekly", "monthly"):
        yield simple(draw, zone, kind)
    yield working_day(draw, zone)
    for _ in range(4):
        yield cron(draw, zone)


def windows(draw: random.Random, zone: ZoneInfo, first: int, last: int) -> list[Window]:
    """Return the days around transitions and month ends, and 20 weeks, ascending and apart."""
    start, end = (minute_of(datetime(year, 1, 1, tzinfo=UTC)) for year in (first, last))
    centers = [(at, 2 * DAY) for at in transitions(zone, start, end)]
    centers += [
        (minute_of(datetime(year, month, 1, tzinfo=UTC)), 2 * DAY)
        for year in range(first, last)
        for month in range(1, 13)
    ]
    centers += [(draw.randrange(start, end), 7 * DAY // 2) for _ in range(20)]
    merged: list[Window] = []
    for low, high in sorted((at - around, at + around) for at, around in centers):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def fired(schedule: Schedule, window: Window) -> list[datetime]:
    start, end = map(instant_of, window)
    return list(takewhile(lambda at: at < end, instants(schedule, start)))


def compare(case: Case, window: Window) -> int:
    schedule, rule = case
    expected = due(rule, ZoneInfo(schedule.zone), *window)
    assert fired(schedule, window) == [instant_of(at) for at in expected], (schedule, window)
    # And from a minute in the middle, where a clock may be between two times that look alike.
    after = random.Random(sum(window)).randrange(-180, 180) + sum(window) // 2
    following = next((instant_of(at) for at in expected if at > after), None)
    found = next_instant(schedule, instant_of(after))
    if following or (found and found < instant_of(window[1])):
        assert found == following, (schedule, window, after)
    return len(expected)


@pytest.mark.parametrize("zone", zones())
def test_ten_years_agree_with_the_oracle(zone: str, record_property: Record) -> None:
    draw = random.Random(zone)
    looked_at = windows(draw, ZoneInfo(zone), 2020, 2030)
    many = [*cases(draw, zone)]
    compared = sum(compare(case, window) for case in many for window in looked_at)
    record_property("schedules", len(many))
    record_property("instants", compared)
    assert compared > 500


@pytest.mark.parametrize(("zone", "year"), HISTORY)
def test_odd_days_of_the_past_agree_with_the_oracle(
    zone: str, year: int, record_property: Record
) -> None:
    draw = random.Random(f"{zone} {year}")
    looked_at = windows(draw, ZoneInfo(zone), year, year + 1)
    many = [case for _ in range(3) for case in cases(draw, zone)]
    compared = sum(compare(case, window) for case in many for window in looked_at)
    record_property("schedules", len(many))
    record_property("instants", compared)
    assert compared > 1000


@pytest.mark.parametrize("zone", zones())
def test_cron_agrees_with_croniter_where_no_clock_changes(
    zone: str, record_property: Record
) -> None:
    draw = random.Random(zone)
    start, end = (minute_of(datetime(year, 1, 1, tzinfo=UTC)) for year in (2020, 2030))
    changes = transitions(ZoneInfo(zone), start, end)
    compared = schedules = 0
    for _ in range(30):
        schedule, _ = cron(draw, zone)
        low = draw.randrange(start, end - 11 * DAY)
        high = low + 9 * DAY
        if reads_days_alike(schedule) and not any(low - DAY < at < high + DAY for at in changes):
            expected = by_croniter(schedule, instant_of(low), instant_of(high))
            assert fired(schedule, (low, high)) == expected, schedule
            compared += len(expected)
            schedules += 1
    record_property("schedules", schedules)
    record_property("instants", compared)
    assert compared > 100


def reads_days_alike(schedule: Schedule) -> bool:
    """Whether croniter reads the days as Vixie cron does: not */2 with a day of week."""
    _, _, dates, _, weekdays = str(schedule.cron).split()
    return weekdays == "*" or not dates.startswith("*/")


def by_croniter(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    theirs = croniter(schedule.cron, start.astimezone(ZoneInfo(schedule.zone)))
    until = takewhile(lambda at: at < end, theirs.all_next(datetime))
    try:
        return [at.astimezone(UTC) for at in until]
    except CroniterBadDateError:
        return []  # 31 February
