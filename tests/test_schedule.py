"""Schedules: due instants and their marks, working days, cron, words, and what is refused.

Agreement over ten years and many zones is in test_schedule_oracle.py.
"""

import time
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from campaigns.schedule import (
    Instant,
    Schedule,
    cron_fault,
    describe,
    holiday_calendar_fault,
    instants,
    next_instant,
    preview,
)
from executor.errors import Broken, Rejected

NEW_YORK = "America/New_York"
END = datetime.max.replace(tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(text: str, zone: str = "UTC") -> Schedule:
    return Schedule("manual", zone=zone, cron=text)


def walls(schedule: Schedule, after: str, count: int) -> list[str]:
    """Return the next wall times, with their mark if there is one."""
    return [
        f"{due.local:%Y-%m-%d %H:%M} {due.mark}".strip()
        for due in preview(schedule, utc(after), count)
    ]


def days(schedule: Schedule, after: str, count: int) -> list[str]:
    return [wall.split()[0] for wall in walls(schedule, after, count)]


def working_day(calendar: str, weekend: tuple[int, ...] = (6, 0)) -> Schedule:
    return Schedule(
        "monthly",
        time="07:30",
        zone="Europe/Rome",
        day_of_month="last_working_day",
        holiday_calendar=calendar,
        weekend=weekend,
    )


# What is due when.


def test_nothing_is_due_by_hand() -> None:
    assert next_instant(Schedule("manual"), utc("2026-01-01")) is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("daily"), ["2026-01-01 09:00", "2026-01-02 09:00"]),
        (Schedule("daily", zone="Asia/Kathmandu"), ["2026-01-01 09:00", "2026-01-02 09:00"]),
        (Schedule("weekly", day_of_week=0), ["2026-01-04 09:00", "2026-01-11 09:00"]),
        (Schedule("weekly", day_of_week=4), ["2026-01-01 09:00", "2026-01-08 09:00"]),
        (Schedule("weekly", day_of_week=6), ["2026-01-03 09:00", "2026-01-10 09:00"]),
        (Schedule("monthly", day_of_month="28"), ["2026-01-28 09:00", "2026-02-28 09:00"]),
        (Schedule("daily", cron="0 12 * * *"), ["2026-01-01 12:00", "2026-01-02 12:00"]),
    ],
)
def test_plain_schedules(schedule: Schedule, expected: list[str]) -> None:
    assert walls(schedule, "2026-01-01", 2) == expected


@pytest.mark.parametrize("schedule", [Schedule("daily"), cron("0 9 * * *"), cron("0 */9 * * *")])
def test_an_instant_is_due_after_not_at_the_time_given(schedule: Schedule) -> None:
    """P14: what is past is never due, however late the question; lateness is the pulse's."""
    before, at = utc("2026-01-01T08:59:59.999999"), utc("2026-01-01T09:00")
    assert next_instant(schedule, before) == at
    assert (next_instant(schedule, at) or at) > at
    assert (next_instant(schedule, at + timedelta(microseconds=1)) or at) > at


def test_after_a_pause_the_next_instant_is_the_regular_one() -> None:
    """P9: back at 12:30 after a pause over 09:00, nothing is due before 09:00 tomorrow."""
    daily, weekly = Schedule("daily", zone=NEW_YORK), Schedule("weekly", day_of_week=1)
    assert walls(daily, "2026-06-01T16:30", 2) == ["2026-06-02 09:00", "2026-06-03 09:00"]
    assert walls(weekly, "2026-06-01T12:30", 1) == ["2026-06-08 09:00"]


