"""Registering a table or view that exists: what is taken, what is refused, and dropping again."""

from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from campaigns.models import Schema
from campaigns.services.errors import Conflict
from campaigns.services.schemas import drop_schema, refresh_catalog, register_table
from campaigns.services.segments import create_segment
from executor.errors import Rejected
from kaireon.access.models import Tenant
from tests.customer_tables import execute
from tests.factories import SchemaFactory, TenantFactory


@pytest.fixture(autouse=True)
def customers(db: None) -> None:
    execute("CREATE TABLE customers (id integer NOT NULL, name varchar(20), spot point)")
    execute("INSERT INTO customers VALUES (1, 'Ann', NULL), (2, 'Bob', NULL)")


def register(tenant: Tenant, relation: str = "public.customers", key: str = "id") -> Schema:
    return register_table(tenant, relation, name="C", key=key).schema


def test_describes_the_table(tenant: Tenant) -> None:
    registration = register_table(tenant, "public.customers", name=" C ", key="id")
    schema = Schema.objects.of(tenant).get()
    assert registration.schema == schema
    assert registration.warnings == ('column "spot" cannot be used: type point is not supported',)
    assert (schema.name, schema.origin, schema.row_count) == ("C", "registered", 2)
    assert (schema.relation_schema, schema.relation_name) == ("public", "customers")
    assert [(c["name"], c["type"], c["kind"], c["nullable"]) for c in schema.columns] == [
        ("id", "integer", "integer", False),
        ("name", "character varying", "text", True),
        ("spot", "point", None, True),
    ]


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_takes_views(tenant: Tenant, kind: str) -> None:
    execute(f"CREATE {kind} of_age AS SELECT id::text AS key FROM customers WHERE id > 1")
    schema = register(tenant, "public.of_age", "key")
    assert (schema.row_count, schema.key_column) == (1, "key")


@pytest.mark.parametrize(
    ("statement", "relation", "key", "error"),
    [
        ("", "customers", "id", 'relation: "customers" is not written as schema.table'),
        ("", "public.nothing", "id", 'relation: there is no table or view "public.nothing"'),
        (
            "",
            "public.customers",
            "no",
            'key: there is no column "no"; choose one of id, name, spot',
        ),
        (
            "",
            "public.auth_user",
            "id",
            "relation: public.auth_user is a table of the application",
        ),
        (
            "",
            "public.django_migrations",
            "id",
            "relation: public.django_migrations is a table of the application",
        ),
        (
            "CREATE VIEW people AS SELECT u.id FROM (SELECT * FROM auth_user) u",
            "public.people",
            "id",
            "relation: public.people reads auth_user: a table of the application",
        ),
        (
            "CREATE TABLE march PARTITION OF campaigns_contact"
            " FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')",
            "public.march",
            "customer_key",
            "relation: public.march reads campaigns_contact: a table of the application",
        ),
        (
            "CREATE TABLE data.ds_x (id int)",
            "data.ds_x",
            "id",
            'relation: PostgreSQL schema "data" is not open to kaireon;'
            " KAIREON_SOURCE_SCHEMAS allows public",
        ),
        (
            "",
            "pg_catalog.pg_class",
            "oid",
            'relation: PostgreSQL schema "pg_catalog" is not open to kaireon;'
            " KAIREON_SOURCE_SCHEMAS allows public",
        ),
        (
            "INSERT INTO customers VALUES (2, 'Cat')",
            "public.customers",
            "id",
            'key: "id" is not unique: "2" occurs 2 times',
        ),
        (
            "INSERT INTO customers VALUES (3, NULL), (4, NULL)",
            "public.customers",
            "name",
            'key: "name" is NULL in 2 rows',
        ),
        (
            "ALTER TABLE customers ALTER id TYPE float8",
            "public.customers",
            "id",
            'key: "id" is double precision; a key is text, uuid or a whole number:'
            " register a view that casts it",
        ),
    ],
)
def test_refuses(tenant: Tenant, statement: str, relation: str, key: str, error: str) -> None:
    if statement:
        execute(statement)
    with pytest.raises(Rejected) as refused:
        register(tenant, relation, key)
    assert str(refused.value) == error
    assert not Schema.unscoped.exists()


def test_our_own_schemas_stay_closed_whatever_the_settings(
    tenant: Tenant, settings: LazySettings
) -> None:
    settings.KAIREON_SOURCE_SCHEMAS = ["data", "segments", "pg_catalog", "information_schema"]
    with pytest.raises(Rejected, match="KAIREON_SOURCE_SCHEMAS allows none"):
        register(tenant, "information_schema.tables", "table_name")


