import re
from typing import Any

import pytest

from campaigns.models import Schema, Segment
from campaigns.services.errors import Conflict
from campaigns.services.previews import preview_count
from campaigns.services.segments import create_segment, update_segment
from executor.errors import Rejected
from kaireon.access.models import Tenant
from tests import factories
from tests.customer_tables import (
    execute,
    make_schema,
    view_columns,
    view_keys,
    view_rows,
    views,
)

pytestmark = pytest.mark.django_db

RICH = {"field": "balance", "operator": "gt", "value": 1000}
EVIL = "x'; DROP SCHEMA segments CASCADE; --"


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    return make_schema(
        tenant,
        "people",
        "id bigint PRIMARY KEY, balance float8, city text, loan boolean",
        (1, 500, "Bonn", False),
        (2, 1500, "Köln", False),
        (3, 2500, EVIL, True),
        (4, None, None, False),
        (5, 3500, '100%_\\"', False),
    )


def make(customers: Schema, *filters: Any, **fields: Any) -> Segment:
    fields = {"name": "some", "filters": list(filters), **fields}
    return create_segment(customers.tenant, base_schema=customers, **fields)


def refused(customers: Schema, *filters: Any, **fields: Any) -> list[tuple[str, str]]:
    """The faults, after making sure that nothing was changed."""
    with pytest.raises(Rejected) as caught:
        make(customers, *filters, **fields)
    assert views() == []
    assert not Segment.unscoped.exists()
    return caught.value.errors


def test_makes_a_counted_view_of_the_customers_that_pass(customers: Schema) -> None:
    segment = make(customers, RICH, {"field": "loan", "operator": "=", "value": False})
    assert view_rows(segment) == [(2, 1500.0, "Köln", False), (5, 3500.0, '100%_\\"', False)]
    assert view_columns(segment) == ["id", "balance", "city", "loan"]
    assert re.fullmatch("seg_[0-9a-f]{12}", segment.view_name)
    stored = Segment.objects.of(customers.tenant).get()
    assert stored.customer_count == segment.customer_count == 2
    assert stored.last_refreshed_at == segment.last_refreshed_at
    assert stored.created_at == segment.created_at
    assert (stored.name, stored.status, stored.joins) == ("some", "active", [])


def test_without_filters_it_is_everyone(customers: Schema) -> None:
    assert make(customers).customer_count == 5


def test_groups_nest(customers: Schema) -> None:
    group = {
        "combinator": "OR",
        "conditions": [
            {"field": "balance", "operator": "is_null"},
            {
                "combinator": "AND",
                "conditions": [RICH, {"field": "loan", "operator": "eq", "value": True}],
            },
        ],
    }
    assert view_keys(make(customers, group)) == [3, 4]


@pytest.mark.parametrize(
    ("operator", "value", "keys"),
    [
        ("eq", EVIL, [3]),
        ("in", [EVIL, "Bonn"], [1, 3]),
        ("neq", EVIL, [1, 2, 5]),
        ("contains", "'; DROP", [3]),
        ("contains", "%_\\", [5]),
        ("starts_with", "K", [2]),
        ("regex", "^[BK].+n$", [1, 2]),
        ("contains", "{}", []),
        ("contains", "%s", []),
    ],
)
def test_values_are_taken_literally(
    customers: Schema, operator: str, value: Any, keys: list[int]
) -> None:
    leaf = {"field": "city", "operator": operator, "value": value}
    assert view_keys(make(customers, leaf)) == keys


def test_names_are_taken_literally(customers: Schema) -> None:
    segment = make(customers, name=EVIL, description=EVIL)
    stored = Segment.unscoped.get()
    assert (stored.name, stored.description) == (EVIL, EVIL)
    assert views() == [segment.view_name]


