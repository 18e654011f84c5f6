from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from campaigns.models import Schema, Segment
from campaigns.services import transactions
from campaigns.services.errors import Conflict
from campaigns.services.segment_views import drop_views, rebuild_views
from campaigns.services.segments import (
    create_segment,
    drop_segment,
    refresh_segment,
    update_segment,
)
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


@pytest.fixture
def customers(tenant: Tenant) -> Schema:
    return make_schema(
        tenant,
        "people",
        "id bigint PRIMARY KEY, balance float8",
        *[(1, 500), (2, 1500), (3, 2500), (4, None), (5, 3500)],
    )


def make(customers: Schema, *filters: Any, name: str = "some") -> Segment:
    return create_segment(customers.tenant, base_schema=customers, name=name, filters=list(filters))


def test_update_rebuilds_the_view_and_counts(customers: Schema) -> None:
    segment = make(customers, RICH)
    changed = update_segment(
        segment, name="poor", description="d", filters=[{**RICH, "operator": "lte"}]
    )
    assert (changed.name, changed.description, changed.customer_count) == ("poor", "d", 1)
    assert changed.view_name == segment.view_name
    assert view_keys(segment) == [1]
    assert changed.last_refreshed_at > segment.last_refreshed_at
    stored = Segment.unscoped.get()
    assert stored.filters == [{**RICH, "operator": "lte"}]
    assert (stored.name, stored.customer_count) == ("poor", 1)
    assert stored.updated_at > segment.updated_at


def test_update_of_a_name_leaves_the_view_alone(customers: Schema) -> None:
    segment = make(customers, RICH)
    before = execute("SELECT %s::regclass::oid", f"segments.{segment.view_name}")
    execute("INSERT INTO data.people VALUES (6, 9000)")
    changed = update_segment(segment, name="renamed")
    assert (changed.name, changed.customer_count) == ("renamed", 3)
    assert execute("SELECT %s::regclass::oid", f"segments.{segment.view_name}") == before
    with pytest.raises(Rejected, match=r"^name: May not be blank\.$"):
        update_segment(segment, name="")


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{**RICH, "value": "x"}]},
        {"filters": [], "name": ""},
        {"joins": [{}]},
        {"filters": [{"field": "bad", "operator": "eq", "value": 1}]},
    ],
)
def test_an_update_with_a_fault_changes_nothing(customers: Schema, changes: dict[str, Any]) -> None:
    segment = make(customers, RICH)
    before = Segment.unscoped.values().get()
    with pytest.raises(Rejected):
        update_segment(segment, **{"description": "new", **changes})
    assert Segment.unscoped.values().get() == before
    assert view_keys(segment) == [2, 3, 5]


def test_an_update_that_fails_when_read_changes_nothing(customers: Schema) -> None:
    execute("CREATE VIEW data.half AS SELECT id, 1 / (id - 1) AS x FROM data.people")
    schema = factories.SchemaFactory(tenant=customers.tenant, relation_name="half")
    segment = make(schema)
    before = Segment.unscoped.values().get()
    with pytest.raises(Rejected, match="division by zero"):
        update_segment(segment, filters=[{"field": "x", "operator": "gt", "value": 0}])
    assert Segment.unscoped.values().get() == before
    assert execute(f"SELECT count(id) FROM segments.{segment.view_name}") == [(5,)]


def test_refresh_counts_anew(customers: Schema) -> None:
    segment = make(customers, RICH)
    stamp = segment.last_refreshed_at
    execute("INSERT INTO data.people VALUES (6, 9000)")
    assert refresh_segment(segment) == segment.customer_count == 4
    stored = Segment.unscoped.get()
    assert stored.customer_count == 4
    assert stored.last_refreshed_at == segment.last_refreshed_at > stamp
    assert stored.updated_at == segment.updated_at


def test_refresh_restores_a_view_that_is_gone(customers: Schema) -> None:
    segment = make(customers, RICH)
    execute(f"DROP VIEW segments.{segment.view_name}")
    assert refresh_segment(segment) == 3
    assert view_keys(segment) == [2, 3, 5]


def test_refresh_takes_up_new_columns(customers: Schema) -> None:
    segment = make(customers)
    execute("ALTER TABLE data.people ADD COLUMN age int DEFAULT 40")
    assert view_columns(segment) == ["id", "balance"]
    refresh_segment(segment)
    assert view_columns(segment) == ["id", "balance", "age"]


def test_refresh_says_what_is_gone(customers: Schema) -> None:
    segment = make(customers, RICH)
    execute("ALTER TABLE data.people RENAME balance TO money")
    with pytest.raises(Rejected, match=r'^filters\[0\].field: unknown field "balance"'):
        refresh_segment(segment)
    assert view_keys(segment) == [2, 3, 5]
    execute("DROP TABLE data.people CASCADE")
    with pytest.raises(Rejected) as caught:
        refresh_segment(segment)
    assert caught.value.errors == [
        ("baseSchemaId", 'the table data.people of the schema "people" is gone')
    ]