def test_the_zone_of_the_machine_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """P15: instants depend on the campaign's zone alone."""
    schedule, after = cron("0 */6 * * *", NEW_YORK), utc("2026-03-07T05:00")
    expected = preview(schedule, after)
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    time.tzset()
    try:
        assert datetime.now().astimezone().utcoffset() != timedelta(0)
        assert preview(schedule, after) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_zone_in_which_the_question_is_put_does_not_matter() -> None:
    after = utc("2026-11-01T05:10")
    schedule = cron("*/20 1 * * *", NEW_YORK)
    expected = list(islice(instants(schedule, after), 9))
    for zone in (NEW_YORK, "Asia/Kolkata"):
        assert list(islice(instants(schedule, after.astimezone(ZoneInfo(zone))), 9)) == expected


def test_a_naive_time_is_our_mistake() -> None:
    with pytest.raises(Broken):
        next_instant(Schedule("daily"), datetime(2026, 1, 1))  # noqa: DTZ001


# Where clocks change. New York: 2026-03-08 02:00 -> 03:00, 2026-11-01 02:00 -> 01:00.


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param(
            Schedule("daily", time="02:30", zone=NEW_YORK),
            ["2026-03-07 02:30", "2026-03-08 03:00 gap", "2026-03-09 02:30"],
            id="daily",
        ),
        pytest.param(
            cron("0,30 2 8-9 3 *", NEW_YORK),
            ["2026-03-08 03:00 gap", "2026-03-09 02:00"],
            id="two in one gap fire once",
        ),
        pytest.param(
            cron("0 2,3 8 3 *", NEW_YORK),
            ["2026-03-08 03:00 gap", "2027-03-08 02:00"],
            id="one in the gap and one at its end fire once",
        ),
        pytest.param(
            cron("*/30 1-3 8 3 *", NEW_YORK),
            ["2026-03-08 01:00", "2026-03-08 01:30", "2026-03-08 03:00", "2026-03-08 03:30"],
            id="elapsed time has no gap",
        ),
        pytest.param(
            cron("30 1-5/2 8 3 *", NEW_YORK),
            ["2026-03-08 01:30", "2026-03-08 03:30", "2026-03-08 05:30"],
            id="a step in the hour",
        ),
        pytest.param(cron("*/30 2 8 3 *", NEW_YORK), ["2027-03-08 02:00"], id="only in the gap"),
    ],
)
def test_a_clock_put_forward(schedule: Schedule, expected: list[str]) -> None:
    """P13, in spring."""
    assert walls(schedule, "2026-03-07T05:00", len(expected)) == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("daily", time="01:30", zone=NEW_YORK),
         ["2026-11-01 01:30 repeated, first", "2026-11-02 01:30"]),
        (cron("0,30 1 * * *", NEW_YORK),
         ["2026-11-01 01:00 repeated, first", "2026-11-01 01:30 repeated, first",
          "2026-11-02 01:00"]),
        (cron("0,30 * * * *", NEW_YORK),
         ["2026-11-01 00:30",
          "2026-11-01 01:00 repeated, first", "2026-11-01 01:30 repeated, first",
          "2026-11-01 01:00 repeated, second", "2026-11-01 01:30 repeated, second",
          "2026-11-01 02:00"]),
    ],
)  # fmt: skip
def test_a_clock_put_back(schedule: Schedule, expected: list[str]) -> None:
    """P13, in autumn: hourly is not skipped, daily not doubled."""
    assert walls(schedule, "2026-11-01T04:00", len(expected)) == expected


def test_in_between_two_times_that_look_alike_only_elapsed_time_is_due() -> None:
    between = utc("2026-11-01T05:40")  # 01:40, the first
    fixed, elapsed = cron("30 1 * * *", NEW_YORK), cron("30 * * * *", NEW_YORK)
    assert next_instant(fixed, between) == utc("2026-11-02T06:30")
    assert next_instant(elapsed, between) == utc("2026-11-01T06:30")