def test_columns_of_any_name_work(tenant: Tenant) -> None:
    odd = ['weird ""name', "Ünïcode", "select", "100%s", "{}", "base", "a.b"]
    columns = ", ".join(f'"{name}" text' for name in odd)
    row = ("1", "2", "3", "4", "5", "6", "7")
    schema = make_schema(tenant, "odd", f"id int, {columns}", (1, *row), (2, *row[::-1]))
    names = [name.replace('""', '"') for name in odd]
    filters = [
        {"field": name, "operator": "eq", "value": value}
        for name, value in zip(names, row, strict=True)
    ]
    segment = make(schema, *filters)
    assert view_columns(segment) == ["id", *names]
    assert view_keys(segment) == [1]


def test_a_table_of_any_name_works(tenant: Tenant) -> None:
    schema = make_schema(tenant, "Ünï; SELECT", "id int", (1,))
    schema_2 = factories.SchemaFactory(tenant=tenant, relation_schema="public", relation_name="x y")
    execute('CREATE VIEW public."x y" AS SELECT 7 AS id')
    assert view_keys(make(schema)) == [1]
    assert view_keys(make(schema_2, name="other")) == [7]


def test_says_everything_that_is_wrong_and_changes_nothing(customers: Schema) -> None:
    faults = refused(
        customers,
        {"field": "balanse", "operator": "gt", "value": 1},
        {"field": "loan", "operator": "gt", "value": True},
        {"combinator": "AND", "conditions": [{**RICH, "value": "much"}]},
        {"field": EVIL, "operator": "eq", "value": 1},
        {"field": "id", "operator": f"= {EVIL}", "value": 1},
        name=" ",
        joins=[7],
    )
    assert [path for path, _ in faults] == [
        "name",
        "joins[0]",
        "filters[0].field",
        "filters[1].operator",
        "filters[2].conditions[0].value",
        "filters[3].field",
        "filters[4].operator",
    ]
    known = "available: balance, city, id, loan"
    assert faults[2][1] == f'unknown field "balanse"; did you mean "balance"? {known}'
    assert faults[5][1] == f'unknown field "{EVIL}"; {known}'


def test_names_have_bounds(customers: Schema) -> None:
    assert refused(customers, name="x" * 256) == [("name", "May have at most 255 characters.")]
    nul = "May not contain the character NUL."
    faults = refused(customers, name="a\0", description="\0")
    assert faults == [("name", nul), ("description", nul)]


def test_a_column_that_cannot_be_used_is_named_with_its_type(tenant: Tenant) -> None:
    schema = make_schema(tenant, "places", "id int, at point", (1, "(1,2)"))
    at = {"field": "at", "operator": "is_null"}
    assert refused(schema, at) == [
        ("filters[0].field", '"at" cannot be used: type point is not supported')
    ]
    assert view_columns(make(schema)) == ["id", "at"]


def test_a_name_is_given_once(customers: Schema) -> None:
    segment = make(customers)
    with pytest.raises(Conflict, match=r"^There is a segment with this name already\.$"):
        make(customers, RICH)
    assert views() == [segment.view_name]
    other = make(customers, RICH, name="other")
    with pytest.raises(Conflict, match="with this name already"):
        update_segment(other, name="some", filters=[])
    assert view_keys(other) == [2, 3, 5]
    assert Segment.unscoped.get(pk=other.pk).name == "other"


def test_the_base_is_a_schema_of_the_same_tenant(customers: Schema) -> None:
    with pytest.raises(Rejected) as caught:
        create_segment(factories.TenantFactory(), name="x", base_schema=customers, filters=[])
    assert caught.value.errors == [("baseSchemaId", "Is a schema of another tenant.")]
    assert views() == []


def test_a_base_that_fails_when_read_is_refused(customers: Schema) -> None:
    execute("CREATE VIEW data.broken AS SELECT 1 / (id - 1) AS id FROM data.people")
    schema = factories.SchemaFactory(tenant=customers.tenant, relation_name="broken")
    positive = {"field": "id", "operator": "gt", "value": 0}
    assert refused(schema, positive) == [("", "reading the customers fails: division by zero")]


def test_preview_counts_and_makes_nothing(customers: Schema) -> None:
    assert preview_count(customers.tenant, customers, [RICH]) == 3
    with pytest.raises(Rejected):
        preview_count(factories.TenantFactory(), customers, [RICH])
    assert views() == []
    assert not Segment.unscoped.exists()
