"""Custom fields over the API: what a category may define, and what its offers may say."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import Category
from executor.flow.custom_fields import in_order
from executor.spec import load_catalog
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, change, change_faults, create, faults

RATE = {"key": "rate", "label": "Rate", "type": "number", "required": True}
TIER = {"key": "tier", "type": "select", "options": ["gold", "silver"], "defaultValue": "silver"}
BONUS = {
    "key": "bonus",
    "type": "computed",
    "formula": "customer.balance * rate",
    "outputType": "number",
}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def test_offers_have_the_fields_of_category_and_sub_category(
    client: APIClient, tenant: Tenant
) -> None:
    category = create(client, "categories", name="Cards", customFields=[RATE, TIER])
    assert category["customFields"] == [RATE, TIER]
    inner = create(
        client,
        "sub-categories",
        name="Credit",
        categoryId=category["id"],
        customFields=[{**BONUS, "name": "bonus"}],
    )
    assert inner["customFields"] == [BONUS]
    place = {"categoryId": category["id"], "subCategoryId": inner["id"]}
    offer = create(client, "offers", name="Gold", **place, customFields={"rate": 0.5})
    assert offer["customFields"] == {"rate": 0.5}
    change(client, "offers", offer["id"], customFields={"rate": 2, "tier": "gold"})
    change(client, "offers", offer["id"], priority=7)
    (facts,) = load_catalog(tenant).offers
    assert facts.custom_fields == {"rate": 2, "tier": "gold"}
    assert facts.computed == (("bonus", "customer.balance * rate", "number"),)


@pytest.mark.parametrize(
    ("field", "path", "message"),
    [
        ("text", "customFields", ""),
        ({"key": "1x", "type": "text"}, "[0].key", "must be letters, digits and _"),
        ({"key": "and", "type": "text"}, "[0].key", '"and" is a word of formulas'),
        ({"key": "x", "type": "decimal"}, "[0].type", "must be one of: text, number, boolean"),
        ({"key": "x", "type": "text", "size": 1}, "[0].size", "is unknown; a field has default"),
        ({"key": "x", "type": "text", "label": 1}, "[0].label", "must be a text"),
        ({"key": "x", "type": "text", "required": 1}, "[0].required", "must be true or false"),
        ({"key": "x", "type": "text", "options": ["a"]}, "[0].options", "belongs to fields of the"),
        ({"key": "x", "type": "select", "options": []}, "[0].options", "must be 1 to 500 diff"),
        ({**TIER, "defaultValue": "x"}, "[0].defaultValue", "must be one of: gold, silver"),
        ({**RATE, "defaultValue": "x"}, "[0].defaultValue", "must be a number"),
        (
            {"key": "x", "type": "date", "defaultValue": "1.2.26"},
            "[0].defaultValue",
            "must be a date",
        ),
        ({**BONUS, "formula": None}, "[0].formula", "a computed field needs a formula"),
        ({**BONUS, "outputType": "decimal"}, "[0].outputType", "must be one of: number, text"),
        ({**BONUS, "required": True}, "[0].required", "has no meaning for a computed field"),
        ({**BONUS, "formula": "1 +"}, "[0].formula", "position 4: found the end, expected a value"),
        ({**BONUS, "formula": "rat"}, "[0].formula", 'there is no custom field "rat"'),
        ({**BONUS, "formula": "attributes.x"}, "[0].formula", '"attributes.x" is not available: a'),
        ({**BONUS, "formula": "offer.prio"}, "[0].formula", 'unknown field "offer.prio"'),
        ({**BONUS, "formula": "bonus + 1"}, "[0].formula", "needs itself: bonus -> bonus"),
    ],
)
def test_a_definition_that_means_nothing_is_refused(
    client: APIClient, tenant: Tenant, field: Any, path: str, message: str
) -> None:
    (found,) = faults(client, "categories", name="Cards", customFields=[field]).items()
    assert path in found[0]
    if isinstance(field, dict):
        assert found[1][0].startswith(message)
    assert not Category.objects.of(tenant).exists()


def test_fields_may_not_need_each_other_in_a_circle(client: APIClient) -> None:
    circle = [{**BONUS, "key": key, "formula": need} for key, need in ("ab", "bc", "ca")]
    found = faults(client, "categories", name="Cards", customFields=circle)
    assert found["customFields[0].formula"] == ["needs itself: a -> b -> c -> a"]
    assert len(found) == 3


def test_a_change_of_a_category_keeps_its_sub_categories_right(client: APIClient) -> None:
    category = create(client, "categories", name="Cards", customFields=[RATE])
    body = {"name": "Credit", "categoryId": category["id"]}
    twice = faults(client, "sub-categories", **body, customFields=[RATE])
    assert twice == {"customFields[0].key": ['"rate" is there already']}
    create(client, "sub-categories", **body, customFields=[BONUS])
    found = change_faults(client, "categories", category["id"], customFields=[])
    (message,) = found["customFields"]
    assert message.startswith(
        'the sub-category "Credit" needs them: [0].formula there is no custom'
    )


def test_an_offer_may_say_only_what_its_category_defines(client: APIClient) -> None:
    category = create(client, "categories", name="Cards", customFields=[RATE, TIER, BONUS])
    body = {"name": "Gold", "categoryId": category["id"]}
    assert faults(client, "offers", **body) == {"customFields.rate": ["is required"]}
    values = {"rate": "high", "tier": "iron", "bonus": 1, "more": 1}
    assert faults(client, "offers", **body, customFields=values) == {
        "customFields.rate": ["must be a number"],
        "customFields.tier": ["must be one of: gold, silver"],
        "customFields.bonus": ["is computed: it cannot be given"],
        "customFields.more": ["is no custom field of the offer's category; available: rate, tier"],
    }
    offer = create(client, "offers", **body, customFields={"rate": 1})
    moved = change_faults(client, "offers", offer["id"], categoryId=None)
    assert moved == {
        "customFields.rate": ["is no custom field of the offer's category; available: none"]
    }


def test_formulas_come_in_the_order_they_need_each_other() -> None:
    assert in_order({"a": "b + c", "b": "c", "c": "customer.x"}) == ["c", "b", "a"]


def test_an_offer_without_custom_fields_has_none(tenant: Tenant) -> None:
    factories.OfferFactory(tenant=tenant)
    (facts,) = load_catalog(tenant).offers
    assert (facts.custom_fields, facts.computed) == ({}, ())