def test_drop_removes_view_and_row(customers: Schema) -> None:
    drop_segment(make(customers))
    assert views() == []
    assert not Segment.unscoped.exists()


def test_drop_is_refused_while_something_uses_the_segment(customers: Schema) -> None:
    segment, tenant = make(customers), customers.tenant
    for name in ("Autumn", "Winter"):
        factories.CampaignFactory(tenant=tenant, segment=segment, name=name)
    for name in ("A", "B"):
        factories.RuleFactory(tenant=tenant, scope="segment", scope_key=segment.pk, name=name)
    factories.RuleFactory(tenant=tenant, scope="offer", scope_key=segment.pk, name="0")
    with pytest.raises(Conflict) as caught:
        drop_segment(segment)
    assert str(caught.value) == (
        '"some" is used by the campaign "Autumn", the campaign "Winter", the rule "A" and 1 more'
    )
    assert views() == [segment.view_name]


def test_says_that_another_view_depends_on_it(customers: Schema) -> None:
    segment = make(customers)
    execute(f"CREATE VIEW data.report AS SELECT * FROM segments.{segment.view_name}")
    for change in (lambda: update_segment(segment, filters=[RICH]), lambda: drop_segment(segment)):
        with pytest.raises(Conflict, match=r"^It is in use: view data\.report depends on"):
            change()
    assert view_keys(segment) == [1, 2, 3, 4, 5]
    assert Segment.unscoped.get().filters == []


@pytest.mark.usefixtures("clean_relations")
def test_does_not_wait_long_for_a_reader(
    customers: Schema, pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "LOCK_TIMEOUT", "50ms")
    segment = make(customers)
    with psycopg.connect(pg_dsn) as reader:
        reader.execute(f"SELECT FROM segments.{segment.view_name}")
        with pytest.raises(Conflict, match="being read or changed; try again"):
            update_segment(segment, filters=[RICH])
        assert refresh_segment(segment) == 5
    assert update_segment(segment, filters=[RICH]).customer_count == 3


def replace_people(schema: Schema, columns: str) -> list[Segment]:
    with transaction.atomic(), connection.cursor() as cursor:
        dropped = drop_views(schema, cursor)
        cursor.execute(f"DROP TABLE data.people; CREATE TABLE data.people ({columns})")
        cursor.execute("INSERT INTO data.people VALUES (7, 7000)")
        assert rebuild_views(schema, cursor) == dropped
    return dropped


def test_views_follow_a_table_that_is_replaced(customers: Schema) -> None:
    rich, everyone = make(customers, RICH), make(customers, name="all")
    other = make(make_schema(customers.tenant, "others", "id int", (1,)), name="other")
    assert replace_people(customers, "id bigint, balance float8") == [rich, everyone]
    assert view_rows(rich) == [(7, 7000.0)]
    assert view_keys(everyone) == [7]
    assert view_keys(other) == [1]
    assert refresh_segment(rich) == 1


def test_a_replacement_that_no_longer_fits_names_segment_and_column(customers: Schema) -> None:
    rich = make(customers, RICH)
    make(customers, name="all")
    with pytest.raises(Rejected) as caught:
        replace_people(customers, "id bigint, saldo float8")
    assert caught.value.errors == [
        ('segment "some"', 'filters[0].field: unknown field "balance"; available: id, saldo')
    ]
    assert view_keys(rich) == [2, 3, 5]


def test_command_refreshes_what_is_named_or_all(
    customers: Schema, capsys: pytest.CaptureFixture[str]
) -> None:
    segment, other = make(customers, RICH), make(customers, name="z")
    call_command("refresh_segment", segment.public_id)
    assert capsys.readouterr().out == f"{segment.public_id} some: 3 customers\n"
    execute("ALTER TABLE data.people RENAME balance TO money")
    with pytest.raises(CommandError, match=r"^1 segments could not be refreshed\.$"):
        call_command("refresh_segment")
    printed = capsys.readouterr()
    assert printed.out == f"{other.public_id} z: 5 customers\n"
    assert printed.err.startswith(f"{segment.public_id} some: filters[0].field: unknown field")


def test_command_knows_the_segments_of_one_tenant(customers: Schema) -> None:
    segment, other = make(customers), factories.TenantFactory()
    for public_id in (segment.public_id, "seg_nonsense"):
        with pytest.raises(CommandError, match=f"^There is no segment {public_id}\\.$"):
            call_command("refresh_segment", public_id, tenant=other.slug)