@pytest.mark.parametrize(
    ("zone", "clock", "after", "expected"),
    [
        # The whole of 2011-12-30 is left out: its 09:00 is due as 12-31 begins.
        ("Pacific/Apia", "09:00", "2011-12-29T20:00",
         ["2011-12-31 00:00 gap", "2011-12-31 09:00", "2012-01-01 09:00"]),
        ("Pacific/Kwajalein", "23:30", "1993-08-21T11:45",
         ["1993-08-22 00:00 gap", "1993-08-22 23:30"]),
        ("America/Sao_Paulo", "00:00", "2018-11-03T12:00",
         ["2018-11-04 01:00 gap", "2018-11-05 00:00"]),
        ("America/Sao_Paulo", "23:30", "2018-02-17T12:00",
         ["2018-02-17 23:30 repeated, first", "2018-02-18 23:30"]),
        ("Africa/Cairo", "00:30", "2026-04-23T12:00",
         ["2026-04-24 01:00 gap", "2026-04-25 00:30"]),
        ("Asia/Beirut", "00:00", "2026-03-28T12:00",
         ["2026-03-29 01:00 gap", "2026-03-30 00:00"]),
        ("Australia/Lord_Howe", "02:15", "2026-10-03T12:00",
         ["2026-10-04 02:30 gap", "2026-10-05 02:15"]),
        ("Australia/Lord_Howe", "01:45", "2026-04-04T12:00",
         ["2026-04-05 01:45 repeated, first", "2026-04-06 01:45"]),
        ("Pacific/Chatham", "03:00", "2026-09-26T12:00",
         ["2026-09-27 03:45 gap", "2026-09-28 03:00"]),
        ("Europe/Dublin", "01:30", "2026-03-28T12:00",
         ["2026-03-29 02:00 gap", "2026-03-30 01:30"]),
        ("Europe/Dublin", "01:30", "2026-10-24T12:00",
         ["2026-10-25 01:30 repeated, first", "2026-10-26 01:30"]),
        ("Antarctica/Troll", "02:30", "2026-03-28T12:00",
         ["2026-03-29 03:00 gap", "2026-03-30 02:30"]),
    ],
)  # fmt: skip
def test_odd_zones(zone: str, clock: str, after: str, expected: list[str]) -> None:
    schedule = Schedule("daily", time=clock, zone=zone)
    assert walls(schedule, after, len(expected)) == expected


def test_a_day_lived_twice_runs_a_fixed_time_once_and_elapsed_time_twice() -> None:
    """Kwajalein put its clocks back by 23 hours as 1969-09-30 ended."""
    after, zone = "1969-09-29T14:00", "Pacific/Kwajalein"
    first, second = "1969-09-30 06:00 repeated, first", "1969-09-30 06:00 repeated, second"
    noon = ["1969-09-30 18:00 repeated, first", second, "1969-09-30 18:00 repeated, second"]
    assert walls(cron("0 6-18/12 * * *", zone), after, 4) == [first, *noon]
    assert walls(cron("0 6 * * *", zone), after, 2) == [first, "1969-10-01 06:00"]


def test_a_preview_has_both_clocks() -> None:
    schedule = Schedule("daily", time="02:30", zone=NEW_YORK)
    due = preview(schedule, utc("2026-03-08T05:00"))
    assert len(due) == 12
    local = datetime(2026, 3, 8, 3, tzinfo=ZoneInfo(NEW_YORK))
    assert due[0] == Instant(utc("2026-03-08T07:00"), local, "gap")
    assert [each.at for each in due] == list(
        islice(instants(schedule, utc("2026-03-08T05:00")), 12)
    )


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        (Schedule("daily", zone="Mars/Olympus"), 'time zone "Mars/Olympus" is not known'),
        (Schedule("daily", zone="../passwd"), "is not known"),
        (Schedule("daily", time="9:00"), 'time "9:00" is not HH:mm'),
        (Schedule("weekly"), "needs a day"),
        (Schedule("weekly", day_of_week=7), "needs a day"),
        (Schedule("monthly"), "needs a day"),
        (Schedule("monthly", day_of_month="29"), "needs a day"),
        (cron("0 9 * *"), "five fields"),
    ],
)
def test_a_schedule_without_meaning_is_rejected_at_once(schedule: Schedule, fault: str) -> None:
    with pytest.raises(Rejected, match=fault):
        instants(schedule, utc("2026-01-01"))


