"""What a campaign refers to, made over the API: one pattern for all."""

from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Flow, Placement, QualificationRule, Schema, Segment, SubCategory
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

API = "/api/v1/"
FLOW = {
    "version": 2,
    "nodes": [
        {"id": "inventory", "type": "inventory", "config": {"scope": "all"}},
        {"id": "score", "type": "score", "config": {"method": "priority_weighted"}},
        {"id": "rank", "type": "rank", "config": {"method": "top_n", "maxCandidates": 1}},
        {"id": "response", "type": "response", "config": {}},
    ],
}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def create(client: APIClient, resource: str, **body: Any) -> dict[str, Any]:
    response = client.post(API + resource, body, format="json")
    assert response.status_code == 201, response.json()
    made = response.json()
    assert client.get(f"{API}{resource}/{made['id']}").json() == made
    assert made in client.get(API + resource).json()["data"]
    return made


def faults(client: APIClient, resource: str, **body: Any) -> dict[str, list[str]]:
    response = client.post(API + resource, body, format="json")
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def without_stamps(row: dict[str, Any]) -> dict[str, Any]:
    stamps = ("id", "version", "createdAt", "updatedAt")
    return {name: row[name] for name in row if name not in stamps}


def test_category(client: APIClient) -> None:
    assert without_stamps(create(client, "categories", name="Cards", ordinal=2)) == {
        "name": "Cards",
        "description": "",
        "color": "blue",
        "icon": "",
        "status": "active",
        "ordinal": 2,
    }


def test_offer(client: APIClient, tenant: Tenant) -> None:
    category = factories.CategoryFactory(tenant=tenant)
    inner = SubCategory.unscoped.create(tenant=tenant, category=category, name="Credit")
    body = {
        "name": "Gold Card",
        "description": "",
        "shortDesc": "A card",
        "status": "active",
        "categoryId": category.public_id,
        "subCategoryId": inner.public_id,
        "priority": 80,
        "weight": 50,
        "businessValue": 12.5,
        "margin": 3,
        "revenueValue": None,
        "productType": "card",
        "tags": ["new"],
        "metadata": {"snake_case": {"camelCase": [1, None]}},
    }
    assert without_stamps(create(client, "offers", **body)) == body


def test_offer_faults(client: APIClient, tenant: Tenant) -> None:
    category, other = factories.CategoryFactory.create_batch(2, tenant=tenant)
    inner = SubCategory.unscoped.create(tenant=tenant, category=other, name="Loans")
    assert set(
        faults(
            client,
            "offers",
            priority=101,
            weight=-1,
            businessValue="high",
            tags=["a", 1],
            metadata=[],
            version=2,
            categoryId=factories.OfferFactory(tenant=tenant).public_id,
        )
    ) == {
        "name",
        "priority",
        "weight",
        "businessValue",
        "tags[1]",
        "metadata",
        "version",
        "categoryId",
    }
    body = {"name": "x", "categoryId": category.public_id, "subCategoryId": inner.public_id}
    wrong = ["Must be a sub-category of categoryId."]
    assert faults(client, "offers", **body) == {"subCategoryId": wrong}


def test_channel(client: APIClient) -> None:
    made = create(client, "channels", name="E-mail", deliveryMode="file")
    assert without_stamps(made) == {
        "name": "E-mail",
        "channelType": "email",
        "deliveryMode": "file",
        "impressionMode": "explicit",
        "status": "active",
    }
    assert faults(client, "channels", name="x", deliveryMode="pigeon") == {
        "deliveryMode": ["Must be one of: api, file, integration, manual."]
    }


def test_creative(client: APIClient, tenant: Tenant) -> None:
    offer, channel = factories.OfferFactory(tenant=tenant), factories.ChannelFactory(tenant=tenant)
    body = {
        "name": "Gold e-mail",
        "offerId": offer.public_id,
        "channelId": channel.public_id,
        "status": "active",
        "content": {"subject": "Hello {{ first_name }}"},
        "personalization": [{"variable": "first_name", "fallback": "you"}],
        "weight": 50,
    }
    made = create(client, "creatives", **body)
    assert {name: made[name] for name in body} == body
    elsewhere = Placement.unscoped.create(
        tenant=tenant, channel=factories.ChannelFactory(tenant=tenant), key="top", name="Top"
    )
    body |= {"name": "Other", "placementId": elsewhere.public_id}
    assert faults(client, "creatives", **body) == {
        "placementId": ["Must be a placement of channelId."]
    }


