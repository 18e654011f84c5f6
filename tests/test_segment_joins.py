from typing import Any

import pytest
from django.db import connection, transaction
from psycopg import sql

from campaigns.models import Schema, Segment
from campaigns.services.segment_views import drop_views, rebuild_views
from campaigns.services.segments import create_segment, refresh_segment, update_segment
from executor.errors import Rejected
from kaireon.access.models import Tenant
from tests.customer_tables import execute, make_schema, view_columns, view_keys, view_rows, views
from tests.factories import SchemaFactory

pytestmark = pytest.mark.django_db

BIG = {"field": "amount", "operator": "gte", "value": 100}


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    rows = [(1, "a"), (2, "b"), (3, "c"), (4, None)]
    return make_schema(tenant, "people", "id bigint PRIMARY KEY, code text", *rows)


@pytest.fixture
def orders(tenant: Tenant) -> Schema:
    rows = [(10, 1, 50), (11, 1, 150), (12, 1, 200), (13, 2, 20), (14, None, 999), (15, 9, 999)]
    return make_schema(tenant, "orders", "id bigint PRIMARY KEY, person int, amount int", *rows)


@pytest.fixture
def accounts(tenant: Tenant) -> Schema:
    columns = "code varchar(5) PRIMARY KEY, tier text, balance numeric(12,2)"
    return make_schema(tenant, "accounts", columns, ("a", "gold", 10), ("b", "silver", 2000))


def to_orders(orders: Schema, join_type: str = "exists", **fields: Any) -> dict[str, Any]:
    keys = {"localKey": "id", "foreignKey": "person"}
    return {"schemaId": orders.public_id, "type": join_type, **keys, **fields}


def to_accounts(accounts: Schema, join_type: str = "left", **fields: Any) -> dict[str, Any]:
    keys = {"localKey": "code", "foreignKey": "code", "alias": "acct"}
    return {"schemaId": accounts.public_id, "type": join_type, **keys, **fields}


def make(customers: Schema, *joins: Any, filters: Any = (), name: str = "some") -> Segment:
    return create_segment(
        customers.tenant, base_schema=customers, name=name, filters=list(filters), joins=joins
    )


def refused(customers: Schema, *joins: Any, filters: Any = ()) -> list[tuple[str, str]]:
    """The faults, after making sure that nothing was changed."""
    with pytest.raises(Rejected) as caught:
        make(customers, *joins, filters=filters)
    assert views() == []
    assert not Segment.unscoped.exists()
    return caught.value.errors


def test_exists_keeps_each_customer_with_a_row_once(customers: Schema, orders: Schema) -> None:
    segment = make(customers, to_orders(orders))
    assert view_rows(segment) == [(1, "a"), (2, "b")]
    assert segment.customer_count == 2
    assert segment.joins == [to_orders(orders)]


def test_exists_can_ask_for_rows_that_pass_filters(customers: Schema, orders: Schema) -> None:
    assert view_keys(make(customers, to_orders(orders, filters=[BIG]))) == [1]


def test_not_exists_keeps_the_others(customers: Schema, orders: Schema, accounts: Schema) -> None:
    segment = make(customers, to_orders(orders, "not_exists", filters=[BIG]))
    assert view_keys(segment) == [2, 3, 4]
    no_code = make(customers, to_accounts(accounts, "not_exists"), name="no account")
    assert view_keys(no_code) == [3, 4]


def test_joins_and_filters_must_all_hold(customers: Schema, orders: Schema) -> None:
    has, big = to_orders(orders), to_orders(orders, "not_exists", filters=[BIG])
    assert view_keys(make(customers, has, big)) == [2]
    first = {"field": "id", "operator": "eq", "value": 1}
    either = {"combinator": "OR", "conditions": [first, {**first, "value": 3}]}
    assert view_keys(make(customers, has, name="x", filters=[either])) == [1]


def test_left_adds_columns_and_keeps_everyone(customers: Schema, accounts: Schema) -> None:
    segment = make(customers, to_accounts(accounts, columns=["balance", "tier"]))
    assert view_columns(segment) == ["id", "code", "acct.balance", "acct.tier"]
    assert view_rows(segment) == [
        (1, "a", 10, "gold"),
        (2, "b", 2000, "silver"),
        (3, "c", None, None),
        (4, None, None, None),
    ]


def test_filters_of_a_left_join_say_which_rows_it_finds(
    customers: Schema, accounts: Schema
) -> None:
    gold = {"field": "tier", "operator": "eq", "value": "gold"}
    segment = make(customers, to_accounts(accounts, columns=["tier"], filters=[gold]))
    assert [row[2] for row in view_rows(segment)] == ["gold", None, None, None]


