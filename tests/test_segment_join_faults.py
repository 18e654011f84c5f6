from typing import Any

import pytest

from campaigns.models import Schema, Segment
from campaigns.services.segments import (
    create_segment,
    update_segment,
)
from executor.errors import Rejected
from kaireon.access.models import Tenant
from tests.customer_tables import execute, make_schema, view_columns, views
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    return make_schema(tenant, "people", "id bigint PRIMARY KEY, code text", (1, "a"), (2, "b"))


@pytest.fixture
def accounts(tenant: Tenant) -> Schema:
    columns = "code varchar(5) PRIMARY KEY, tier text, balance numeric(12,2)"
    return make_schema(tenant, "accounts", columns, ("a", "gold", 10))


def to_accounts(accounts: Schema, join_type: str = "left", **fields: Any) -> dict[str, Any]:
    keys = {"localKey": "code", "foreignKey": "code", "alias": "acct"}
    return {"schemaId": accounts.public_id, "type": join_type, **keys, **fields}


def make(customers: Schema, *joins: Any, filters: Any = ()) -> Segment:
    return create_segment(
        customers.tenant, base_schema=customers, name="some", filters=list(filters), joins=joins
    )


def refused(customers: Schema, *joins: Any, filters: Any = ()) -> list[tuple[str, str]]:
    """The faults, after making sure that nothing was changed."""
    with pytest.raises(Rejected) as caught:
        make(customers, *joins, filters=filters)
    assert views() == []
    assert not Segment.unscoped.exists()
    return caught.value.errors


def test_keys_of_different_kinds_are_refused(customers: Schema, accounts: Schema) -> None:
    execute("ALTER TABLE data.accounts ADD COLUMN at point")
    kinds = {**to_accounts(accounts, "exists"), "localKey": "id"}
    point = {**to_accounts(accounts, "exists"), "foreignKey": "at"}
    assert refused(customers, kinds, {**point, "alias": "b"}) == [
        (
            "joins[0].foreignKey",
            '"code" is of kind text and cannot be compared with "id" of kind integer',
        ),
        ("joins[1].foreignKey", '"at" cannot be used: type point is not supported'),
    ]


def test_only_schemas_of_the_tenant_exist(customers: Schema, accounts: Schema) -> None:
    Schema.unscoped.filter(pk=accounts.pk).update(tenant=TenantFactory())
    for public_id in (accounts.public_id, "sch_nonsense", customers.tenant.slug, None, 7):
        ((path, text),) = refused(customers, {**to_accounts(accounts), "schemaId": public_id})
        assert path == "joins[0].schemaId"
        assert text.startswith("there is no schema ")


ALIAS = "must be a lower-case letter and at most 30 more letters, digits or underscores; got "
KNOWN = "available: balance, code, tier"


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"type": "cross"}, "type", 'must be one of exists, not_exists, left, inner; got "cross"'),
        ({"type": None}, "type", "must be one of exists, not_exists, left, inner; got null"),
        ({"localKey": None}, "localKey", "must name a column, got null"),
        (
            {"localKey": "cod"},
            "localKey",
            'data.people has no column "cod"; did you mean "code"? available: code, id',
        ),
        (
            {"foreignKey": "x' OR 1"},
            "foreignKey",
            f'data.accounts has no column "x\' OR 1"; {KNOWN}',
        ),
        ({"alias": None}, "alias", f"{ALIAS}null"),
        ({"alias": ""}, "alias", f'{ALIAS}""'),
        ({"alias": 'a" FROM x; --'}, "alias", f'{ALIAS}"a\\" FROM x; --"'),
        ({"alias": "a" * 32}, "alias", f'{ALIAS}"{"a" * 32}"'),
        ({"columns": "tier"}, "columns", 'must be a list of column names, got "tier"'),
        ({"columns": ["tier", 7]}, "columns[1]", "must name a column, got 7"),
        ({"columns": ["nix"]}, "columns[0]", f'data.accounts has no column "nix"; {KNOWN}'),
        ({"columns": ["tier", "tier"]}, "columns[1]", '"tier" is there twice'),
        (
            {"type": "exists", "columns": ["tier"]},
            "columns",
            "a join of type exists adds no columns: remove them",
        ),
        (
            {"filters": [{"field": "id", "operator": "eq", "value": 1}]},
            "filters[0].field",
            f'unknown field "id"; {KNOWN}',
        ),
        ({"filters": 1}, "filters", "must be a condition, a group or a list, got 1"),
        (
            {"on": "1=1"},
            "",
            'unknown key "on"; allowed:'
            " schemaId, type, localKey, foreignKey, alias, columns, filters",
        ),
    ],
)
def test_a_malformed_join_is_refused(
    customers: Schema, accounts: Schema, change: dict[str, Any], path: str, text: str
) -> None:
    expected = f"joins[0].{path}".rstrip(".")
    assert refused(customers, {**to_accounts(accounts), **change}) == [(expected, text)]


