"""Schemas over the API: tables registered, looked at, added to and dropped."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import Schema, Segment
from campaigns.services.segments import create_segment
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, create, error, faults
from tests.clients import without_stamps as lasting
from tests.customer_tables import execute, make_schema


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    columns = "id text PRIMARY KEY, balance float8, born date, seen timestamptz, loan boolean"
    return make_schema(tenant, "people", columns, ("a", 1, "2000-01-01", "2024-05-01", True))


@pytest.fixture
def table(db: None) -> None:
    execute("CREATE TABLE clients (id integer PRIMARY KEY, name text, spot point)")
    execute("INSERT INTO clients VALUES (1, 'Ann', NULL), (2, 'Bob', '(1,2)')")


def rows(client: APIClient, schema: Schema, **query: Any) -> list[dict[str, Any]]:
    response = client.get(f"{API}schemas/{schema.public_id}/data", query)
    assert response.status_code == 200, response.json()
    return response.json()["rows"]


def add(client: APIClient, schema: Schema, *rows: Any) -> Any:
    return client.post(f"{API}schemas/{schema.public_id}/data", {"rows": rows}, format="json")


@pytest.mark.usefixtures("table")
def test_register_a_table(client: APIClient) -> None:
    body = {"name": "Clients", "relationName": "clients", "keyColumn": "id"}
    made = create(client, "schemas", **body, entityType="account")
    assert [(c["name"], c["kind"]) for c in made.pop("columns")] == [
        ("id", "integer"),
        ("name", "text"),
        ("spot", None),
    ]
    assert lasting(made) == {
        **body,
        "entityType": "account",
        "origin": "registered",
        "relationSchema": "public",
        "rowCount": 2,
    }
    response = client.post(API + "schemas", {**body, "name": "Again"}, format="json")
    assert response.status_code == 409
    assert error(response)["message"] == '"Again" or public.clients is registered already'


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("name", "", "name"),
        ("relationName", "nothing", "relationName"),
        ("relationName", "auth_user", "relationName"),
        ("relationName", 'clients"; DROP TABLE clients; --', "relationName"),
        ("relationSchema", "data", "relationName"),
        ("relationSchema", "pg_catalog", "relationName"),
        ("keyColumn", "shoe", "keyColumn"),
        ("keyColumn", "spot", "keyColumn"),
        ("entityType", "fish", "entityType"),
        ("columns", [], "columns"),
    ],
)
def test_registration_faults(client: APIClient, field: str, value: Any, path: str) -> None:
    body = {"name": "C", "relationName": "clients", "keyColumn": "id", field: value}
    assert list(faults(client, "schemas", **body)) == [path]
    assert not Schema.unscoped.exists()


@pytest.mark.usefixtures("table")
def test_a_view_that_cannot_be_read_is_refused(client: APIClient) -> None:
    execute("CREATE VIEW half AS SELECT 1 / (id - 1) AS id FROM clients")
    body = {"name": "C", "relationName": "half", "keyColumn": "id"}
    response = client.post(API + "schemas", body, format="json")
    assert response.status_code == 400
    assert error(response)["message"] == "reading the customers fails: division by zero"


def test_only_administrators_register(tenant: Tenant) -> None:
    response = api_client(tenant, "editor").post(API + "schemas", {}, format="json")
    assert response.status_code == 403


@pytest.mark.usefixtures("table")
def test_refresh_reads_the_table_again(client: APIClient) -> None:
    made = create(client, "schemas", name="C", relationName="clients", keyColumn="id")
    execute("ALTER TABLE clients DROP spot; DELETE FROM clients WHERE id = 1")
    refreshed = client.post(f"{API}schemas/{made['id']}/refresh").json()
    assert [column["name"] for column in refreshed["columns"]] == ["id", "name"]
    assert refreshed["rowCount"] == 1
    execute("DROP TABLE clients")
    assert client.post(f"{API}schemas/{made['id']}/refresh").status_code == 400


def test_change(client: APIClient, customers: Schema) -> None:
    changed = change(client, "schemas", customers.public_id, name="Us", entityType="account")
    assert (changed["name"], changed["entityType"], changed["version"]) == ("Us", "account", 2)
    url = f"{API}schemas/{customers.public_id}"
    assert client.patch(url, {"version": 1}, format="json").status_code == 409
    for field in ("keyColumn", "relationName", "columns", "rowCount", "origin"):
        response = client.put(url, {field: "x"}, format="json")
        assert list(error(response)["fields"]) == [field]


def test_filters_and_search(client: APIClient, tenant: Tenant) -> None:
    first = factories.SchemaFactory(tenant=tenant, name="Early birds", origin="registered")
    second = factories.SchemaFactory(tenant=tenant, entity_type="custom", relation_name="owls")
    for query, row in [
        ({"origin": "registered"}, first),
        ({"entityType": "custom"}, second),
        ({"search": "birds"}, first),
        ({"search": "owls"}, second),
    ]:
        found = client.get(API + "schemas", query).json()["data"]
        assert [one["id"] for one in found] == [row.public_id]
    assert list(error(client.get(API + "schemas", {"origin": "x"}))["fields"]) == ["origin"]


@pytest.mark.usefixtures("table")
def test_delete_forgets_a_registered_table(client: APIClient, tenant: Tenant) -> None:
    made = create(client, "schemas", name="C", relationName="clients", keyColumn="id")
    url = f"{API}schemas/{made['id']}"
    assert api_client(tenant).delete(url).status_code == 403
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert execute("SELECT count(*) FROM clients") == [(2,)]


def test_delete_is_refused_while_segments_read_the_table(
    client: APIClient, tenant: Tenant, customers: Schema
) -> None:
    accounts = make_schema(tenant, "accounts", "owner text", ("a",))
    join = {"schemaId": accounts.public_id, "type": "exists"}
    join |= {"localKey": "id", "foreignKey": "owner"}
    segment = create_segment(tenant, name="S", base_schema=customers, filters=[], joins=[join])
    for schema in (customers, accounts):
        response = client.delete(f"{API}schemas/{schema.public_id}")
        assert response.status_code == 409
        assert error(response)["message"] == 'The schema is used by segment "S".'
    assert client.delete(f"{API}segments/{segment.public_id}").status_code == 204
    for schema in (customers, accounts):
        assert client.delete(f"{API}schemas/{schema.public_id}").status_code == 204
    assert execute("SELECT to_regclass('data.people'), to_regclass('data.accounts')") == [
        (None, None)
    ]


def test_rows_in_values_that_json_has(client: APIClient, tenant: Tenant) -> None:
    columns = (
        "id int, n numeric, f float8, d date, t timestamptz, l timestamp, b bytea, j jsonb,"
        " k json, a text[], u uuid, p point, i inet"
    )
    json_text = '{"a": "\\u0000\\ud800"}'
    uuid = "12345678-1234-1234-1234-123456789abc"
    full = (1, "2.50", 0.1, "2024-02-29", "2024-01-01 12:00+01", "2024-01-01 12:00", "\\x00ff")
    full += ('{"x": [1]}', json_text, "{a,NULL}", uuid, "(1,2)", "10.0.0.1/32")
    odd = (2, "NaN", "Infinity", "infinity", "-infinity", "infinity", None, None, None, None)
    odd += (None, None, None)
    schema = make_schema(tenant, "odd", columns, full, odd)
    assert rows(client, schema) == [
        {
            "id": 1,
            "n": 2.5,
            "f": 0.1,
            "d": "2024-02-29",
            "t": "2024-01-01T11:00:00.000Z",
            "l": "2024-01-01T12:00:00.000Z",
            "b": "00ff",
            "j": '{"x": [1]}',
            "k": json_text,
            "a": '["a",null]',
            "u": uuid,
            "p": "(1,2)",
            "i": "10.0.0.1",
        },
        {
            "id": 2,
            "n": None,
            "f": None,
            "d": "9999-12-31",
            "t": "0001-01-01T00:00:00.000Z",
            "l": "9999-12-31T23:59:59.999Z",
            **dict.fromkeys("bjkaupi"),
        },
    ]


def test_rows_come_in_pages(client: APIClient, tenant: Tenant) -> None:
    schema = make_schema(tenant, "many", "id int", *[(n,) for n in range(60, 0, -1)])
    assert [row["id"] for row in rows(client, schema)] == list(range(1, 51))
    assert rows(client, schema, limit=2, offset=59) == [{"id": 60}]
    assert rows(client, schema, offset=2**31 - 1) == []
    url = f"{API}schemas/{schema.public_id}/data"
    for query in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"offset": "x"}, {"cursor": "x"}):
        assert list(error(client.get(url, query))["fields"]) == list(query)


def test_rows_of_a_table_that_is_gone(client: APIClient, customers: Schema) -> None:
    execute("DROP TABLE data.people")
    response = client.get(f"{API}schemas/{customers.public_id}/data")
    assert response.status_code == 409
    assert error(response)["message"].startswith("The table of the schema is gone")
    assert add(client, customers, {"id": "b"}).status_code in (400, 409)


def test_rows_are_added_unless_their_key_is_there(client: APIClient, customers: Schema) -> None:
    segment = create_segment(customers.tenant, name="All", base_schema=customers, filters=[])
    new = {"id": "b", "balance": 5, "born": "1999-12-31", "seen": "2024-01-01T12:00:00+01:00"}
    response = add(client, customers, {"id": "a", "balance": 9}, new, {"id": "c"}, {"id": "c"})
    assert response.status_code == 201
    assert response.json() == {"inserted": 2, "tableName": "people"}
    assert rows(client, customers) == [
        {
            "id": "a",
            "balance": 1.0,
            "born": "2000-01-01",
            "seen": "2024-05-01T00:00:00.000Z",
            "loan": True,
        },
        {**new, "seen": "2024-01-01T11:00:00.000Z", "loan": None},
        {"id": "c", "balance": None, "born": None, "seen": None, "loan": None},
    ]
    assert Segment.unscoped.get(pk=segment.pk).customer_count == 3
    assert Schema.unscoped.get().row_count == 2
    assert add(client, customers, {"id": "a"}).json()["inserted"] == 0


def test_numbered_rows_go_on(client: APIClient, tenant: Tenant) -> None:
    schema = make_schema(tenant, "numbered", "row_number bigint PRIMARY KEY, x text", (7, "a"))
    assert add(client, schema, {"x": "b"}, {}).json()["inserted"] == 2
    assert [tuple(row.values()) for row in rows(client, schema)] == [
        (7, "a"),
        (8, "b"),
        (9, None),
    ]


@pytest.mark.parametrize(
    ("row", "paths"),
    [
        ({}, ["rows[1].id"]),
        ({"id": None}, ["rows[1].id"]),
        ({"id": ""}, ["rows[1].id"]),
        ({"id": 5}, ["rows[1].id"]),
        ({"id": "x", "colour": "red"}, ["rows[1].colour"]),
        ({"id": "x", "balance": "5", "loan": 1}, ["rows[1].balance", "rows[1].loan"]),
        ({"id": "x", "balance": True}, ["rows[1].balance"]),
        ({"id": "x", "born": "2000-02-30"}, ["rows[1].born"]),
        ({"id": "x", "born": 5}, ["rows[1].born"]),
        ({"id": "x", "seen": "0001-01-01T00:00:00+14:00"}, ["rows[1].seen"]),
        ({"id": "x", "seen": []}, ["rows[1].seen"]),
        ({"id": ["x"]}, ["rows[1].id"]),
        ([], ["rows[1]"]),
    ],
)
def test_faults_of_rows(client: APIClient, customers: Schema, row: Any, paths: list[str]) -> None:
    response = add(client, customers, {"id": "good"}, row)
    assert response.status_code == 400
    assert list(error(response)["fields"]) == paths
    assert len(rows(client, customers)) == 1


def test_a_key_too_long_is_refused(client: APIClient, customers: Schema) -> None:
    key = "".join(map(str, range(5000)))
    assert add(client, customers, {"id": key}).status_code == 400


def test_how_many_rows_may_be_added(client: APIClient, customers: Schema) -> None:
    assert list(error(add(client, customers))["fields"]) == ["rows"]
    thousand = [{"id": str(n)} for n in range(1000)]
    assert list(error(add(client, customers, *thousand, {"id": "x"}))["fields"]) == ["rows"]
    assert add(client, customers, *thousand).json()["inserted"] == 1000


def test_a_registered_table_is_only_read(client: APIClient, tenant: Tenant) -> None:
    schema = factories.SchemaFactory(tenant=tenant, origin="registered", name="R")
    response = add(client, schema, {"id": 1})
    assert response.status_code == 409
    assert error(response)["message"] == '"R" is a registered table, which is only ever read.'


def test_a_foreign_schema_is_not_found(client: APIClient) -> None:
    schema = factories.SchemaFactory()
    for method, ending in [
        ("get", ""),
        ("patch", ""),
        ("delete", ""),
        ("get", "/data"),
        ("post", "/data"),
        ("post", "/refresh"),
    ]:
        call = getattr(client, method)
        assert call(f"{API}schemas/{schema.public_id}{ending}", format="json").status_code == 404