def test_inner_adds_columns_and_keeps_who_has_a_row(customers: Schema, accounts: Schema) -> None:
    segment = make(customers, to_accounts(accounts, "inner", columns=["tier"]))
    assert view_rows(segment) == [(1, "a", "gold"), (2, "b", "silver")]


@pytest.mark.parametrize(
    ("join_type", "field", "keys"),
    [
        ("left", {"field": "acct.balance", "operator": "gt", "value": 1000}, [2]),
        ("left", {"field": "acct.code", "operator": "is_null"}, [3, 4]),
        ("inner", {"field": "acct.tier", "operator": "in", "value": ["gold", "none"]}, [1]),
    ],
)
def test_filters_may_use_joined_columns(
    customers: Schema, accounts: Schema, join_type: str, field: dict[str, Any], keys: list[int]
) -> None:
    assert view_keys(make(customers, to_accounts(accounts, join_type), filters=[field])) == keys


def test_a_schema_may_be_joined_with_itself(customers: Schema) -> None:
    keys = {"localKey": "id", "foreignKey": "id", "alias": "self", "columns": ["code"]}
    segment = make(customers, {"schemaId": customers.public_id, "type": "left", **keys})
    assert view_rows(segment)[0] == (1, "a", "a")


def test_names_and_values_are_taken_literally(tenant: Tenant, customers: Schema) -> None:
    evil = 'x"; DROP TABLE data.people; --'
    quoted = sql.Identifier(evil).as_string()
    odd = make_schema(tenant, "o dd", f'"select" int UNIQUE, {quoted} text', (1, "'); --"), (2, ""))
    join = {
        "schemaId": odd.public_id,
        "type": "inner",
        "localKey": "id",
        "foreignKey": "select",
        "alias": "j",
        "columns": [evil, "select"],
        "filters": [{"field": evil, "operator": "eq", "value": "'); --"}],
    }
    ends = {"field": f"j.{evil}", "operator": "contains", "value": "; --"}
    segment = make(customers, join, filters=[ends])
    assert view_columns(segment) == ["id", "code", f"j.{evil}", "j.select"]
    assert view_rows(segment) == [(1, "a", "'); --", 1)]


@pytest.mark.parametrize("join_type", ["left", "inner"])
@pytest.mark.parametrize(
    "index",
    [
        "",
        "CREATE INDEX ON data.orders (person)",
        "CREATE UNIQUE INDEX ON data.orders (person, amount)",
        "CREATE UNIQUE INDEX ON data.orders (person) WHERE amount > 100000",
        "CREATE UNIQUE INDEX ON data.orders ((-id))",
    ],
)
def test_columns_of_a_key_that_repeats_are_refused(
    customers: Schema, orders: Schema, index: str, join_type: str
) -> None:
    if index:
        execute(index)
    assert refused(customers, to_orders(orders, join_type, alias="o")) == [
        (
            "joins[0].foreignKey",
            'could multiply customers: no unique index makes "person" unique on its own; add one,'
            " or join by exists",
        )
    ]


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("CREATE VIEW data.seen AS SELECT * FROM data.accounts", "seen"),
        ("CREATE TABLE data.child (PRIMARY KEY (code)) INHERITS (data.accounts)", "accounts"),
    ],
)
def test_columns_of_what_no_index_makes_unique_are_refused(
    customers: Schema, accounts: Schema, statement: str, table: str
) -> None:
    execute(statement)
    Schema.unscoped.filter(pk=accounts.pk).update(relation_name=table)
    ((path, text),) = refused(customers, to_accounts(accounts))
    assert path == "joins[0].foreignKey"
    assert text.startswith('could multiply customers: no unique index makes "code" unique')


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE data.t (k text, v int); CREATE UNIQUE INDEX ON data.t (k) INCLUDE (v)",
        "CREATE TABLE data.t (k text PRIMARY KEY, v int) PARTITION BY HASH (k);"
        "CREATE TABLE data.t1 PARTITION OF data.t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "CREATE TABLE data.plain (k text, v int);"
        "CREATE MATERIALIZED VIEW data.t AS TABLE data.plain; CREATE UNIQUE INDEX ON data.t (k)",
        "CREATE TYPE data.letter AS ENUM ('a'); CREATE TABLE data.t (k data.letter UNIQUE, v int)",
    ],
)
def test_any_unique_index_on_the_key_alone_will_do(customers: Schema, statement: str) -> None:
    execute(statement)
    schema = SchemaFactory(tenant=customers.tenant, relation_name="t")
    join = {**to_accounts(schema), "foreignKey": "k", "columns": ["v"]}
    assert make(customers, join).customer_count == 4


KEY_TYPES = ["numeric", "float8", "numeric(10,2)", "interval", "timestamp", "timestamptz", "money"]