def test_rule(client: APIClient, tenant: Tenant) -> None:
    config = {"field": "balance", "operator": "gt", "value": 1000}
    body = {"name": "Rich", "ruleType": "attribute_condition", "config": config}
    made = create(client, "qualification-rules", **body)
    assert (made["scope"], made["scopeId"], made["config"]) == ("global", None, config)
    offer = factories.OfferFactory(tenant=tenant)
    body |= {"name": "Rich for gold", "scope": "offer", "scopeId": offer.public_id}
    assert create(client, "qualification-rules", **body)["scopeId"] == offer.public_id


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"scope": "offer"}, 'The scope "offer" needs a scopeId.'),
        ({"scope": "offer", "scopeId": None}, 'The scope "offer" needs a scopeId.'),
        ({"scopeId": "off_UkLWZg9D"}, "A global rule has no scopeId."),
        (
            {"scope": "channel", "scopeId": "off_UkLWZg9D"},
            "There is no channel with this id; ids of this kind begin with ch_.",
        ),
        ({"scope": "offer", "scopeId": 1}, "Must be a string."),
    ],
)
def test_rule_scope_needs_its_id(client: APIClient, scope: dict[str, Any], message: str) -> None:
    body = {"name": "x", "ruleType": "attribute_condition", "config": {}, **scope}
    assert faults(client, "qualification-rules", **body) == {"scopeId": [message]}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"ruleType": "recency_check"}, "ruleType"),
        ({"scope": "global", "stage": "match"}, "stage"),
        ({"config": {}}, "config"),
        ({"config": {"field": "age", "operator": "almost", "value": 1}}, "config.operator"),
        ({"config": {"field": "age", "operator": "gt"}}, "config.value"),
        ({"config": {"field": "age", "operator": "gt", "value": [1]}}, "config.value"),
        ({"config": {"field": "offer.name", "operator": "eq", "value": "x"}}, "config.field"),
    ],
)
def test_rule_that_no_run_could_evaluate(client: APIClient, change: dict, path: str) -> None:
    config = {"field": "age", "operator": "gt", "value": 1}
    body = {"name": 'a "b"', "ruleType": "attribute_condition", "config": config, **change}
    assert path in {name[: len(path)] for name in faults(client, "qualification-rules", **body)}
    assert not QualificationRule.unscoped.exists()


@pytest.mark.parametrize(
    ("operator", "value"),
    [("gt", 1), ("eq", "x"), ("eq", True), ("lt", "2026-01-01"), ("in", [1, 2]), ("is_null", None)],
)
def test_rule_may_compare_columns_of_any_type(client: APIClient, operator: str, value) -> None:
    leaf = {"attribute": "age", "operator": operator}
    leaf |= {} if value is None else {"value": value}
    mixed = {"combinator": "OR", "conditions": [leaf, {**leaf, "attribute": "city"}]}
    body = {"name": operator, "ruleType": "attribute_condition", "config": mixed}
    assert create(client, "qualification-rules", **body)["config"] == mixed


def test_schemas_can_only_be_read(client: APIClient, tenant: Tenant) -> None:
    columns = [{"name": "customer_id", "type": "text", "kind": "text"}]
    schema = factories.SchemaFactory(tenant=tenant, columns=columns, row_count=3)
    found = client.get(f"{API}schemas/{schema.public_id}").json()
    assert (found["columns"], found["rowCount"]) == (columns, 3)
    pagination = {"total": 1, "limit": 25, "hasMore": False, "nextCursor": None}
    page = client.get(API + "schemas").json()
    assert page == {"data": [found], "pagination": pagination}
    assert client.post(API + "schemas", {}, format="json").status_code == 405


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    """Three customers with a balance."""
    schema = factories.SchemaFactory(tenant=tenant)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE data.{schema.relation_name} AS SELECT n::text AS customer_id,"
            " n * 1000 AS balance FROM generate_series(1, 3) AS n"
        )
    return schema


def test_segment(client: APIClient, customers: Schema) -> None:
    filters = [{"field": "balance", "operator": "gt", "value": 1000}]
    body = {"name": "Rich", "baseSchemaId": customers.public_id, "filters": filters}
    made = create(client, "segments", **body)
    assert made.pop("viewName").startswith("seg_")
    assert made.pop("lastRefreshedAt").endswith("Z")
    assert without_stamps(made) == {
        **body,
        "description": "",
        "status": "active",
        "joins": [],
        "customerCount": 2,
    }
    response = client.post(API + "segments", body, format="json")
    assert response.status_code == 409
    assert error(response)["message"] == "There is a segment with this name already."