def test_says_all_that_is_wrong_with_all_joins(customers: Schema, accounts: Schema) -> None:
    bad = {**to_accounts(accounts), "localKey": "x", "foreignKey": "y", "columns": ["z"]}
    field = {"field": "acct.tier", "operator": "eq", "value": "gold"}
    faults = refused(
        customers, bad, {**bad, "alias": "b", "type": 1}, filters=[field, {**field, "field": "c.d"}]
    )
    assert [path for path, _ in faults] == [
        "joins[0].localKey",
        "joins[0].foreignKey",
        "joins[0].columns[0]",
        "joins[1].type",
        "joins[1].localKey",
        "filters[1].field",
    ]


def test_an_alias_is_given_once(customers: Schema, accounts: Schema) -> None:
    twice = [to_accounts(accounts), to_accounts(accounts, "exists")]
    assert refused(customers, *twice) == [("joins[1].alias", '"acct" is the alias of another join')]
    execute('ALTER TABLE data.people ADD COLUMN "acct.tier" text')
    assert refused(customers, to_accounts(accounts)) == [
        (
            "joins[0].alias",
            'the customers have a column "acct.tier" already, choose another alias',
        )
    ]


def test_joined_names_fit_into_a_column_name(tenant: Tenant, customers: Schema) -> None:
    name = "ü" * 29 + "x"
    wide = make_schema(tenant, "wide", f"code text PRIMARY KEY, {name} int, {name}y int")
    assert refused(customers, to_accounts(wide, columns=[name, f"{name}y"])) == [
        ("joins[0].columns[0]", "with its alias it is longer than 63 bytes"),
        ("joins[0].columns[1]", "with its alias it is longer than 63 bytes"),
    ]
    short = {**to_accounts(wide, columns=[name]), "alias": "abc"}
    assert view_columns(make(customers, short)) == ["id", "code", f"abc.{name}"]


def test_joins_are_a_short_list(customers: Schema, accounts: Schema) -> None:
    exists = {**to_accounts(accounts, "exists"), "alias": ""}
    assert refused(customers, *[exists] * 6) == [("joins", "has 6 joins, at most 5 are allowed")]
    segment = make(customers, *[exists] * 5)
    assert segment.customer_count == 1
    with pytest.raises(Rejected, match=r'^joins: must be a list of joins, got "exists"$'):
        update_segment(segment, joins="exists")


def test_a_view_has_room_for_1600_columns(tenant: Tenant) -> None:
    names = [f"c{number}" for number in range(1000)]
    wide = make_schema(
        tenant, "wide", "id int PRIMARY KEY, " + ", ".join(f"{name} bool" for name in names)
    )
    keys = {"localKey": "id", "foreignKey": "id", "alias": "w", "columns": names}
    assert refused(wide, {"schemaId": wide.public_id, "type": "left", **keys}) == [
        ("joins", "make more than 1600 columns together")
    ]
