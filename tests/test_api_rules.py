"""Qualification rules over the API: scopes, conditions, and partial changes."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import QualificationRule
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults

RULES = "qualification-rules"
CONFIG = {"field": "age", "operator": "gt", "value": 1}
METRIC = {"metric": "contacts", "operator": "lt", "threshold": 3}
BODY = {"name": "Adults", "ruleType": "attribute_condition", "config": CONFIG}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def test_rule(client: APIClient, tenant: Tenant) -> None:
    config = {"field": "balance", "operator": "gt", "value": 1000}
    body = {"name": "Rich", "ruleType": "attribute_condition", "config": config}
    made = create(client, RULES, **body)
    assert (made["scope"], made["scopeId"], made["config"]) == ("global", None, config)
    offer = factories.OfferFactory(tenant=tenant)
    body |= {"name": "Rich for gold", "scope": "offer", "scopeId": offer.public_id}
    assert create(client, RULES, **body)["scopeId"] == offer.public_id


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"scope": "offer"}, 'The scope "offer" needs a scopeId.'),
        ({"scope": "offer", "scopeId": None}, 'The scope "offer" needs a scopeId.'),
        ({"scopeId": "off_UkLWZg9D"}, 'The scope "global" has no scopeId.'),
        (
            {"scope": "channel", "scopeId": "off_UkLWZg9D"},
            "There is no channel with this id; ids of this kind begin with ch_.",
        ),
        ({"scope": "offer", "scopeId": 1}, "Must be a string."),
    ],
)
def test_rule_scope_needs_its_id(client: APIClient, scope: dict[str, Any], message: str) -> None:
    assert faults(client, RULES, **BODY, **scope) == {"scopeId": [message]}
    assert not QualificationRule.unscoped.exists()


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"ruleType": "recency_check"}, "config.field"),
        ({"scope": "global", "config": {**CONFIG, "fitMultiplier": 0.5}}, "config.fitMultiplier"),
        ({"config": {}}, "config"),
        ({"config": {"field": "age", "operator": "almost", "value": 1}}, "config.operator"),
        ({"config": {"field": "age", "operator": "gt"}}, "config.value"),
        ({"config": {"field": "age", "operator": "gt", "value": [1]}}, "config.value"),
        ({"config": {"field": "offer.name", "operator": "eq", "value": "x"}}, "config.field"),
    ],
)
def test_rule_that_no_run_could_evaluate(client: APIClient, wrong: dict, path: str) -> None:
    body = {**BODY, "name": 'a "b"', **wrong}
    assert path in {name[: len(path)] for name in faults(client, RULES, **body)}
    assert not QualificationRule.unscoped.exists()
    made = create(client, RULES, **BODY)
    wrong_change = change_faults(client, RULES, made["id"], **wrong)
    assert path in {name[: len(path)] for name in wrong_change}


@pytest.mark.parametrize(
    ("operator", "value"),
    [("gt", 1), ("eq", "x"), ("eq", True), ("lt", "2026-01-01"), ("in", [1, 2]), ("is_null", None)],
)
def test_rule_may_compare_columns_of_any_type(client: APIClient, operator: str, value) -> None:
    leaf = {"attribute": "age", "operator": operator}
    leaf |= {} if value is None else {"value": value}
    mixed = {"combinator": "OR", "conditions": [leaf, {**leaf, "attribute": "city"}]}
    body = {"name": operator, "ruleType": "attribute_condition", "config": mixed}
    assert create(client, RULES, **body)["config"] == mixed


def test_a_changed_scope_needs_the_id_of_its_kind(client: APIClient, tenant: Tenant) -> None:
    offer, other = factories.OfferFactory.create_batch(2, tenant=tenant)
    channel = factories.ChannelFactory(tenant=tenant).public_id
    id = create(client, RULES, **BODY, scope="offer", scopeId=offer.public_id)["id"]
    unknown = "There is no offer with this id; ids of this kind begin with off_."
    assert change_faults(client, RULES, id, scopeId=channel) == {"scopeId": [unknown]}
    missing = 'The scope "channel" needs a scopeId.'
    assert change_faults(client, RULES, id, scope="channel") == {"scopeId": [missing]}
    assert change_faults(client, RULES, id, scopeId=None)["scopeId"]
    assert change(client, RULES, id, name="x")["scopeId"] == offer.public_id
    assert change(client, RULES, id, scopeId=other.public_id)["scopeId"] == other.public_id
    assert change(client, RULES, id, scope="channel", scopeId=channel)["scopeId"] == channel
    assert change(client, RULES, id, scope="global")["scopeId"] is None


def test_rules_of_another_tenants_row(client: APIClient) -> None:
    foreign = factories.OfferFactory().public_id
    assert list(faults(client, RULES, **BODY, scope="offer", scopeId=foreign)) == ["scopeId"]


def test_filters(client: APIClient, tenant: Tenant) -> None:
    offer = factories.OfferFactory(tenant=tenant)
    right = create(
        client,
        RULES,
        **BODY,
        scope="offer",
        scopeId=offer.public_id,
        stage="fit",
        status="draft",
        onMissing="pass",
    )
    create(client, RULES, **BODY | {"name": "Other"})
    channel = factories.ChannelFactory(tenant=tenant, pk=offer.pk)
    for name in ("scope", "scopeId", "stage", "status", "onMissing"):
        assert client.get(API + RULES, {name: right[name]}).json()["data"] == [right], name
    assert client.get(API + RULES, {"scopeId": channel.public_id}).json()["data"] == []
    assert len(client.get(API + RULES, {"ruleType": "attribute_condition"}).json()["data"]) == 2


def test_an_unknown_stage_is_refused(client: APIClient) -> None:
    for stage in ("ranking", ""):
        assert list(error(client.get(API + RULES, {"stage": stage}))["fields"]) == ["stage"]
    assert list(error(client.get(API + RULES, {"scopeId": "df_x"}))["fields"]) == ["scopeId"]


def test_rules_come_as_they_are_applied(client: APIClient, tenant: Tenant) -> None:
    for priority in (10, 90, 50, 90):
        factories.RuleFactory(tenant=tenant, priority=priority)
    rows = client.get(API + RULES).json()["data"]
    assert [row["priority"] for row in rows] == [90, 90, 50, 10]
    assert rows[0]["createdAt"] <= rows[1]["createdAt"]


@pytest.mark.parametrize(
    ("rule_type", "config", "stage"),
    [
        ("recency_check", {"withinDays": 3}, "match"),
        ("propensity_threshold", {"threshold": 0.2}, "match"),
        (
            "metric_condition",
            {"metric": "contacts", "operator": "lt", "threshold": 3},
            "eligibility",
        ),
    ],
)
def test_a_rule_without_a_stage_is_of_that_of_its_type(
    client: APIClient, rule_type: str, config: dict[str, Any], stage: str
) -> None:
    made = create(client, RULES, name="R", ruleType=rule_type, config=config)
    assert made["stage"] == stage
    given = create(client, RULES, name="S", ruleType=rule_type, config=config, stage="fit")
    assert given["stage"] == "fit"