def test_segment_without_filters_is_everyone(client: APIClient, customers: Schema) -> None:
    made = create(client, "segments", name="All", baseSchemaId=customers.public_id)
    assert (made["filters"], made["customerCount"]) == ([], 3)


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("filters", [{"field": "shoe", "operator": "gt", "value": 1}], "filters[0].field"),
        ("filters", 5, "filters"),
        ("filters", "1 = 1", "filters"),
        ("joins", {}, "joins"),
        ("joins", [1], "joins[0]"),
        ("joins", [{"schemaId": "sch_nothing"}], "joins[0].schemaId"),
        ("name", " ", "name"),
        ("status", "draft", "status"),
        ("viewName", "seg_000000000000", "viewName"),
    ],
)
def test_segment_faults(client: APIClient, customers: Schema, field, value, path: str) -> None:
    body = {"name": "x", "baseSchemaId": customers.public_id, field: value}
    assert path in faults(client, "segments", **body)
    assert not Segment.unscoped.exists()


def test_flow_is_created_and_published(client: APIClient) -> None:
    made = create(client, "decision-flows", key="next", name="Next best", draftConfig=FLOW)
    assert without_stamps(made) == {
        "key": "next",
        "name": "Next best",
        "description": "",
        "status": "draft",
        "draftConfig": FLOW,
        "publishedVersions": [],
        "isDefault": True,
        "rowVersion": 1,
    }
    for version in (1, 2):
        body = {"id": made["id"], "notes": f"take {version}"}
        published = client.post(API + "decision-flows/publish", body, format="json").json()
        newest = published["publishedVersions"][0]
        assert (newest["version"], newest["notes"]) == (version, f"take {version}")
    assert (published["status"], len(published["publishedVersions"])) == ("active", 2)


def test_flow_faults(client: APIClient) -> None:
    found = faults(client, "decision-flows", key="a b", name="", draftConfig=[], status="active")
    assert set(found) == {"key", "name", "draftConfig", "status"}
    nodes = [*FLOW["nodes"][:-1], {"id": "response", "type": "answer", "config": {}}]
    body = {"key": "a", "name": "A", "draftConfig": {"version": 2, "nodes": nodes}}
    assert list(faults(client, "decision-flows", **body)) == ["draftConfig.nodes[3].type"]
    assert not Flow.unscoped.exists()


def test_empty_flow_cannot_be_published(client: APIClient) -> None:
    made = create(client, "decision-flows", key="empty", name="Empty")
    response = client.post(API + "decision-flows/publish", {"id": made["id"]}, format="json")
    assert list(error(response)["fields"]) == ["draftConfig"]


def test_publish_faults(client: APIClient) -> None:
    url = API + "decision-flows/publish"
    assert list(error(client.post(url, {}, format="json"))["fields"]) == ["id"]
    assert client.post(url, {"id": "df_nothing"}, format="json").status_code == 404
    assert client.post(url, {"id": 1}, format="json").status_code == 400
    assert client.get(url).status_code == 405


def test_lists_are_paged_alike(client: APIClient, tenant: Tenant) -> None:
    made = factories.OfferFactory.create_batch(5, tenant=tenant)
    for order, names in (("name", sorted(o.name for o in made)), ("-createdAt", None)):
        query = {"limit": 2, "ordering": order}
        seen = []
        while query:
            page = client.get(API + "offers", query).json()
            seen += [row["name"] for row in page["data"]]
            assert page["pagination"]["total"] == 5
            cursor = page["pagination"]["nextCursor"]
            assert page["pagination"]["hasMore"] == (cursor is not None)
            query = {**query, "cursor": cursor} if cursor else None
        assert sorted(seen) == sorted(o.name for o in made)
        assert names is None or seen == names


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 201},
        {"limit": "x"},
        {"cursor": "nonsense"},
        {"cursor": "WyJuYW1lIl0"},
        {"ordering": "weight"},
        {"ordering": "--name"},
        {"offset": 1},
    ],
)
def test_a_list_refuses_what_it_does_not_understand(client: APIClient, query) -> None:
    answer = client.get(API + "offers", query)
    assert list(error(answer)["fields"]) == list(query)


def test_a_cursor_of_another_order_is_refused(client: APIClient, tenant: Tenant) -> None:
    factories.OfferFactory.create_batch(3, tenant=tenant)
    page = client.get(API + "offers", {"limit": 1, "ordering": "name"}).json()
    query = {"cursor": page["pagination"]["nextCursor"], "ordering": "createdAt"}
    assert list(error(client.get(API + "offers", query))["fields"]) == ["cursor"]


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("resource", "factory", "queries"),
    [
        ("offers", factories.OfferFactory, 3),
        ("creatives", factories.CreativeFactory, 3),
        ("segments", factories.SegmentFactory, 3),
        ("qualification-rules", factories.RuleFactory, 3),
        ("decision-flows", factories.FlowFactory, 4),
    ],
)
def test_lists_take_the_same_queries_for_any_number(
    client: APIClient, tenant: Tenant, django_assert_num_queries, resource, factory, queries, count
) -> None:
    factory.create_batch(count, tenant=tenant)
    client.get(API + resource)
    with django_assert_num_queries(queries):
        assert client.get(API + resource).json()["pagination"]["total"] == count