# The end.


@pytest.mark.parametrize(
    "schedule",
    [
        cron("0 0 30 2 *"),
        cron("0 0 31 4,6,9,11 *", NEW_YORK),
        cron("0 0 */30 2 MON#5"),
        working_day("IT", weekend=(0, 1, 2, 3, 4, 5, 6)),
    ],
)
def test_what_can_never_fire_ends(schedule: Schedule) -> None:
    assert preview(schedule, utc("2026-01-01")) == []


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [("daily", None), ("weekly", None), ("monthly", None), ("daily", "0 9 L * *"),
     ("daily", "*/7 * * * *")],
)  # fmt: skip
def test_time_ends_with_the_year_9999(kind: str, text: str | None, zone: str) -> None:
    schedule = Schedule(kind, zone=zone, day_of_week=5, day_of_month="28", cron=text)
    last = list(instants(schedule, utc("9999-12-20")))
    assert last
    assert all(utc("9999-12-20") < at for at in last)
    assert last == sorted({*last})
    assert next_instant(schedule, END) is None


# Working days.


@pytest.mark.parametrize(
    ("calendar", "month", "expected"),
    [
        ("", "2026-05-15", "2026-05-29"),
        ("IT", "2026-05-15", "2026-05-29"),  # the 31st is a Sunday
        ("IT", "2026-10-15", "2026-10-30"),
        ("IT", "2026-12-15", "2026-12-31"),
        ("US", "2026-05-15", "2026-05-29"),
        ("US", "2027-05-15", "2027-05-28"),  # Memorial Day is the 31st
        ("US", "2027-12-15", "2027-12-30"),  # New Year's Day 2028, a Saturday, is observed the 31st
        ("XNYS", "2027-12-15", "2027-12-31"),  # but not by the stock exchange
        ("US", "2021-12-15", "2021-12-30"),
        ("XECB", "2024-03-15", "2024-03-28"),  # Good Friday is the 29th
        ("DE-BY", "2025-10-15", "2025-10-31"),
        ("DE-BB", "2025-10-15", "2025-10-30"),  # Reformation Day is no holiday in Bavaria
        ("USA", "2027-05-15", "2027-05-28"),
    ],
)
def test_the_last_working_day(calendar: str, month: str, expected: str) -> None:
    assert days(working_day(calendar), month, 1) == [expected]


def test_the_weekend_is_the_campaigns() -> None:
    assert days(working_day("", weekend=(5, 6)), "2026-07-15", 2) == ["2026-07-30", "2026-08-31"]
    assert days(working_day("", weekend=()), "2026-05-15", 1) == ["2026-05-31"]
    assert days(working_day("", weekend=(1,)), "2026-08-15", 1) == ["2026-08-30"]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("ZZ", '"ZZ" is not a holiday calendar: a country, such as "IT"'),
        ("us", '"us" is not a holiday calendar'),
        ("-NY", '"-NY" is not a holiday calendar'),
        ("US-ZZ", '"ZZ" is not a subdivision of "US", which has one of: AK, AL, AR'),
        ("US-", '"" is not a subdivision of "US"'),
        ("VA-RM", '"RM" is not a subdivision of "VA", which has none.'),
    ],
)
def test_a_calendar_that_is_not_known(code: str, fault: str) -> None:
    assert (holiday_calendar_fault(code) or "").startswith(fault)
    with pytest.raises(Rejected, match="is not a"):
        next_instant(working_day(code), utc("2026-01-01"))


def test_calendars() -> None:
    known = ["", "IT", "USA", "US-NY", "XECB", "XNYS"]
    assert [holiday_calendar_fault(code) for code in known] == [None] * 6


