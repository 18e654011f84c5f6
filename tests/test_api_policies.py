"""Contact policies over the API: the config of each type, its scopes, and who may write them."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import ContactPolicy
from executor.flow.policies import TYPES
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults

POLICIES = "contact-policies"
#: Type -> the smallest config it may have.
SMALLEST: dict[str, dict[str, Any]] = {
    "frequency_cap": {"maxPerDay": 1},
    "cooldown": {"cooldownHours": 24},
    "budget_exhausted": {},
    "outcome_based": {"outcomeType": "complaint"},
    "segment_exclusion": {"excludeSegments": ["seg"]},
    "time_window": {"allowedDays": [1]},
    "mutual_exclusion": {"offerIds": ["off"]},
    "cross_channel_cap": {"maxTotal": 5, "lookbackHours": 48},
    "customer_total_cap": {"maxPerWeek": 3},
    "allow_override": {},
    "category_suppression": {},
    "metric_condition": {"metric": "impressions", "operator": "gte", "threshold": 0.5},
}
FACTORIES = {
    "offer": factories.OfferFactory,
    "creative": factories.CreativeFactory,
    "channel": factories.ChannelFactory,
    "category": factories.CategoryFactory,
    "subcategory": factories.SubCategoryFactory,
}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


@pytest.fixture
def names(tenant: Tenant) -> dict[str, str]:
    """The ids that configs in these tests name by their prefix."""
    rows = {
        "camp": factories.CampaignFactory(tenant=tenant),
        "seg": factories.SegmentFactory(tenant=tenant),
        "off": factories.OfferFactory(tenant=tenant),
        "cat": factories.CategoryFactory(tenant=tenant),
    }
    return {prefix: row.public_id for prefix, row in rows.items()}


def resolved(config: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    return {key: one(value) for key, value in config.items()}


def scope_of(tenant: Tenant, scope: str) -> dict[str, Any]:
    if scope == "global":
        return {"scope": scope}
    return {"scope": scope, "scopeId": FACTORIES[scope](tenant=tenant).public_id}


@pytest.mark.parametrize("kind", ContactPolicy.RuleType.values)
def test_every_type_in_every_scope(
    client: APIClient, tenant: Tenant, names: dict[str, str], kind: str
) -> None:
    config = resolved(SMALLEST[kind], names)
    allowed = TYPES[kind][1]
    for scope in ContactPolicy.Scope.values:
        body = {"name": scope, "ruleType": kind, "config": config, **scope_of(tenant, scope)}
        if scope in allowed:
            made = create(client, POLICIES, **body)
            assert {name: made[name] for name in body} == body
            assert (made["status"], made["priority"]) == ("active", 50)
        else:
            (text,) = faults(client, POLICIES, **body)["scope"]
            assert text.startswith(f"of a {kind} policy must be ")
            assert all(f'"{one}"' in text for one in allowed)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("frequency_cap", {"maxPerDay": 1, "maxPerWeek": 2, "maxPerMonth": 3, "maxTotal": 4}),
        ("frequency_cap", {"maxTotal": 4, "lookbackHours": 100, "withinCampaignId": "camp"}),
        ("frequency_cap", {"maxPerDay": 1, "excludeCampaignIds": ["camp"], "bypassable": False}),
        ("budget_exhausted", {"checkImpressions": False, "checkDailyBudget": True}),
        ("outcome_based", {"outcomeTypes": ["complaint", "spam_report"], "lookbackDays": 365}),
        ("time_window", {"startTime": "22:00", "endTime": "06:30"}),
        ("time_window", {"allowedDays": [0, 6], "startTime": "00:00", "endTime": "23:59"}),
        ("mutual_exclusion", {"offerIds": ["off"], "lookbackDays": 30}),
        ("category_suppression", {"categoryIds": ["cat"], "lookbackDays": 7}),
        ("metric_condition", SMALLEST["metric_condition"] | {"lookbackDays": 90}),
    ],
)
def test_all_that_a_config_may_say(
    client: APIClient, tenant: Tenant, names: dict[str, str], kind: str, config: dict
) -> None:
    config = resolved(config, names)
    body = {"name": "P", "ruleType": kind, "config": config}
    assert (
        create(client, POLICIES, **body, **scope_of(tenant, TYPES[kind][1][0]))["config"] == config
    )


NEEDS_CAP = "needs at least one of maxPerDay, maxPerWeek, maxPerMonth and maxTotal"


@pytest.mark.parametrize(
    ("kind", "config", "wrong"),
    [
        ("frequency_cap", {}, {"config": [NEEDS_CAP]}),
        ("cross_channel_cap", {"bypassable": True}, {"config": [NEEDS_CAP]}),
        (
            "customer_total_cap",
            {"maxPerDay": 1, "withinCampaignId": "camp"},
            {
                "config.withinCampaignId": [
                    "unknown key; allowed here: bypassable, maxPerDay, maxPerWeek, maxPerMonth,"
                    " maxTotal, lookbackHours"
                ]
            },
        ),
        (
            "frequency_cap",
            {"maxPerDay": 0, "maxPerWeek": "7", "maxPerMonth": 1.5, "maxTotal": 2**31},
            {
                "config.maxPerDay": ["must be at least 1, got 0"],
                "config.maxPerWeek": ['must be a whole number, got "7"'],
                "config.maxPerMonth": ["must be a whole number, got 1.5"],
                "config.maxTotal": ["must be at most 2.14748e+09, got 2147483648"],
            },
        ),
        (
            "frequency_cap",
            {"maxPerDay": 1, "lookbackHours": 2},
            {"config.lookbackHours": ["is the window of maxTotal, which is not given"]},
        ),
        (
            "frequency_cap",
            {"maxPerDay": 1, "withinCampaignId": "camp", "excludeCampaignIds": ["camp"]},
            {"config.excludeCampaignIds": ["cannot be combined with withinCampaignId"]},
        ),
        ("cooldown", {}, {"config.cooldownHours": ["is required"]}),
        (
            "cooldown",
            {"cooldownHours": True},
            {"config.cooldownHours": ["must be a whole number, got true"]},
        ),
        (
            "budget_exhausted",
            {"checkImpressions": False, "checkDailyBudget": False},
            {"config": ["checkImpressions or checkDailyBudget must be true"]},
        ),
        (
            "outcome_based",
            {},
            {"config.outcomeTypes": ["exactly one of outcomeType and outcomeTypes is required"]},
        ),
        (
            "outcome_based",
            {"outcomeTypes": ["a", "a"]},
            {"config.outcomeTypes": ['must be a list without repetition, got ["a", "a"]']},
        ),
        (
            "segment_exclusion",
            {"excludeSegments": []},
            {"config.excludeSegments": ["must be a list with at least 1 item(s), got []"]},
        ),
        (
            "segment_exclusion",
            {"excludeSegments": ["off"]},
            {"config.excludeSegments[0]": ["must be an id that begins with seg_, got "]},
        ),
        (
            "time_window",
            {"allowedDays": [7], "startTime": "9:00", "endTime": "24:00"},
            {
                "config.allowedDays[0]": ["must be at most 6, got 7"],
                "config.startTime": ['must be a time of day as HH:mm, such as "09:00", got "9:00"'],
                "config.endTime": ['must be a time of day as HH:mm, such as "09:00", got "24:00"'],
            },
        ),
        (
            "time_window",
            {"startTime": "09:00"},
            {"config.endTime": ["is required: startTime and endTime belong together"]},
        ),
        (
            "time_window",
            {"startTime": "09:00", "endTime": "09:00"},
            {"config.endTime": ["must differ from startTime"]},
        ),
        ("time_window", {}, {"config": ["needs allowedDays, or startTime and endTime"]}),
        (
            "allow_override",
            {"bypassable": True},
            {"config.bypassable": ["unknown key; allowed here: none"]},
        ),
        (
            "metric_condition",
            {"metric": "love", "operator": "eq", "threshold": -1},
            {
                "config.metric": ['must be "contacts", "impressions", "positive", "negative",'],
                "config.operator": ['must be "gt", "gte", "lt" or "lte", got "eq"'],
                "config.threshold": ["must be at least 0, got -1"],
            },
        ),
    ],
)
def test_faulty_configs(
    client: APIClient, tenant: Tenant, names: dict, kind: str, config: dict, wrong: dict
) -> None:
    body = {"name": "P", "ruleType": kind, "config": resolved(config, names)}
    found = faults(client, POLICIES, **body, **scope_of(tenant, TYPES[kind][1][0]))
    assert found.keys() == wrong.keys()
    for path, texts in wrong.items():
        assert [text[: len(texts[0])] for text in found[path]] == texts
    assert not ContactPolicy.unscoped.exists()


def test_a_scope_needs_its_id(client: APIClient, tenant: Tenant) -> None:
    body = {"name": "P", "ruleType": "cooldown", "config": {"cooldownHours": 1}}
    missing = {"scopeId": ['The scope "category" needs a scopeId.']}
    assert faults(client, POLICIES, **body, scope="category") == missing
    # The documented default scope is the offer, never everything.
    missing = {"scopeId": ['The scope "offer" needs a scopeId.']}
    assert faults(client, POLICIES, **body) == missing
    foreign = {"scope": "offer", "scopeId": factories.OfferFactory().public_id}
    assert list(faults(client, POLICIES, **body, **foreign)) == ["scopeId"]
    both = faults(client, POLICIES, **body | {"config": {}}, **foreign)
    assert list(both) == ["scopeId", "config.cooldownHours"]


def test_ids_in_configs_are_of_the_tenant(client: APIClient, names: dict[str, str]) -> None:
    unknown = "There is no {} with this id; ids of this kind begin with {}_."
    for kind, key, factory, noun, prefix in (
        ("frequency_cap", "excludeCampaignIds", factories.CampaignFactory, "campaign", "camp"),
        ("segment_exclusion", "excludeSegments", factories.SegmentFactory, "segment", "seg"),
        ("category_suppression", "categoryIds", factories.CategoryFactory, "category", "cat"),
    ):
        config = {"maxPerDay": 1} if kind == "frequency_cap" else {}
        config |= {key: [names[prefix], factory().public_id]}
        body = {"name": "P", "ruleType": kind, "scope": "global", "config": config}
        wrong = {f"config.{key}[1]": [unknown.format(noun, prefix)]}
        assert faults(client, POLICIES, **body) == wrong
    body["ruleType"] = "frequency_cap"
    body["config"] = {"maxPerDay": 1, "withinCampaignId": factories.CampaignFactory().public_id}
    wrong = {"config.withinCampaignId": [unknown.format("campaign", "camp")]}
    assert faults(client, POLICIES, **body) == wrong


def test_an_offer_does_not_exclude_itself(client: APIClient, names: dict[str, str]) -> None:
    body = {"name": "P", "ruleType": "mutual_exclusion", "scope": "offer", "scopeId": names["off"]}
    body["config"] = {"offerIds": [names["off"]]}
    wrong = {"config.offerIds": ["must name another offer than scopeId"]}
    assert faults(client, POLICIES, **body) == wrong


def test_a_change_is_checked_with_what_stays(client: APIClient, tenant: Tenant) -> None:
    body = {"name": "P", "ruleType": "cooldown", "config": {"cooldownHours": 1}}
    id = create(client, POLICIES, **body, scope="global")["id"]
    wrong = change_faults(client, POLICIES, id, ruleType="frequency_cap")
    assert set(wrong) == {"config.cooldownHours"}
    assert set(change_faults(client, POLICIES, id, config={})) == {"config.cooldownHours"}
    assert set(change_faults(client, POLICIES, id, scope="offer")) == {"scopeId"}
    assert set(change_faults(client, POLICIES, id, ruleType="mutual_exclusion")) == {
        "scope",
        "config.offerIds",
        "config.cooldownHours",
    }
    cap = {"ruleType": "frequency_cap", "config": {"maxPerDay": 2}}
    assert cap.items() <= change(client, POLICIES, id, **cap).items()
    channel = scope_of(tenant, "channel")
    assert channel.items() <= change(client, POLICIES, id, **channel).items()
    assert change(client, POLICIES, id, priority=9)["scopeId"] == channel["scopeId"]


def test_only_administrators_write_policies(tenant: Tenant) -> None:
    policy = factories.PolicyFactory(tenant=tenant)
    url = f"{API}{POLICIES}/{policy.public_id}"
    editor = api_client(tenant, "editor")
    for method, place in (
        (editor.post, API + POLICIES),
        (editor.put, url),
        (editor.patch, url),
        (editor.delete, url),
    ):
        response = method(place, {}, format="json")
        assert response.status_code == 403
        assert error(response)["message"] == "The role editor may not do this; it needs admin."
    assert api_client(tenant, "viewer").get(url).status_code == 200
    assert ContactPolicy.objects.of(tenant).get().version == 1


def test_filters(client: APIClient, tenant: Tenant) -> None:
    body = {"name": "P", "ruleType": "cooldown", "config": {"cooldownHours": 1}}
    right = create(client, POLICIES, **body, **scope_of(tenant, "channel"), status="paused")
    factories.PolicyFactory(tenant=tenant, rule_type="frequency_cap")
    for name in ("ruleType", "scope", "scopeId", "status"):
        assert client.get(API + POLICIES, {name: right[name]}).json()["data"] == [right], name
    for name, value in (("ruleType", "none"), ("scope", "segment"), ("scopeId", "seg_UkLWZg9D")):
        assert list(error(client.get(API + POLICIES, {name: value}))["fields"]) == [name]
