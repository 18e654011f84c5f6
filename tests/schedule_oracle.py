"""Another way to say when a schedule is due: look at the clock in every minute.

It shares nothing with `campaigns.schedule` but the zones of zoneinfo, which it asks in the one
direction that has no two answers, from UTC to the wall. A fixed time is read off a clock that is
never put back: what it shows for the first time in a minute, or jumps over, is due in that minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
from numpy.typing import NDArray

Minutes = NDArray[np.int64]

DAY = 24 * 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The longest that a clock was ever put forward or back, and a bit.
WARM_UP = DAY + 60


@dataclass(frozen=True)
class Rule:
    """What the clock must show. `elapsed`: every time it does; otherwise the first time only."""

    minutes: frozenset[int]
    hours: frozenset[int]
    day: Callable[[date], bool]
    elapsed: bool = False


def minute_of(at: datetime) -> int:
    return int((at - EPOCH).total_seconds()) // 60


def instant_of(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=int(minute))


def shift(zone: ZoneInfo, minute: int) -> timedelta:
    """Return what the clock of a zone is ahead of UTC."""
    ahead = instant_of(minute).astimezone(zone).utcoffset()
    assert ahead is not None
    return ahead


@cache
def transitions(zone: ZoneInfo, first: int, last: int) -> tuple[int, ...]:
    """Return the minutes from which another offset holds. Two are never within an hour."""
    hours = range(first, last, 60)
    shifts = [shift(zone, hour) for hour in hours]
    return tuple(
        next(m for m in range(hour - 59, hour + 1) if shift(zone, m) == now)
        for hour, before, now in zip(hours[1:], shifts, shifts[1:], strict=False)
        if before != now
    )


def clock(zone: ZoneInfo, start: int, end: int) -> Minutes:
    """Return what the clock shows in each minute, as minutes since 1970 on the wall."""
    shown = np.arange(start, end)
    changes = [start, *transitions(zone, start - start % 60, end + 60)]
    for at, until in zip(changes, [*changes[1:], end], strict=True):
        minutes, rest = divmod(shift(zone, at), timedelta(minutes=1))
        assert not rest
        shown[max(at - start, 0) : max(until - start, 0)] += minutes
    return shown


def due(rule: Rule, zone: ZoneInfo, start: int, end: int) -> list[int]:
    """Return the minutes after `start`, before `end`, in which the rule is due."""
    begin = start - WARM_UP
    shown = clock(zone, begin, end)
    ats = np.arange(begin, end)
    if not rule.elapsed:
        highest = np.maximum.accumulate(shown)
        new = np.diff(highest, prepend=highest[0] - 1)
        ats = np.repeat(ats, new)
        shown = np.arange(highest[0], highest[-1] + 1)
    matches = (
        np.isin(shown % 60, list(rule.minutes))
        & np.isin(shown // 60 % 24, list(rule.hours))
        & np.isin(shown // DAY, due_days(rule, shown))
    )
    found = np.unique(ats[matches])
    return [int(at) for at in found[found > start]]


def due_days(rule: Rule, shown: Minutes) -> list[int]:
    numbers = range(int(shown.min()) // DAY, int(shown.max()) // DAY + 1)
    return [number for number in numbers if rule.day(EPOCH.date() + timedelta(days=number))]


def is_last_working_day(day: date, calendar: holidays.HolidayBase, weekend: set[int]) -> bool:
    """Whether it is worked on `day` (weekend: 0 Sunday to 6 Saturday) and not after it."""

    def worked(other: date) -> bool:
        return other.isoweekday() % 7 not in weekend and other not in calendar

    following = [day + timedelta(days=ahead) for ahead in range(1, 31)]
    rest = [other for other in following if other.month == day.month]
    return worked(day) and not any(map(worked, rest))
