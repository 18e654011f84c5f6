"""When an offer is given, and how often at most: its `schedule` and its `budget`, as JSON.

Pure: whether a budget is used up is known from the history.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, Strict
from pydantic_core import PydanticCustomError

from executor.flow.days import midnight
from executor.flow.model import Model
from executor.flow.shape import check_shape

Fault = tuple[str, str]
MAX_COUNT = 2**31 - 1


def _moment(text: str) -> str:
    if read_moment(text) is None:
        what = 'a date as "2026-03-22", or an instant as "2026-03-22T09:00:00Z"'
        raise PydanticCustomError("moment", what)
    return text


Count = Annotated[int, Strict(), Field(ge=1, le=MAX_COUNT)]
Moment = Annotated[str, AfterValidator(_moment)]


class Budget(Model):
    """How often the offer is given to all customers together, at most."""

    max_per_day: Count | None = None
    max_total: Count | None = None


class Schedule(Model):
    """From when to when the offer is given; a date counts in the tenant's zone, as a whole."""

    start_date: Moment | None = None
    end_date: Moment | None = None


def read_moment(text: str) -> date | datetime | None:
    """A date, an instant with its offset, or None if the text is neither."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else _instant(text)
    except (ValueError, OverflowError):
        return None


def budget_faults(budget: object) -> list[Fault]:
    """What is wrong with a budget, with paths below it."""
    return check_shape(Budget, budget)[1]


def schedule_faults(schedule: object) -> list[Fault]:
    """What is wrong with a schedule, with paths below it."""
    read, faults = check_shape(Schedule, schedule)
    if read is None:
        return faults
    # Zones are at most 26 hours apart: what is over in all of them is over.
    start, end = _bounds(read, "UTC")
    if start and end and end <= start:
        return [("endDate", "must be after startDate")]
    return []


def read_budget(budget: object) -> Mapping[str, int]:
    """The limits that are set, by name; none where the budget cannot be read."""
    read, _ = check_shape(Budget, budget)
    limits = read.model_dump(exclude_none=True) if read else {}
    return {str(name): int(value) for name, value in limits.items()}


def offered(schedule: object, zone: str) -> tuple[datetime | None, datetime | None]:
    """The first instant at which the offer is given, and the first at which no more; in UTC.

    Raises ValueError for a schedule that cannot be read.
    """
    read, faults = check_shape(Schedule, schedule)
    if read is None:
        raise ValueError("; ".join(f"{path} {text}" for path, text in faults))
    return _bounds(read, zone)


def _bounds(schedule: Schedule, zone: str) -> tuple[datetime | None, datetime | None]:
    start = _read(schedule.start_date)
    end = _read(schedule.end_date)
    if isinstance(end, date) and not isinstance(end, datetime):
        end = end + timedelta(days=1) if end < date.max else None
    return _to_instant(start, zone), _to_instant(end, zone)


def _read(text: str | None) -> date | datetime | None:
    return None if text is None else read_moment(text)


def _to_instant(moment: date | datetime | None, zone: str) -> datetime | None:
    if moment is None or isinstance(moment, datetime):
        return moment
    try:
        return midnight(moment, zone)
    except OverflowError:  # at the ends of the calendar a zone may lie beyond them
        return datetime.combine(moment, datetime.min.time(), UTC)


def _instant(text: str) -> datetime | None:
    at = datetime.fromisoformat(text)
    return None if at.tzinfo is None else at.astimezone(UTC)
