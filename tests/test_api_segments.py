"""Segments over the API: they and their views are made, changed, counted and dropped together."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import Schema, Segment
from campaigns.services import previews
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults
from tests.clients import without_stamps as lasting
from tests.customer_tables import execute, make_schema, view_keys, views

RICH = [{"field": "balance", "operator": "gt", "value": 1000}]


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    """Three customers with a balance."""
    rows = [("1", 1000), ("2", 2000), ("3", 3000)]
    return make_schema(tenant, "people", "id text PRIMARY KEY, balance float8", *rows)


@pytest.fixture
def rich(client: APIClient, customers: Schema) -> dict[str, Any]:
    return create(client, "segments", name="Rich", baseSchemaId=customers.public_id, filters=RICH)


def stored() -> Segment:
    return Segment.unscoped.get()


def test_create(client: APIClient, customers: Schema) -> None:
    body = {"name": "Rich", "baseSchemaId": customers.public_id, "filters": RICH}
    made = create(client, "segments", **body)
    assert made.pop("viewName").startswith("seg_")
    assert made.pop("lastRefreshedAt").endswith("Z")
    assert lasting(made) == {
        **body,
        "description": "",
        "status": "active",
        "entityType": "customer",
        "baseSchemaName": "people",
        "joins": [],
        "customerCount": 2,
    }
    response = client.post(API + "segments", body, format="json")
    assert response.status_code == 409
    assert error(response)["message"] == "There is a segment with this name already."
    assert views() == [stored().view_name]


def test_without_filters_is_everyone(client: APIClient, customers: Schema) -> None:
    made = create(client, "segments", name="All", baseSchemaId=customers.public_id, status="draft")
    assert (made["filters"], made["customerCount"], made["status"]) == ([], 3, "draft")


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("filters", [{"field": "shoe", "operator": "gt", "value": 1}], "filters[0].field"),
        ("filters", [{**RICH[0], "colour": 1}], "filters[0]"),
        ("filters", 5, "filters"),
        ("filters", None, "filters"),
        ("filters", "1 = 1", "filters"),
        ("joins", {}, "joins"),
        ("joins", [1], "joins[0]"),
        ("joins", [{"schemaId": "sch_nothing"}], "joins[0].schemaId"),
        ("name", " ", "name"),
        ("status", "asleep", "status"),
        ("viewName", "seg_000000000000", "viewName"),
        ("customerCount", 5, "customerCount"),
        ("entityType", "account", "entityType"),
        ("colour", "red", "colour"),
    ],
)
def test_faults(client: APIClient, customers: Schema, field: str, value: Any, path: str) -> None:
    body = {"name": "x", "baseSchemaId": customers.public_id, field: value}
    assert path in faults(client, "segments", **body)
    assert not Segment.unscoped.exists()
    assert views() == []


def test_other_filters_rebuild_the_view_and_count(client: APIClient, rich: dict[str, Any]) -> None:
    poor = [{**RICH[0], "operator": "lte"}]
    changed = change(client, "segments", rich["id"], filters=poor, status="paused", version=1)
    assert (changed["filters"], changed["status"], changed["version"]) == (poor, "paused", 2)
    assert (changed["customerCount"], changed["viewName"]) == (1, rich["viewName"])
    assert view_keys(stored()) == ["1"]
    assert stored().history.count() == 2


def test_another_base_rebuilds_the_view(
    client: APIClient, tenant: Tenant, rich: dict[str, Any]
) -> None:
    other = make_schema(tenant, "others", "id int, balance float8", (7, 7000), (8, 5000))
    changed = change(client, "segments", rich["id"], baseSchemaId=other.public_id)
    assert (changed["baseSchemaName"], changed["customerCount"]) == ("others", 2)
    assert view_keys(stored()) == [7, 8]


def test_a_name_leaves_the_view_alone(client: APIClient, rich: dict[str, Any]) -> None:
    before = execute("SELECT %s::regclass::oid", f"segments.{rich['viewName']}")
    changed = change(client, "segments", rich["id"], name="Wealthy", description="d")
    assert changed | {"name": "Rich", "description": ""} == rich | {
        "version": 2,
        "updatedAt": changed["updatedAt"],
    }
    assert execute("SELECT %s::regclass::oid", f"segments.{rich['viewName']}") == before


@pytest.mark.parametrize(
    "body",
    [
        {"filters": [{**RICH[0], "field": "shoe"}], "name": "New"},
        {"joins": [{}], "name": "New"},
        {"name": ""},
        {"filters": None},
    ],
)
def test_a_faulty_change_changes_nothing(
    client: APIClient, rich: dict[str, Any], body: dict[str, Any]
) -> None:
    assert change_faults(client, "segments", rich["id"], **body)
    assert view_keys(stored()) == ["2", "3"]


def test_a_change_from_an_old_version_is_refused(client: APIClient, rich: dict[str, Any]) -> None:
    url = f"{API}segments/{rich['id']}"
    assert client.put(url, {"filters": [], "version": 1}, format="json").status_code == 200
    response = client.put(url, {"filters": RICH, "version": 1}, format="json")
    assert response.status_code == 409
    assert "has version 2, not 1" in error(response)["message"]
    assert view_keys(stored()) == ["1", "2", "3"]


@pytest.mark.parametrize("address", ["segments/{}/refresh", "segments/{}?action=refresh"])
def test_refresh(client: APIClient, rich: dict[str, Any], address: str) -> None:
    execute("INSERT INTO data.people VALUES ('4', 4000)")
    response = client.post(API + address.format(rich["id"]))
    assert response.status_code == 200
    refreshed = response.json()
    assert refreshed["customerCount"] == 3
    assert refreshed["lastRefreshedAt"] > rich["lastRefreshedAt"]
    assert refreshed["version"] == 1
    assert client.get(f"{API}segments/{rich['id']}").json() == refreshed


def test_refresh_says_what_is_gone(client: APIClient, rich: dict[str, Any]) -> None:
    execute("ALTER TABLE data.people RENAME balance TO money")
    response = client.post(f"{API}segments/{rich['id']}/refresh")
    assert list(error(response)["fields"]) == ["filters[0].field"]


def test_only_one_action_is_known(client: APIClient, rich: dict[str, Any]) -> None:
    for query in ("", "?action=count", "?action="):
        response = client.post(f"{API}segments/{rich['id']}{query}")
        assert error(response)["fields"] == {"action": ["Must be refresh."]}


def test_delete_drops_the_view(client: APIClient, tenant: Tenant, rich: dict[str, Any]) -> None:
    url = f"{API}segments/{rich['id']}"
    assert api_client(tenant).delete(url).status_code == 403
    factories.CampaignFactory(tenant=tenant, segment=stored(), name="Autumn")
    response = client.delete(url)
    assert response.status_code == 409
    assert error(response)["message"] == '"Rich" is used by the campaign "Autumn"'
    assert views() == [rich["viewName"]]
    stored().campaigns.get().delete()
    assert client.delete(url).status_code == 204
    assert views() == []
    assert client.get(url).status_code == 404


def preview(client: APIClient, **body: Any) -> Any:
    return client.post(f"{API}segments/preview-count", body, format="json")


def test_preview_count_saves_nothing(client: APIClient, tenant: Tenant, customers: Schema) -> None:
    accounts = make_schema(tenant, "accounts", "owner text, open boolean", ("2", True))
    join = {"schemaId": accounts.public_id, "type": "exists"}
    join |= {"localKey": "id", "foreignKey": "owner"}
    base = {"baseSchemaId": customers.public_id}
    assert preview(client, **base, filters=RICH).json() == {"count": 2}
    assert preview(client, **base, filters=[], joins=[join]).json() == {"count": 1}
    assert not Segment.unscoped.exists()
    assert views() == []


def test_preview_count_faults(client: APIClient, customers: Schema) -> None:
    assert set(error(preview(client, joins=1, name="x"))["fields"]) == {
        "baseSchemaId",
        "filters",
        "joins",
        "name",
    }
    response = preview(client, baseSchemaId=customers.public_id, filters=[{"field": "shoe"}])
    assert "filters[0].field" in error(response)["fields"]


def test_a_preview_that_takes_too_long_says_so(
    client: APIClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "SECONDS", 0.05)
    execute("CREATE VIEW data.slow AS SELECT 1 AS id, pg_sleep(n)::text AS x FROM (SELECT 9) s(n)")
    slow = factories.SchemaFactory(tenant=tenant, relation_name="slow", key_column="id")
    filters = [{"field": "x", "operator": "eq", "value": ""}]
    response = preview(client, baseSchemaId=slow.public_id, filters=filters)
    assert response.status_code == 409
    assert "takes longer than 0.05 seconds" in error(response)["message"]


def test_sample(client: APIClient, rich: dict[str, Any]) -> None:
    url = f"{API}segments/{rich['id']}/sample"
    rows = [{"id": "2", "balance": 2000.0}, {"id": "3", "balance": 3000.0}]
    assert client.get(url).json() == {"rows": rows, "total": 2}
    assert client.get(url, {"limit": 1}).json()["rows"] == rows[:1]
    for limit in (0, 101, "x"):
        assert list(error(client.get(url, {"limit": limit}))["fields"]) == ["limit"]


def test_sample_of_a_view_that_is_gone(client: APIClient, rich: dict[str, Any]) -> None:
    execute(f"DROP VIEW segments.{rich['viewName']}")
    response = client.get(f"{API}segments/{rich['id']}/sample")
    assert response.status_code == 409
    assert error(response)["message"].startswith("The view of the segment is gone")


def test_filters_and_search(client: APIClient, tenant: Tenant, customers: Schema) -> None:
    first = factories.SegmentFactory(tenant=tenant, base_schema=customers, name="Early birds")
    account = factories.SchemaFactory(tenant=tenant, entity_type="account")
    second = factories.SegmentFactory(
        tenant=tenant, base_schema=account, status="paused", description="night owls"
    )
    for query, row in [
        ({"baseSchemaId": customers.public_id}, first),
        ({"entityType": "account"}, second),
        ({"status": "paused"}, second),
        ({"search": "birds"}, first),
        ({"search": "OWLS"}, second),
    ]:
        found = client.get(API + "segments", query).json()["data"]
        assert [one["id"] for one in found] == [row.public_id]
    for query in ({"status": "asleep"}, {"baseSchemaId": "x"}, {"entityType": ""}, {"colour": 1}):
        assert list(error(client.get(API + "segments", query))["fields"]) == list(query)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("resource", "factory"),
    [("segments", factories.SegmentFactory), ("schemas", factories.SchemaFactory)],
)
def test_lists_take_three_queries(
    client: APIClient, tenant: Tenant, django_assert_num_queries, resource, factory, count
) -> None:
    factory.create_batch(count, tenant=tenant)
    client.get(API + resource)
    with django_assert_num_queries(3):
        assert client.get(API + resource).json()["pagination"]["total"] == count