def test_each_month_has_one_last_working_day() -> None:
    """P17."""
    found = [date.fromisoformat(day) for day in days(working_day("IT"), "2020-01-01", 120)]
    assert [(day.year, day.month) for day in found] == [
        (year, month) for year in range(2020, 2030) for month in range(1, 13)
    ]


def test_a_last_working_day_that_has_passed_is_not_due_again() -> None:
    assert days(working_day("IT"), "2026-05-30", 1) == ["2026-06-30"]


# Cron.


@pytest.mark.parametrize("number", range(7))
def test_days_of_the_week_count_from_sunday(number: int) -> None:
    """P11: 0 is Sunday to 6 Saturday, in weekly as in cron; Python counts from Monday."""
    weekly = next_instant(Schedule("weekly", day_of_week=number), utc("2026-01-01"))
    assert weekly == next_instant(cron(f"0 9 * * {number}"), utc("2026-01-01"))
    assert weekly is not None
    assert (weekly.weekday() + 1) % 7 == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("0 9 11 * 5", ["2026-02-06", "2026-02-11", "2026-02-13"], id="or"),
        pytest.param("0 9 13 * *", ["2026-02-13", "2026-03-13"], id="date only"),
        pytest.param("0 9 * * 5", ["2026-02-06", "2026-02-13"], id="weekday only"),
        pytest.param("0 9 */2 * 1", ["2026-02-09", "2026-02-23"], id="a star narrows"),
        pytest.param("0 9 1-31/2 * 1", ["2026-02-01", "2026-02-02", "2026-02-03"], id="or again"),
        pytest.param("0 9 1-31 * 1", ["2026-02-01", "2026-02-02", "2026-02-03"], id="any or"),
        pytest.param("0 9 * * 0", ["2026-02-01", "2026-02-08"], id="Sunday is 0"),
        pytest.param("0 9 * * 7", ["2026-02-01", "2026-02-08"], id="Sunday is 7"),
        pytest.param("0 9 * * sun", ["2026-02-01", "2026-02-08"], id="Sunday has a name"),
        pytest.param("0 9 * * 5-7", ["2026-02-01", "2026-02-06", "2026-02-07"], id="up to 7"),
        pytest.param("0 9 * * */7", ["2026-02-01", "2026-02-08"], id="a step onto 7"),
        pytest.param("0 9 L * *", ["2026-02-28", "2026-03-31"], id="last day"),
        pytest.param("0 9 LW * *", ["2026-02-27", "2026-03-31"], id="last weekday"),
        pytest.param("0 9 * * MON#2", ["2026-02-09", "2026-03-09"], id="second Monday"),
        pytest.param("0 9 * * 5L", ["2026-02-27", "2026-03-27"], id="last Friday"),
        pytest.param("0 9 * * 0L", ["2026-02-22", "2026-03-29"], id="last Sunday"),
        pytest.param("0 9 * * 7#1", ["2026-02-01", "2026-03-01"], id="first Sunday"),
        pytest.param("0 9 29 2 *", ["2028-02-29", "2032-02-29"], id="leap days"),
        pytest.param("0 9 31 * *", ["2026-03-31", "2026-05-31"], id="short months left out"),
    ],
)
def test_days_of_cron(text: str, expected: list[str]) -> None:
    """P11: Sunday is 0 and 7. P12: either day is enough. P17: L and LW; short months."""
    assert cron_fault(text) is None
    assert days(cron(text), "2026-02-01", len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Must have five fields"),
        ("0 9 * *", "Must have five fields"),
        ("0 0 9 * * *", "Must have five fields"),
        ("@daily", "Must have five fields"),
        (f"{'1,' * 130}1 * * * *", "Must have"),
        ("60 9 * * *", '"60" is no minute: 0 to 59;'),
        ("0 24 * * *", '"24" is no hour: 0 to 23;'),
        ("0 9 32 * *", '"32" is no day of month: 1 to 31,'),
        ("0 9 15W * *", '"15W" is no day of month'),
        ("0 9 ? * *", '"?" is no day of month'),
        ("0 9 * 0 *", '"0" is no month: 1 to 12'),
        ("0 9 * FRI *", '"FRI" is no month'),
        ("0 9 * * 8", '"8" is no day of week: 0 to 7'),
        ("0 9 * * FRI-MON", '"FRI-MON" is no day of week'),
        ("0 9 * * 1#6", '"1#6" is no day of week'),
        ("0 9 * * fr\u0131", '"fr\u0131" is no day of week'),  # upper() makes it FRI
        ("1,,2 9 * * *", '"1,,2" is no minute'),
        ("*/0 9 * * *", '"*/0" is no minute'),
        ("-1 9 * * *", '"-1" is no minute'),
        ("0 0 30 2 *", "Never fires."),
        ("0 0 */30 2 MON#5", "Never fires."),
    ],
)
def test_cron_that_cannot_fire(text: str, fault: str) -> None:
    assert (cron_fault(text) or "").startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("*/90 * * * *", "it can be at most 60."),
        ("0 */25 * * *", "it can be at most 24."),
        ("0 9 * * */8", "it can be at most 7."),
        ("0 9 * * 1/2", "write a range, such as 1-5/2."),
        ("5-5/2 9 * * *", "write 5."),
        ("0 9 L/2 * *", "leave out the step."),
    ],
)
def test_cron_that_others_read_differently_is_refused(text: str, fault: str) -> None:
    assert (cron_fault(text) or "").endswith(fault)
    with pytest.raises(Rejected, match="is not clear"):
        next_instant(cron(text), utc("2026-01-01"))


