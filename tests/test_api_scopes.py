"""Several scopes of one rule or policy, over the API and when something of them is deleted."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults

BODIES: dict[str, dict[str, Any]] = {
    "contact-policies": {"name": "P", "ruleType": "cooldown", "config": {"cooldownHours": 1}},
    "qualification-rules": {
        "name": "R",
        "ruleType": "attribute_condition",
        "config": {"attribute": "age", "operator": "gt", "value": 17},
    },
}
each_resource = pytest.mark.parametrize("resource", BODIES)


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def place(row: Any) -> dict[str, str]:
    scope = type(row).__name__.lower()
    return {"scope": scope, "scopeId": row.public_id}


@each_resource
def test_several_scopes_replace_the_one(client: APIClient, tenant: Tenant, resource: str) -> None:
    offer, channel = factories.OfferFactory(tenant=tenant), factories.ChannelFactory(tenant=tenant)
    scopes = [place(channel), place(offer)]
    made = create(client, resource, **BODIES[resource], scopes=scopes)
    assert made["scopes"] == scopes
    assert {name: made[name] for name in ("scope", "scopeId")} == scopes[0]
    # What was read can be sent back.
    whole = {name: made[name] for name in ("scope", "scopeId", "scopes")}
    assert whole.items() <= change(client, resource, made["id"], **whole).items()
    assert change(client, resource, made["id"], priority=1)["scopes"] == scopes
    one = change(client, resource, made["id"], **scopes[1])
    assert (one["scopes"], one["scopeId"]) == ([], offer.public_id)
    change(client, resource, made["id"], scopes=scopes)
    none = change(client, resource, made["id"], scopes=[])
    assert (none["scopes"], none["scopeId"]) == ([], channel.public_id)
    everything = [{"scope": "global", "scopeId": None}]
    assert (
        change(client, resource, made["id"], scopes=[{"scope": "global"}])["scopes"] == everything
    )


@each_resource
def test_each_of_several_scopes_is_checked(
    client: APIClient, tenant: Tenant, resource: str
) -> None:
    body, mine = BODIES[resource], place(factories.OfferFactory(tenant=tenant))
    theirs = place(factories.OfferFactory())
    found = faults(client, resource, **body, scopes=[mine, theirs, {"scope": "channel"}, mine])
    assert found.keys() == {"scopes[1].scopeId", "scopes[2].scopeId", "scopes[3]"}
    assert found["scopes[3]"] == ["Is there twice."]
    wrong = [{"scope": "planet"}, {"scope": "offer", "scopeId": 7, "x": 1}]
    found = faults(client, resource, **body, scopes=wrong)
    assert found.keys() == {"scopes[0].scope", "scopes[1].scopeId", "scopes[1].x"}
    assert faults(client, resource, **body, scopes={}) == {
        "scopes": ["Must be an array of objects."]
    }
    assert faults(client, resource, **body, scopes=[mine] * 101) == {
        "scopes": ["May hold at most 100 scopes."]
    }


@each_resource
def test_what_is_one_of_several_scopes_is_not_deleted(
    client: APIClient, tenant: Tenant, resource: str
) -> None:
    offer, creative = (
        factories.OfferFactory(tenant=tenant),
        factories.CreativeFactory(tenant=tenant),
    )
    scopes = [{"scope": "global"}, place(offer), place(creative)]
    made = create(client, resource, **BODIES[resource], scopes=scopes)
    for path in (
        f"offers/{offer.public_id}",
        f"creatives/{creative.public_id}",
        f"offers/{creative.offer.public_id}",  # its creatives would go with it
    ):
        response = client.delete(API + path)
        assert response.status_code == 409
        assert f'"{made["name"]}"' in error(response)["message"]
    change(client, resource, made["id"], scope="global", scopeId=None)
    assert client.delete(f"{API}offers/{offer.public_id}").status_code == 204


def test_a_type_may_not_have_every_scope(client: APIClient, tenant: Tenant) -> None:
    resource = "contact-policies"
    channel = place(factories.ChannelFactory(tenant=tenant))
    budget = {"name": "P", "ruleType": "budget_exhausted", "config": {}}
    offer = place(factories.OfferFactory(tenant=tenant))
    text = 'of a budget_exhausted policy must be "offer" or "creative", got "channel"'
    found = faults(client, resource, **budget, scopes=[offer, channel])
    assert found == {"scopes[1].scope": [text]}
    id = create(client, resource, **BODIES[resource], scopes=[offer, channel])["id"]
    wrong = change_faults(client, resource, id, ruleType="budget_exhausted", config={})
    assert wrong == {"scopes[1].scope": [text]}


def test_offers_that_exclude_each_other_may_be_those_of_the_scopes(
    client: APIClient, tenant: Tenant
) -> None:
    offers = factories.OfferFactory.create_batch(2, tenant=tenant)
    body = {"name": "P", "ruleType": "mutual_exclusion", "scopes": [place(one) for one in offers]}
    both = [one.public_id for one in offers]
    assert create(client, "contact-policies", **body, config={"offerIds": both})["scopes"]
    body |= {"name": "Q", "scopes": [place(offers[0])]}
    found = faults(client, "contact-policies", **body, config={"offerIds": both[:1]})
    assert found == {"config.offerIds": ["must name another offer than scopeId"]}
