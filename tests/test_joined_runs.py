"""Runs over customers with columns of other tables: automatic joins, then enrich nodes."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from campaigns.models import CampaignRun, FlowVersion, Recommendation, Schema, SchemaJoin
from campaigns.services.flow_checks import check_draft
from executor import runner
from executor.flow.catalog import Catalog
from executor.freeze import HASH, KEY, read_chunk
from executor.referred import with_referred
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.customer_tables import execute, make_schema
from tests.world import World

NOW = datetime(2026, 3, 9, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("clean_relations")
ACCOUNTS = (
    (1, "C0000001", "gold", "north", 0.9),
    (2, "C0000002", "gold", "south", 0.8),
    (3, "C0000003", "none", "north", 0.7),
    (4, "C0000004", "gold", "nowhere", 0.6),
    (5, None, "gold", "north", 0.5),
)
BRANCHES = (("north", 0.5, True), ("south", 0.25, False))


@pytest.fixture
def world() -> World:
    """Eight customers who may have the silver card by e-mail: four of them with an account."""
    made = worlds.build(8)
    for offer in made.offers[:2]:
        offer.status = "paused"
        offer.save()
    made.channels[1].status = "paused"
    made.channels[1].save()
    execute(f"UPDATE {made.table} SET email_ok = true")
    return made


@pytest.fixture
def accounts(world: World) -> Schema:
    columns = "number int PRIMARY KEY, owner text UNIQUE, tier text, branch text, trust float8"
    return make_schema(world.tenant, "accounts", columns, *ACCOUNTS)


@pytest.fixture
def branches(world: World) -> Schema:
    columns = "code text PRIMARY KEY, share float8, is_open boolean"
    return make_schema(world.tenant, "branches", columns, *BRANCHES)


def base_of(world: World) -> Schema:
    return world.campaign.segment.base_schema


def joined(world: World, accounts: Schema, **fields: Any) -> SchemaJoin:
    sides = {"primary_schema": base_of(world), "foreign_schema": accounts, "foreign_key": "owner"}
    values = {"tenant": world.tenant, "name": "acct", **sides, **fields}
    made: SchemaJoin = factories.SchemaJoinFactory(**values)
    return made


def rule(world: World, field: str, operator: str, value: Any) -> None:
    config = {"field": field, "operator": operator, "value": value}
    factories.RuleFactory(tenant=world.tenant, scope="global", config=config)


def publish(world: World, propensity: str, *middle: dict[str, Any]) -> dict[str, Any]:
    """A version whose score is the column, with these nodes after the inventory."""
    config: Any = worlds.flow_config(1)
    nodes = config["nodes"]
    score = {
        "method": "formula",
        "propensity": {"field": propensity, "default": 0.125},
        "formula": {
            "propensityWeight": 1,
            "relevanceWeight": 0,
            "impactWeight": 0,
            "emphasisWeight": 0,
        },
    }
    nodes[3]["config"] = score
    config["nodes"] = [nodes[0], *middle, *nodes[1:]]
    version = world.campaign.flow.versions.get()
    FlowVersion.objects.filter(pk=version.pk).update(config=config)
    return config


def enrich(schema: Schema, lookup: str, prefix: str) -> dict[str, Any]:
    config = {"schemaId": schema.public_id, "lookupKey": lookup, "prefix": prefix}
    return {"id": f"enrich-{prefix}", "type": "enrich", "config": config}


def ended(world: World) -> CampaignRun:
    run = world.run()
    assert runner.execute(run.pk)
    run.refresh_from_db()
    return run


def scores(run: CampaignRun) -> dict[str, float]:
    assert (run.status, run.error) == ("completed", "")
    rows = Recommendation.objects.filter(run_id=run.pk)
    return {row.customer_key: row.score for row in rows}


def frozen(run: CampaignRun) -> pl.DataFrame:
    return read_chunk(open_storage(), run.chunks.get().input_key)


def test_rule_and_score_read_an_automatic_join(world: World, accounts: Schema) -> None:
    joined(world, accounts)
    rule(world, "customer.acct.tier", "eq", "gold")
    publish(world, "customer.acct.trust")
    run = ended(world)
    assert scores(run) == {"C0000001": 0.9, "C0000002": 0.8, "C0000004": 0.6}
    assert sorted(frozen(run).drop(KEY, HASH, strict=False).columns) == [
        "acct.tier",
        "acct.trust",
        "email_ok",
    ]
    assert frozen(run).height == 8


def test_customers_without_a_row_have_nulls(world: World, accounts: Schema) -> None:
    joined(world, accounts)
    publish(world, "customer.acct.trust")
    found = scores(ended(world))
    assert found["C0000003"] == 0.7
    assert {key for key, score in found.items() if score == 0.125} == {
        f"C000000{number}" for number in range(5, 9)
    }


def test_enrich_node_looks_up_by_a_column_of_a_join(
    world: World, accounts: Schema, branches: Schema
) -> None:
    joined(world, accounts)
    rule(world, "branch.is_open", "neq", False)
    config = publish(
        world, "customer.branch.share", enrich(branches, "customer.acct.branch", "branch")
    )
    run = ended(world)
    found = scores(run)
    assert (found["C0000001"], found["C0000003"]) == (0.5, 0.5)
    assert "C0000002" not in found
    # The column it is looked up by is joined, and read by nobody.
    assert sorted(frozen(run).drop(KEY, HASH, strict=False).columns) == [
        "branch.is_open",
        "branch.share",
        "email_ok",
    ]
    checked = check_draft(world.tenant, config, world.campaign.segment)
    assert checked.errors == []
    assert any("by acct.branch" in line for line in checked.plan or ())


def test_two_joins_are_merged_by_name(world: World, accounts: Schema, branches: Schema) -> None:
    joined(world, accounts, name="b_acct")
    joined(world, branches, name="a_branch", primary_key="customer_id", foreign_key="code")
    rule(world, "customer.b_acct.tier", "eq", "gold")
    publish(world, "customer.a_branch.share")
    assert set(scores(ended(world)).values()) == {0.125}
    catalog = with_referred(Catalog(), world.tenant, {}, base_of(world), NOW)
    assert [join.name for join in catalog.joins] == ["a_branch", "b_acct"]
    assert [schema.key for schema in catalog.schemas] == sorted([accounts.pk, branches.pk])
    assert Catalog.from_json(catalog.to_json()) == catalog


@pytest.mark.parametrize(
    "changes", [{"status": "paused"}, {"status": "draft"}, {"auto_enrich": False}]
)
def test_a_join_that_is_off_is_not_merged(
    world: World, accounts: Schema, changes: dict[str, Any]
) -> None:
    joined(world, accounts, **changes)
    rule(world, "customer.acct.tier", "eq", "gold")
    run = ended(world)
    assert run.status == "failed"
    assert '"acct.tier"' in run.error
    assert run.chunks.count() == 0


def test_joins_of_other_schemas_are_not_merged(world: World, accounts: Schema) -> None:
    joined(world, accounts, primary_schema=accounts, primary_key="owner")
    assert with_referred(Catalog(), world.tenant, {}, base_of(world), NOW).joins == ()
    assert with_referred(Catalog(), world.tenant, {}, None, NOW) == Catalog()


@pytest.mark.parametrize(
    "change",
    ["DROP TABLE data.accounts", "ALTER TABLE data.accounts DROP COLUMN owner"],
)
def test_a_join_whose_side_is_gone_is_left_out(world: World, accounts: Schema, change: str) -> None:
    joined(world, accounts)
    execute(change)
    assert with_referred(Catalog(), world.tenant, {}, base_of(world), NOW).joins == ()
    assert ended(world).status == "completed"
    rule(world, "customer.acct.tier", "eq", "gold")
    assert '"acct.tier"' in ended(world).error


def test_a_join_by_a_column_the_segment_lacks_adds_nothing(world: World, accounts: Schema) -> None:
    execute(f"ALTER TABLE {world.table} ADD COLUMN iban text")
    joined(world, accounts, primary_key="iban", foreign_key="owner")
    assert ended(world).status == "completed"
    rule(world, "customer.acct.tier", "eq", "gold")
    assert '"acct.tier"' in ended(world).error


def test_the_segment_keeps_columns_of_its_own(world: World, accounts: Schema) -> None:
    view = world.campaign.segment.view_name
    execute(
        f"CREATE OR REPLACE VIEW segments.{view} AS"
        f" SELECT *, 'gold'::text AS \"acct.tier\" FROM {world.table}"
    )
    joined(world, accounts)
    rule(world, "customer.acct.tier", "eq", "gold")
    publish(world, "customer.acct.trust")
    found = scores(ended(world))
    assert len(found) == 8
    assert found["C0000001"] == 0.9


def test_joins_of_other_tenants_are_not_merged(tenant: Tenant, world: World) -> None:
    factories.SchemaJoinFactory(tenant=tenant, name="acct")
    assert with_referred(Catalog(), world.tenant, {}, base_of(world), NOW).joins == ()