def test_steps_that_are_clear() -> None:
    clear = ["*/60 * * * *", "5/15 * * * *", "0 9 1/7 * *", "0 9 * * 1-7/2"]
    assert [cron_fault(text) for text in clear] == [None] * 4


# Words.


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule("manual"), "Not scheduled"),
        (Schedule("daily", time="07:05"), "Every day at 07:05 (UTC)"),
        (
            Schedule("weekly", zone=NEW_YORK, day_of_week=1),
            "Every Monday at 09:00 (America/New_York)",
        ),
        (Schedule("weekly", day_of_week=0), "Every Sunday at 09:00 (UTC)"),
        (Schedule("monthly", day_of_month="28"), "On day 28 of every month at 09:00 (UTC)"),
        (
            working_day("IT"),
            "On the last working day of every month at 07:30 (Europe/Rome; holidays of IT)",
        ),
        (working_day("", weekend=(6, 5)),
         "On the last working day of every month at 07:30 (Europe/Rome; weekend Friday, Saturday)"),
        (working_day("XECB", weekend=()),
         "On the last working day of every month at 07:30 (Europe/Rome; holidays of XECB; weekend"
         " none)"),
        (
            cron("0 9 13 * 5"),
            "At 09:00 on the 13th day of month or on Friday, either is enough (UTC)",
        ),
        (cron("0 9 */2 * 1"), "At 09:00 on every second day of month if it's on Monday (UTC)"),
        (cron("0 9 1-31 * 5"), "At 09:00 every day (UTC)"),
        (cron("0 9 13 * 0-7"), "At 09:00 every day (UTC)"),
        (cron("0 9 *,13 * 5"), "At 09:00 on Friday (UTC)"),
        (cron("0 9 31 * *"), "At 09:00 on the 31st day of every month (UTC)"),
        (
            cron("0 9 11,12,13,22 * *"),
            "At 09:00 on the 11th, the 12th, the 13th, and the 22nd day of month (UTC)",
        ),
        (cron("0 9 * * 7"), "At 09:00 on Sunday (UTC)"),
        (cron("*/15 8-17 * * mon-fri"),
         "Every 15th minute from 08:00 through 17:59 on Monday through Friday (UTC)"),
        (cron("0 0 30 2 *"), "Never (UTC)"),
    ],
)  # fmt: skip
def test_words(schedule: Schedule, words: str) -> None:
    assert describe(schedule) == words
