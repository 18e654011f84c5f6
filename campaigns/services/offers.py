"""Offers: when and how often they are given, and who answers for a mandatory one."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from campaigns.models import Offer
from campaigns.services.custom_fields import offer_field_faults
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow.offer_terms import budget_faults, schedule_faults
from kaireon.access.models import Membership, Role, Tenant

Fault = tuple[str, str]

#: Fields that only administrators set, and their names in the API.
GOVERNED: Mapping[str, str] = {
    "mandatory": "mandatory",
    "mandatory_reason": "mandatoryReason",
    "mandatory_expires_at": "mandatoryExpiresAt",
    "mandatory_approved_by": "mandatoryApprovedBy",
}


def create_offer(tenant: Tenant, fields: Mapping[str, Any], role: Role) -> Offer:
    """Insert an offer. Raises Rejected with every fault, Conflict for a name there is already."""
    check_offer(Offer(tenant=tenant), fields, role)
    return create_row(Offer, tenant, dict(fields))


def update_offer(
    offer: Offer, fields: Mapping[str, Any], expected: int | None, role: Role
) -> Offer:
    """Change any subset of the fields of an offer that the caller has locked."""
    check_version(offer, expected)
    check_offer(offer, fields, role)
    return update_row(offer, dict(fields))


def check_offer(stored: Offer, fields: Mapping[str, Any], role: Role) -> None:
    """Raises Rejected with all that is wrong with the change, which is not made yet."""
    faults = list(offer_faults(stored, fields, role, timezone.now()))
    if faults:
        raise Rejected.of(faults)


def offer_faults(
    stored: Offer, fields: Mapping[str, Any], role: Role, now: datetime
) -> Iterator[Fault]:
    """What is wrong with these values in place of the stored ones, under the names of the API."""
    yield from offer_field_faults(stored, fields)
    for name, find in (("budget", budget_faults), ("schedule", schedule_faults)):
        for path, text in find(fields[name]) if name in fields else ():
            yield f"{name}.{path}" if path else name, text
    changed = [
        name
        for name in GOVERNED
        if name in fields and not _is_same(fields[name], getattr(stored, name))
    ]
    if not changed:
        return
    if not role.covers(Role.ADMIN):
        for name in changed:
            yield GOVERNED[name], "Only administrators change this."
        return
    values = {name: fields.get(name, getattr(stored, name)) for name in GOVERNED}
    if values["mandatory"]:
        yield from _governance_faults(stored.tenant_id, values, now)


def _is_same(given: Any, stored: Any) -> bool:
    """Whether the value is the stored one, as far as it was shown: without parts of a second."""
    if isinstance(given, datetime) and isinstance(stored, datetime):
        return abs(given - stored) < timedelta(seconds=1)
    return bool(given == stored)


def _governance_faults(
    tenant_key: int, values: Mapping[str, Any], now: datetime
) -> Iterator[Fault]:
    """What a mandatory offer lacks."""
    for name in ("mandatory_reason", "mandatory_expires_at", "mandatory_approved_by"):
        if not values[name]:
            yield GOVERNED[name], "Is required for a mandatory offer."
    expires, approver = values["mandatory_expires_at"], values["mandatory_approved_by"]
    if expires and expires <= now:
        yield GOVERNED["mandatory_expires_at"], "Must be in the future."
    administrators = Membership.objects.filter(
        tenant_id=tenant_key, role=Role.ADMIN, user__is_active=True, user__username=approver
    )
    if approver and not administrators.exists():
        text = "Must be the username of an administrator of the tenant."
        yield GOVERNED["mandatory_approved_by"], text
