"""Days of a time zone as instants: where they begin, whatever the clocks do at midnight."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def midnight(day: date, zone: str) -> datetime:
    """The instant at which the day begins; where midnight is skipped, the first one after it.

    Raises LookupError or ValueError for a zone that there is not.
    """
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def days_back(now: datetime, zone: str, days: int) -> datetime:
    """Where the last so many days of the zone begin, of which the present one is the last."""
    today = now.astimezone(ZoneInfo(zone)).date()
    return midnight(today - timedelta(days=days - 1), zone)
