"""What cron text may say, and what it says in words."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

MAX_CRON = 255
#: name, how many values it has, which they are
CRON_FIELDS = (
    ("minute", 60, "0 to 59"),
    ("hour", 24, "0 to 23"),
    ("day of month", 31, "1 to 31, L for the last day, LW for the last Monday to Friday"),
    ("month", 12, "1 to 12 or JAN to DEC"),
    ("day of week", 7, "0 to 7 or SUN to SAT (0 and 7 are Sunday), 1#2 for the second Monday,"
     " 5L for the last Friday"),
)  # fmt: skip


def cron_fault(text: str) -> str | None:
    """Say why cron text cannot fire, or return None.

    Accepted are lists, ranges and steps of numbers or names; L and LW as a day of month; 1#2 and
    5L as a day of week. When day of month and day of week are both given, either is enough,
    except that a field that begins with `*`, such as `*/2`, only narrows the other (as in Vixie
    cron). Refused is what cron programs read differently.
    """
    if fault := grammar_fault(text):
        return fault
    walls = parse_cron(text, datetime(2000, 1, 1))  # noqa: DTZ001  a wall time
    return "Never fires." if walls is None or next(walls, None) is None else None


def parse_cron(text: str, start: datetime) -> Iterator[datetime] | None:
    """Return the wall times after `start` (naive) that match; None for a date there never is."""
    try:
        # Without a zone, so that cronsim applies no rule of its own for changing clocks.
        return iter(CronSim(text, start))
    except CronSimError:
        return None


@lru_cache(maxsize=1024)
def grammar_fault(text: str) -> str | None:
    fields = text.split()
    if len(fields) != 5 or len(text) > MAX_CRON:
        return "Must have five fields: minute hour day-of-month month day-of-week."
    for number, (field, (name, size, allowed)) in enumerate(zip(fields, CRON_FIELDS, strict=True)):
        alone = " ".join(field if other == number else "*" for other in range(5))
        try:
            CronSim(alone, datetime(2000, 1, 1))  # noqa: DTZ001  a wall time
        except (CronSimError, ValueError):
            return f'"{field}" is no {name}: {allowed}; lists, ranges and steps of these.'
        if not field.isascii():
            return f'"{field}" is no {name}: {allowed}; lists, ranges and steps of these.'
        for term in field.upper().split(","):
            if fault := step_fault(term, name, size):
                return f'"{term}" is not clear: {fault}'
    return None


def step_fault(term: str, name: str, size: int) -> str | None:
    of, slash, step = term.partition("/")
    first, dash, last = of.partition("-")
    if not slash:
        return None
    if int(step) > size:
        return f"a step counts within one round of {size}, so it can be at most {size}."
    if of.startswith("L"):
        return "it has one day only; leave out the step."
    if dash and first == last:
        return f"a range of one has no steps; write {first}."
    if name == "day of week" and of != "*" and not dash:
        return "steps from one day may or may not take in Sunday; write a range, such as 1-5/2."
    return None


def cron_words(text: str) -> str:
    """Return cron text that has no grammar fault in words, without a zone."""
    if cron_fault(text):
        return "Never"
    start = datetime(2000, 1, 1)  # noqa: DTZ001  a wall time
    cron = CronSim(text, start)
    minute, hour, day, month, weekday = text.upper().split()
    any_day = {*range(1, 32)} <= cron.days
    any_weekday = {*range(7)} <= {number % 7 for number in cron.weekdays if isinstance(number, int)}
    # cronsim's words leave out a field that takes in every value, whatever it is combined with.
    if any_day or (any_weekday and not cron.day_and):
        day = "*"
    if any_weekday or (any_day and not cron.day_and):
        weekday = "*"
    either = "*" not in (day, weekday) and not cron.day_and
    words: str = CronSim(f"{minute} {hour} {day} {month} {weekday}", start).explain()
    # In cronsim's words " and on " stands between the two days only.
    words = words.replace(" and on ", " or on ") if either else words
    return re.sub("(?<!1)[123]th", ordinal, words) + (", either is enough" if either else "")


def ordinal(number: re.Match[str]) -> str:
    """Correct cronsim's 31th to 31st."""
    return {"1": "1st", "2": "2nd", "3": "3rd"}[number[0][0]]
