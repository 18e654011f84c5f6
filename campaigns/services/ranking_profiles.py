"""Making and changing ranking profiles: which objectives count, and how much."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import transaction

from campaigns.models import RankingProfile
from campaigns.services.keys import changed_key_faults, free_key
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow import factors
from kaireon.access.models import Tenant

Fault = tuple[str, str]
MAX_KEY = 100
OBJECTIVES = tuple(factors.OBJECTIVES)


def create_profile(tenant: Tenant, fields: Mapping[str, Any]) -> RankingProfile:
    """Make a profile; without a key it gets one made of its name.

    Raises Rejected with every fault of the weights, Conflict for a name or key the tenant has.
    """
    values = dict(fields)
    reject([*weight_faults(values["weights"])])
    with transaction.atomic():
        # Two profiles at once must not be given the same key.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        if "key" not in values:
            values["key"] = free_key(RankingProfile, tenant, values["name"], MAX_KEY)
        return create_row(RankingProfile, tenant, values)


def update_profile(
    profile: RankingProfile, fields: Mapping[str, Any], expected: int | None = None
) -> RankingProfile:
    """Set fields of a profile that the caller has locked; weights are replaced as a whole."""
    check_version(profile, expected)
    weights = fields.get("weights", profile.weights)
    reject([*changed_key_faults(profile, fields), *weight_faults(weights)])
    return update_row(profile, dict(fields))


def reject(faults: list[Fault]) -> None:
    if faults:
        raise Rejected.of(faults)


def weight_faults(weights: Mapping[str, Any]) -> Iterator[Fault]:
    for name, weight in weights.items():
        if name not in OBJECTIVES:
            yield f"weights.{name}", f"Is not an objective; they are: {', '.join(OBJECTIVES)}."
        elif type(weight) not in (int, float) or not 0 <= weight <= 1:
            yield f"weights.{name}", "Must be a number from 0 to 1."
    if not any(weight not in (0, False, None) for weight in weights.values()):
        yield "weights", "At least one weight must be above 0."