@pytest.mark.parametrize(
    ("local", "foreign", "fine"),
    [
        *((pg_type, pg_type, True) for pg_type in [*KEY_TYPES, "uuid", "date", "bool", "char(4)"]),
        ("smallint", "bigint", True),
        ("bigint", "smallint", True),
        ("numeric", "float8", True),
        ("float8", "numeric(15,3)", True),
        ("text", "uuid", True),
        ("text", "bytea", True),
        ("float8", "numeric", False),
        ("float8", "numeric(16,0)", False),
        ("numeric", "interval", False),
        ("numeric", "money", False),
        ("timestamp", "timestamptz", False),
        ("text", "int[]", False),
        ("text", "time", False),
    ],
)
def test_keys_that_become_equal_in_comparison_are_refused(
    tenant: Tenant, local: str, foreign: str, fine: bool
) -> None:
    people = make_schema(tenant, "p", f"id int, k {local}", (1, None))
    other = make_schema(tenant, "f", f"k {foreign} UNIQUE")
    join = {**to_accounts(other), "localKey": "k", "foreignKey": "k"}
    if fine:
        assert view_keys(make(people, join)) == [1]
        return
    ((path, text),) = refused(people, join)
    assert path == "joins[0].foreignKey"
    assert text.startswith("could multiply customers: ")
    assert text.endswith("only approximately; give both the same type")
    assert view_keys(make(people, {**join, "type": "not_exists"})) == [1]


def test_different_values_never_meet_in_one_customer(tenant: Tenant) -> None:
    people = make_schema(tenant, "p", "id int, k numeric", (1, "0.1"))
    close = [("0.1",), ("0.1000000000000000055",)]
    other = make_schema(tenant, "f", "k numeric UNIQUE", *close)
    join = {**to_accounts(other, columns=["k"]), "localKey": "k", "foreignKey": "k"}
    assert [str(value) for _, _, value in view_rows(make(people, join))] == ["0.1"]


@pytest.mark.parametrize("pg_type", ["text", "varchar(3)", "char(3)", "data.shouting"])
def test_text_keys_are_compared_byte_by_byte(tenant: Tenant, pg_type: str) -> None:
    if not execute("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'"):
        pytest.skip("this PostgreSQL has no ICU collations")
    execute(
        "CREATE COLLATION data.loose"
        " (provider = icu, locale = 'und-u-ks-level1', deterministic = false);"
        "CREATE DOMAIN data.shouting AS text COLLATE data.loose"
    )
    people = make_schema(tenant, "p", "id int, k text COLLATE data.loose", (1, "É"), (2, "e"))
    other = make_schema(tenant, "f", f"k {pg_type} UNIQUE", ("e",))
    join = {**to_accounts(other), "localKey": "k", "foreignKey": "k"}
    assert view_keys(make(people, {**join, "type": "exists"})) == [2]
    assert view_keys(make(people, {**join, "type": "inner"}, name="inner")) == [2]


def test_update_may_take_joins_away(customers: Schema, accounts: Schema) -> None:
    segment = make(customers, to_accounts(accounts, "inner", columns=["tier"]))
    changed = update_segment(segment, joins=[])
    assert (changed.joins, changed.customer_count) == ([], 4)
    assert view_columns(segment) == ["id", "code"]


def test_refresh_notices_that_a_key_is_no_longer_unique(
    customers: Schema, accounts: Schema
) -> None:
    segment = make(customers, to_accounts(accounts, columns=["tier"]))
    execute("ALTER TABLE data.accounts DROP CONSTRAINT accounts_pkey")
    with pytest.raises(Rejected, match=r"^joins\[0\].foreignKey: could multiply customers"):
        refresh_segment(segment)
    execute("DROP TABLE data.accounts CASCADE")
    with pytest.raises(Rejected, match=r"^joins\[0\].schemaId: the table data.accounts of the"):
        refresh_segment(segment)


def test_views_follow_a_joined_table_that_is_replaced(customers: Schema, accounts: Schema) -> None:
    segment = make(customers, to_accounts(accounts, columns=["tier"]))

    def replace(key: str) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            assert drop_views(accounts, cursor) == [segment]
            cursor.execute(
                "DROP TABLE data.accounts;"
                f"CREATE TABLE data.accounts (code text {key}, tier text, balance int)"
            )
            rebuild_views(accounts, cursor)

    with pytest.raises(Rejected, match=r'^segment "some": joins\[0\].foreignKey: could multiply'):
        replace("")
    assert view_rows(segment)[0] == (1, "a", "gold")
    replace("PRIMARY KEY")
    assert view_rows(segment)[0] == (1, "a", None)
