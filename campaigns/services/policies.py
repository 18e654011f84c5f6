"""Making and changing contact policies that a run can apply."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import transaction

from campaigns.models import Campaign, Category, ContactPolicy, Offer, Segment
from campaigns.services.references import find_keys, place_in_scopes, unknown
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow import policies
from kaireon import ids
from kaireon.access.models import Tenant, TenantScoped

Fault = tuple[str, str]

NAMED: Mapping[str, type[TenantScoped]] = {
    "Campaign": Campaign,
    "Category": Category,
    "Offer": Offer,
    "Segment": Segment,
}


def create_policy(tenant: Tenant, fields: Mapping[str, Any]) -> ContactPolicy:
    """Insert a policy. Raises Rejected with every fault, Conflict for a name it has."""
    with transaction.atomic():
        values = checked(ContactPolicy(tenant=tenant), fields)
        return create_row(ContactPolicy, tenant, values)


def update_policy(
    policy: ContactPolicy, fields: Mapping[str, Any], expected: int | None
) -> ContactPolicy:
    """Change any subset of the fields of a policy that the caller has locked."""
    check_version(policy, expected)
    return update_row(policy, checked(policy, fields))


def checked(policy: ContactPolicy, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values to store. Raises Rejected with all that is wrong with the outcome."""
    values, wrong_id = place_in_scopes(policy, fields)
    for name, value in values.items():
        setattr(policy, name, value)
    # Where the scope is wrong, its id is not worth a word.
    faults = list(scope_faults(policy)) or wrong_id
    faults += [(below(path), text) for path, text in config_faults(policy)]
    if faults:
        raise Rejected.of(faults)
    return values


def scope_faults(policy: ContactPolicy) -> Iterator[Fault]:
    """Scopes that the type may not have."""
    if not policy.scopes:
        yield from policies.scope_faults(policy.rule_type, policy.scope)
    for number, place in enumerate(policy.scopes):
        for path, text in policies.scope_faults(policy.rule_type, place["scope"]):
            yield f"scopes[{number}].{path}", text


def config_faults(policy: ContactPolicy) -> Iterator[Fault]:
    config, faults = policies.read_config(policy.rule_type, policy.config)
    yield from faults
    if faults:
        return
    named = list(policies.references(policy.config))
    for name in dict.fromkeys(model for model, _, _ in named):
        model, wanted = NAMED[name], {one for kind, _, one in named if kind == name}
        found = find_keys(model, policy.tenant_id, wanted)
        yield from (
            (path, unknown(model))
            for kind, path, public_id in named
            if kind == name and public_id not in found
        )
    if isinstance(config, policies.MutualExclusion) and policy.scope_key is not None:
        own = {place["scopeId"] for place in policy.scopes}
        own |= {ids.encode("Offer", policy.scope_key)}
        if len(own | {*config.offer_ids}) < 2:
            yield "offerIds", "must name another offer than scopeId"


def below(path: str) -> str:
    return f"config.{path}" if path else "config"