def test_a_relation_belongs_to_one_tenant(tenant: Tenant) -> None:
    register(TenantFactory())
    execute("CREATE VIEW copy AS SELECT * FROM customers")
    for relation, verb in (("customers", "is"), ("copy", "reads customers:")):
        with pytest.raises(Rejected) as refused:
            register(tenant, f"public.{relation}")
        assert str(refused.value) == (
            f"relation: public.{relation} {verb} a table of another tenant"
        )
    assert Schema.unscoped.count() == 1


def test_a_relation_is_registered_once(tenant: Tenant) -> None:
    register(tenant)
    with pytest.raises(Conflict) as refused:
        register_table(tenant, "public.customers", name="D", key="id")
    assert str(refused.value) == '"D" or public.customers is registered already'


def test_trusts_a_unique_index_of_a_key_that_is_never_null(tenant: Tenant) -> None:
    execute("ALTER TABLE customers ADD PRIMARY KEY (id)")
    with connection.execute_wrapper(refuse_grouping):
        assert register(tenant).key_column == "id"


def refuse_grouping(execute: Any, sql: Any, *rest: Any) -> Any:
    assert "GROUP BY" not in str(sql)
    return execute(sql, *rest)


def test_refresh_reads_the_catalog_again(tenant: Tenant) -> None:
    schema = register(tenant)
    execute("ALTER TABLE customers DROP spot; ALTER TABLE customers ADD age smallint")
    execute("DELETE FROM customers WHERE id = 1")
    assert refresh_catalog(schema) == ()
    stored = Schema.unscoped.get()
    assert [column["name"] for column in stored.columns] == ["id", "name", "age"]
    assert stored.row_count == 1


def test_refresh_misses_the_key(tenant: Tenant) -> None:
    schema = register(tenant)
    execute("ALTER TABLE customers RENAME id TO number")
    with pytest.raises(Rejected) as refused:
        refresh_catalog(schema)
    assert str(refused.value) == 'key: public.customers has lost its key column "id"'
    assert "id" in [column["name"] for column in Schema.unscoped.get().columns]


def test_drop_forgets_a_registered_table(tenant: Tenant) -> None:
    drop_schema(register(tenant))
    assert not Schema.unscoped.exists()
    assert execute("SELECT count(*) FROM customers") == [(2,)]


def test_drop_drops_an_imported_table(tenant: Tenant) -> None:
    execute("CREATE TABLE data.ds_x (id int)")
    drop_schema(SchemaFactory(tenant=tenant, relation_name="ds_x"))
    assert execute("SELECT to_regclass('data.ds_x')") == [(None,)]


def test_drop_refuses_while_segments_need_it(tenant: Tenant) -> None:
    schema = register(tenant)
    create_segment(tenant, name="All", base_schema=schema, filters=[])
    with pytest.raises(Conflict) as refused:
        drop_schema(schema)
    assert str(refused.value) == 'The schema is used by segment "All".'
    assert Schema.unscoped.exists()


def test_drop_refuses_while_a_view_reads_the_table(tenant: Tenant) -> None:
    execute("CREATE TABLE data.ds_x (id int); CREATE VIEW report AS SELECT * FROM data.ds_x")
    with pytest.raises(Conflict) as refused:
        drop_schema(SchemaFactory(tenant=tenant, name="X", relation_name="ds_x"))
    assert str(refused.value) == ("It is in use: view report depends on table data.ds_x")
    assert Schema.unscoped.exists()


def test_command_reports_and_warns(tenant: Tenant) -> None:
    out, err = StringIO(), StringIO()
    arguments = ("public.customers", "--schema=C", "--key=id", f"--tenant={tenant.slug}")
    call_command("register_table", *arguments, stdout=out, stderr=err)
    schema = Schema.unscoped.get()
    assert out.getvalue() == (
        f'Registered public.customers as "C" ({schema.public_id}): 2 rows, 3 columns, key id.\n'
    )
    assert err.getvalue() == (
        'Warning: column "spot" cannot be used: type point is not supported\n'
    )


def test_command_fails_saying_why(tenant: Tenant) -> None:
    with pytest.raises(CommandError) as failed:
        call_command("register_table", "customers", "--schema=C", "--key=id")
    assert str(failed.value) == (
        'Nothing was registered. relation: "customers" is not written as schema.table'
    )
