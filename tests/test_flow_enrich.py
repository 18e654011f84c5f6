"""Compiling joins and enrich nodes: which columns customers have, and which of them are frozen."""

from dataclasses import replace

import pytest

from executor.errors import Rejected
from executor.flow.catalog import Catalog, JoinFacts, SchemaFacts
from executor.flow.compile import compile_flow
from executor.flow.plan import Plan
from executor.flow.types import Kind
from kaireon import ids
from tests.flow_samples import CATALOG, KINDS, SETTING, Json, conditions, flow, leaf, node

ACCOUNTS = SchemaFacts(
    1, "Accounts", "data", "accounts", "number", {"owner": Kind.TEXT, "branch": Kind.TEXT}
)
BRANCHES = SchemaFacts(
    2, "Branches", "data", "branches", "code", {"code": Kind.TEXT, "size": Kind.INTEGER}
)
JOIN = JoinFacts("acct", 1, "city", "owner")
SCHEMAS = replace(CATALOG, schemas=(ACCOUNTS, BRANCHES))
JOINED = replace(SCHEMAS, joins=(JOIN,))
SIZE = conditions(leaf("customer.branch.size", "gt", 5))


def enrich(key: int, lookup: str, prefix: str) -> Json:
    config = {"schemaId": ids.encode("Schema", key), "lookupKey": lookup, "prefix": prefix}
    return node("enrich", **config) | {"id": prefix}


def compiled(catalog: Catalog, *middle: Json, kinds: dict[str, Kind] | None = None) -> Plan:
    return compile_flow(flow(*middle), catalog, {**KINDS, **(kinds or {})}, SETTING, "id")


def frozen(plan: Plan) -> list[tuple[str, str, list[str]]]:
    return [(one.prefix, one.lookup, sorted(one.kinds)) for one in plan.inputs.enrichments]


@pytest.mark.parametrize(
    ("catalog", "middle"),
    [
        (SCHEMAS, [enrich(1, "id", "acct"), enrich(2, "customer.acct.branch", "branch")]),
        (JOINED, [enrich(2, "acct.branch", "branch")]),
    ],
)
def test_a_column_that_only_looks_up_is_joined_but_not_frozen(
    catalog: Catalog, middle: list[Json]
) -> None:
    plan = compiled(catalog, *middle, SIZE)
    assert plan.columns == {"branch.size"}
    lookup = "city" if catalog.joins else "id"
    assert frozen(plan) == [("acct", lookup, ["branch"]), ("branch", "acct.branch", ["size"])]


def test_joins_that_nothing_reads_are_not_frozen() -> None:
    plan = compiled(JOINED, conditions(leaf("customer.city", "eq", "Oslo")))
    assert (plan.columns, frozen(plan)) == ({"city"}, [])


def test_own_columns_stay_and_the_join_adds_the_others() -> None:
    own = {"acct.owner": Kind.INTEGER}
    reads = [leaf("customer.acct.owner", "gt", 5), leaf("customer.acct.branch", "eq", "north")]
    plan = compiled(JOINED, conditions(*reads), kinds=own)
    assert plan.columns == {"acct.owner", "acct.branch"}
    assert frozen(plan) == [("acct", "city", ["branch"])]


@pytest.mark.parametrize(
    "catalog",
    [
        SCHEMAS,
        replace(JOINED, joins=(replace(JOIN, lookup="iban"),)),
        replace(JOINED, schemas=(BRANCHES,)),
    ],
)
def test_columns_of_a_join_that_is_not_there_are_missing(catalog: Catalog) -> None:
    with pytest.raises(Rejected) as caught:
        compiled(catalog, conditions(leaf("customer.acct.branch", "eq", "north")))
    ((_, text),) = caught.value.errors
    assert "acct.branch" in text


def test_a_join_may_look_up_by_the_key() -> None:
    catalog = replace(JOINED, joins=(replace(JOIN, lookup="id"),))
    plan = compiled(catalog, conditions(leaf("customer.acct.branch", "eq", "north")))
    assert frozen(plan) == [("acct", "id", ["branch"])]


def test_an_enrich_node_needs_a_prefix_of_its_own() -> None:
    with pytest.raises(Rejected) as caught:
        compiled(JOINED, enrich(2, "id", "acct"))
    ((path, text),) = caught.value.errors
    assert path.endswith(".prefix")
    assert text.startswith('"acct" is the prefix of an enrichment before')
