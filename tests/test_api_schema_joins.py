"""Schema joins over the API and in the admin, and what they keep from being deleted."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.models import Schema, SchemaJoin
from campaigns.services.segments import create_segment
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults
from tests.customer_tables import execute, make_schema
from tests.signed_in import errors, member, page

JOINS = "schema-joins"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def people(tenant: Tenant) -> Schema:
    columns = 'id text PRIMARY KEY, account bigint, born date, "acct.tier" text, at point'
    return make_schema(tenant, "people", columns)


@pytest.fixture
def accounts(tenant: Tenant) -> Schema:
    columns = "number int PRIMARY KEY, owner varchar(9) UNIQUE, tier text, opened timestamp UNIQUE"
    return make_schema(tenant, "accounts", columns)


@pytest.fixture
def body(people: Schema, accounts: Schema) -> dict[str, Any]:
    return {
        "name": "account",
        "primarySchemaId": people.public_id,
        "primaryKey": "account",
        "foreignSchemaId": accounts.public_id,
        "foreignKey": "number",
    }


def test_join_lives(client: APIClient, tenant: Tenant, body: dict[str, Any]) -> None:
    made = create(client, JOINS, **body)
    assert {name: made[name] for name in made if name not in ("id", "createdAt", "updatedAt")} == {
        **body,
        "joinType": "left",
        "autoEnrich": True,
        "status": "active",
        "version": 1,
    }
    assert made["id"].startswith("sj_")
    keys = {"primaryKey": "id", "foreignKey": "owner", "autoEnrich": False, "version": 1}
    changed = change(client, JOINS, made["id"], name="a" * 31, **keys)
    assert changed | {"updatedAt": made["updatedAt"]} == {
        **made,
        **keys,
        "name": "a" * 31,
        "version": 2,
    }
    url = f"{API}{JOINS}/{made['id']}"
    assert client.put(url, {"status": "draft", "version": 1}, format="json").status_code == 409
    assert client.delete(url).status_code == 403
    assert api_client(tenant, "viewer").post(API + JOINS, body, format="json").status_code == 403
    assert api_client(tenant, "admin").delete(url).status_code == 204
    assert client.get(url).status_code == 404
    history = SchemaJoin.history.order_by("history_id")
    assert [row.history_type for row in history] == ["+", "~", "-"]


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        ({"name": "Account"}, "name", "Must be a lower-case letter and at most 30 more"),
        ({"name": "1account"}, "name", "Must be a lower-case letter and at most 30 more"),
        ({"name": "a-b"}, "name", "Must be a lower-case letter and at most 30 more"),
        ({"name": "a" * 32}, "name", "no more than 31 characters"),
        ({"name": "acct"}, "name", 'the customers have a column "acct.tier" already, choose'),
        ({"primarySchemaId": "sch_nonsense"}, "primarySchemaId", "There is no schema"),
        ({"foreignSchemaId": None}, "foreignSchemaId", "null"),
        ({"primaryKey": "x"}, "primaryKey", 'data.people has no column "x"'),
        ({"primaryKey": "at"}, "primaryKey", '"at" cannot be used: type point is not supported'),
        ({"foreignKey": "nr"}, "foreignKey", 'data.accounts has no column "nr"'),
        (
            {"foreignKey": "owner"},
            "foreignKey",
            '"owner" is of kind text and cannot be compared with "account" of kind integer',
        ),
        (
            {"primaryKey": "id", "foreignKey": "tier"},
            "foreignKey",
            'could multiply customers: no unique index makes "tier" unique on its own',
        ),
        ({"joinType": "inner"}, "joinType", "Must be one of: left."),
        ({"autoEnrich": "yes"}, "autoEnrich", "Must be true or false."),
        ({"status": "gone"}, "status", "Must be one of"),
        ({"columns": ["tier"]}, "columns", "Unknown field."),
    ],
)
def test_join_faults(
    client: APIClient, body: dict[str, Any], given: dict[str, Any], path: str, text: str
) -> None:
    found = faults(client, JOINS, **body | given)
    assert list(found) == [path]
    assert text in found[path][0]
    assert not SchemaJoin.unscoped.exists()
    made = create(client, JOINS, **body)
    assert change_faults(client, JOINS, made["id"], **given) == found


def test_all_faults_of_both_sides_are_told(client: APIClient, body: dict[str, Any]) -> None:
    wrong = {"name": "acct", "primaryKey": "x", "foreignKey": "y"}
    assert sorted(faults(client, JOINS, **body | wrong)) == ["foreignKey", "name", "primaryKey"]
    execute("DROP TABLE data.people; DROP TABLE data.accounts")
    gone = 'the table data.{0} of the schema "{0}" is gone'
    assert faults(client, JOINS, **body) == {
        "primarySchemaId": [gone.format("people")],
        "foreignSchemaId": [gone.format("accounts")],
    }


def test_a_key_compared_only_approximately_is_refused(
    client: APIClient, people: Schema, body: dict[str, Any]
) -> None:
    execute("ALTER TABLE data.people ADD COLUMN seen timestamptz")
    found = faults(client, JOINS, **body | {"primaryKey": "seen", "foreignKey": "opened"})
    assert list(found) == ["foreignKey"]
    assert found["foreignKey"][0].endswith("only approximately; give both the same type")


def test_the_key_of_a_registered_view_will_do(
    client: APIClient, tenant: Tenant, accounts: Schema, body: dict[str, Any]
) -> None:
    execute("CREATE VIEW data.rich AS SELECT number, owner FROM data.accounts")
    view = factories.SchemaFactory(tenant=tenant, relation_name="rich", key_column="number")
    other = body | {"foreignSchemaId": view.public_id}
    assert create(client, JOINS, **other)["foreignKey"] == "number"
    by_owner = {"name": "owner", "primaryKey": "id", "foreignKey": "owner"}
    assert list(faults(client, JOINS, **other | by_owner)) == ["foreignKey"]


def test_a_join_whose_table_is_gone_can_be_paused_and_not_be_made_active(
    client: APIClient, body: dict[str, Any]
) -> None:
    made = create(client, JOINS, **body)
    execute("DROP TABLE data.accounts")
    assert change(client, JOINS, made["id"], **body, status="paused")["status"] == "paused"
    found = change_faults(client, JOINS, made["id"], status="active")
    assert list(found) == ["foreignSchemaId"]


def test_a_name_is_there_once(client: APIClient, body: dict[str, Any]) -> None:
    create(client, JOINS, **body)
    again = client.post(API + JOINS, body, format="json")
    assert again.status_code == 409
    assert error(again)["message"] == "There is a schema join with this name already."
    other = create(client, JOINS, **body | {"name": "other"})
    url = f"{API}{JOINS}/{other['id']}"
    assert client.patch(url, {"name": "account"}, format="json").status_code == 409
    assert client.get(url).json() == other


def test_joins_and_schemas_of_others_are_not_found(
    tenant: Tenant, client: APIClient, body: dict[str, Any]
) -> None:
    foreign = factories.SchemaJoinFactory(name="account")
    admin = api_client(tenant, "admin")
    url = f"{API}{JOINS}/{foreign.public_id}"
    assert admin.get(API + JOINS).json()["data"] == []
    for answer in (admin.get(url), admin.patch(url, {}, format="json"), admin.delete(url)):
        assert answer.status_code == 404
    theirs = foreign.foreign_schema.public_id
    for field in ("primarySchemaId", "foreignSchemaId"):
        assert list(faults(client, JOINS, **body | {field: theirs})) == [field]
    create(client, JOINS, **body)


@pytest.mark.parametrize("count", [1, 20])
def test_list(client: APIClient, tenant: Tenant, django_assert_num_queries, count: int) -> None:
    joins = factories.SchemaJoinFactory.create_batch(count, tenant=tenant)
    client.get(API + JOINS)
    with django_assert_num_queries(3):
        rows = client.get(API + JOINS).json()["data"]
    assert [row["name"] for row in rows] == sorted(each.name for each in joins)
    last = factories.SchemaJoinFactory(
        tenant=tenant, name="zz_last", auto_enrich=False, status="draft"
    )
    for query in (
        {"search": "z_l"},
        {"autoEnrich": "false"},
        {"status": "draft"},
        {"primarySchemaId": last.primary_schema.public_id},
        {"foreignSchemaId": last.foreign_schema.public_id},
        {"ordering": "-name", "limit": 1},
    ):
        found = client.get(API + JOINS, query).json()["data"]
        assert [row["id"] for row in found] == [last.public_id]


def test_schemas_of_a_join_stay(
    tenant: Tenant, client: APIClient, people: Schema, accounts: Schema, body: dict[str, Any]
) -> None:
    made = create(client, JOINS, **body)
    create_segment(tenant, name="All", base_schema=people, filters=[])
    admin = api_client(tenant, "admin")
    for schema, users in ((people, 'segment "All", '), (accounts, "")):
        answer = admin.delete(f"{API}schemas/{schema.public_id}")
        assert answer.status_code == 409
        told = f'The schema is used by {users}schema join "account".'
        assert error(answer)["message"] == told
    assert execute("SELECT count(*) FROM data.accounts") == [(0,)]
    admin.delete(f"{API}{JOINS}/{made['id']}")
    assert admin.delete(f"{API}schemas/{accounts.public_id}").status_code == 204


def test_join_is_made_and_changed_in_the_admin(
    tenant: Tenant, people: Schema, accounts: Schema
) -> None:
    editor = member(tenant, "editor")
    data = {
        "name": "account",
        "status": "active",
        "auto_enrich": "on",
        "primary_schema": people.pk,
        "primary_key": "account",
        "foreign_schema": accounts.pk,
        "foreign_key": "number",
        "join_type": "left",
    }
    refused = editor.post(page("schemajoin", "add"), data | {"foreign_key": "tier", "name": "acct"})
    assert sorted(errors(refused)) == ["foreign_key", "name"]
    assert not SchemaJoin.unscoped.exists()
    assert editor.post(page("schemajoin", "add"), data).status_code == 302
    made = SchemaJoin.unscoped.get()
    assert (made.tenant, made.auto_enrich, made.version) == (tenant, True, 1)
    change_page = page("schemajoin", "change", made.pk)
    gone = editor.post(change_page, data | {"primary_schema": factories.SchemaFactory().pk})
    assert list(errors(gone)) == ["primary_schema"]
    assert list(errors(editor.post(change_page, data | {"name": "A"}))) == ["name"]
    assert editor.post(change_page, data | {"status": "paused"}).status_code == 302
    made.refresh_from_db()
    assert (made.status, made.version) == ("paused", 2)
