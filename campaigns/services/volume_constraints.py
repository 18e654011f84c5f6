"""System-wide limits on how often an offer, a category or a channel is shown in a period."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from campaigns.models import VolumeConstraint
from campaigns.services.errors import Conflict
from campaigns.services.references import place_in_scope
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from kaireon.access.models import Tenant

#: A change of any of these makes it another count.
COUNTED = ("scope", "scope_key", "period")


def create_constraint(tenant: Tenant, fields: Mapping[str, Any]) -> VolumeConstraint:
    """Insert a constraint. Raises Rejected with every fault, or when there is such a one."""
    row = VolumeConstraint(tenant=tenant)
    with transaction.atomic():
        values = checked(row, fields)
        with refuse_second(row):
            return create_row(VolumeConstraint, tenant, values | fresh_count(row))


def update_constraint(
    row: VolumeConstraint, fields: Mapping[str, Any], expected: int | None
) -> VolumeConstraint:
    """Change any subset of the fields of a row that the caller has locked."""
    check_version(row, expected)
    before = [getattr(row, name) for name in COUNTED]
    values = checked(row, fields)
    if before != [getattr(row, name) for name in COUNTED]:
        values |= fresh_count(row)
    with refuse_second(row):
        return update_row(row, values)


def checked(row: VolumeConstraint, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set the fields on the row and return them. Raises Rejected for what it cannot count."""
    values, faults = place_in_scope(row, fields)
    if faults:
        raise Rejected.of(faults)
    for name, value in values.items():
        setattr(row, name, value)
    return values


@contextmanager
def refuse_second(row: VolumeConstraint) -> Iterator[None]:
    """A second count of the same in the same period is bad input, as documented."""
    try:
        yield
    except Conflict as error:
        text = f"There is a {row.period} volume constraint for this {row.scope} already."
        raise Rejected(("scopeId", text)) from error


def fresh_count(row: VolumeConstraint) -> dict[str, Any]:
    return {"current_count": 0, "reset_at": end_of_period(row, timezone.now())}


def present_count(row: VolumeConstraint) -> tuple[int, datetime]:
    """Return the count of the present period, and when that ends."""
    now = timezone.now()
    if row.reset_at > now:
        return row.current_count, row.reset_at
    return 0, end_of_period(row, now)


def end_of_period(row: VolumeConstraint, now: datetime) -> datetime:
    """The midnight that ends the day, the week (on Monday) or the month in the tenant's zone."""
    zone = ZoneInfo(row.tenant.timezone)
    today = now.astimezone(zone).date()
    if row.period == VolumeConstraint.Period.MONTHLY:
        last = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
    elif row.period == VolumeConstraint.Period.WEEKLY:
        last = today + timedelta(days=7 - today.weekday())
    else:
        last = today + timedelta(days=1)
    return datetime(last.year, last.month, last.day, tzinfo=zone)
