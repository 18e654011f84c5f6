"""Definitions: what is accepted, and how every mistake is reported."""

import json
from typing import Any

import pytest

from executor.errors import Rejected
from executor.flow.model import FieldSource
from executor.flow.nodes import NODE_MODELS, ScoreNode, definition_schema
from executor.flow.parse import parse_flow
from kaireon import ids
from tests.flow_samples import Json, conditions, flow, formula, leaf, node
from tests.sources import ROOT

AVAILABLE = f"available: {', '.join(NODE_MODELS)}"
OFFER_1, CATEGORY_1 = ids.encode("Offer", 1), ids.encode("Category", 1)


def faults(definition: object) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        parse_flow(definition)
    return caught.value.errors


def in_order(*nodes: Json) -> Json:
    return {"version": 2, "nodes": list(nodes)}


SCORE, RANK, INVENTORY = node("score"), node("rank"), node("inventory")

MISTAKES: list[tuple[str, Any, str, str]] = [
    (
        "not an object",
        [],
        "",
        "a flow must be an object with version and nodes, got []",
    ),
    ("wrong version", {**flow(), "version": 1}, "version", "must be 2, got 1"),
    ("no version", {"nodes": flow()["nodes"]}, "version", "is required"),
    (
        "unknown key",
        {**flow(), "edges": []},
        "edges",
        "unknown key; allowed here: version, nodes, flowConfig",
    ),
    (
        "unknown flow setting",
        {**flow(), "flowConfig": {"mode": 1}},
        "flowConfig.mode",
        "unknown key; allowed here: none",
    ),
    ("no nodes key", {"version": 2}, "nodes", "must be a list of nodes, got null"),
    (
        "node is no object",
        flow("qualify"),  # type: ignore[arg-type]
        "nodes[1]",
        'must be an object with id, type and config, got "qualify"',
    ),
    ("no id", flow({"type": "qualify"}), "nodes[1].id", "is required"),
    (
        "odd id",
        flow({"id": "a b", "type": "qualify"}),
        "nodes[1].id",
        'node "a b": must be letters, digits and _ . : - only, at most 100, got "a b"',
    ),
    (
        "id twice",
        flow({"id": "rank", "type": "qualify"}),
        "nodes[3].id",
        '"rank" is the id of nodes[1] too; ids must differ',
    ),
    ("no type", flow({"id": "a"}), "nodes[1].type", f'node "a": is required; {AVAILABLE}'),
    (
        "unknown type",
        flow({"id": "a", "type": "magic"}),
        "nodes[1].type",
        f'node "a": unknown node type "magic"; {AVAILABLE}',
    ),
    (
        "number as a type",
        flow({"id": "a", "type": 7}),
        "nodes[1].type",
        f'node "a": unknown node type 7; {AVAILABLE}',
    ),
    (
        "unknown key of a node",
        flow({"id": "a", "type": "qualify", "next": "b"}),
        "nodes[1].next",
        'node "a": unknown key; allowed here: id, phase, position, type, config',
    ),
    (
        "config is no object",
        flow({"id": "a", "type": "qualify", "config": 5}),
        "nodes[1].config",
        'node "a": must be an object, got 5',
    ),
    (
        "second inventory",
        flow({"id": "two", "type": "inventory"}),
        "nodes[1]",
        'node "two": only one inventory node is allowed, remove this one or nodes[0]',
    ),
    (
        "late inventory",
        in_order(node("qualify"), INVENTORY, SCORE, RANK),
        "nodes[1]",
        'node "inventory": inventory must be the first node',
    ),
    (
        "late filter",
        in_order(INVENTORY, SCORE, conditions(leaf("offer.name", "is_not_null")), RANK),
        "nodes[2]",
        'node "filter": filter belongs to phase 1 (narrow) and must stand before nodes[1] (score)',
    ),
    (
        "rank before score",
        in_order(INVENTORY, RANK, SCORE),
        "nodes[2]",
        'node "score": score must stand before nodes[1] (rank)',
    ),
    (
        "no score",
        in_order(INVENTORY, RANK),
        "nodes",
        'needs a node of type score, as {"id": "score", "type": "score"}',
    ),
    (
        "wrong phase",
        flow({"id": "a", "type": "qualify", "phase": 2}),
        "nodes[1].phase",
        'node "a": qualify is always in phase 1, got 2; leave it out or correct it',
    ),
    (
        "positions fall",
        flow(
            {"id": "a", "type": "qualify", "position": 2},
            {"id": "b", "type": "match_creatives", "position": 1},
        ),
        "nodes[2].position",
        'node "b": must be above 2, the position of nodes[1]; leave it out or correct it',
    ),
    (
        "unknown scope",
        flow(inventory=node("inventory", scope="region")),
        "nodes[0].config.scope",
        'node "inventory": must be "all", "category", "subcategory" or "offers", got "region"',
    ),
    (
        "scope without its ids",
        flow(inventory=node("inventory", scope="offers")),
        "nodes[0].config.offerIds",
        'node "inventory": needs at least one id for scope "offers"',
    ),
    (
        "ids of another scope",
        flow(inventory=node("inventory", categoryIds=[CATEGORY_1])),
        "nodes[0].config.categoryIds",
        'node "inventory": is only used with scope "category": remove it or change the scope',
    ),
    (
        "id of another kind",
        flow(inventory=node("inventory", scope="offers", offerIds=[OFFER_1, CATEGORY_1])),
        "nodes[0].config.offerIds[1]",
        f'node "inventory": "{CATEGORY_1}" is not an offer id (off_…)',
    ),
    (
        "no status",
        flow(inventory=node("inventory", includeStatuses=[])),
        "nodes[0].config.includeStatuses",
        'node "inventory": must be a list with at least 1 item(s), got []',
    ),
    (
        "unknown status",
        flow(inventory=node("inventory", includeStatuses=["live"])),
        "nodes[0].config.includeStatuses[0]",
        'node "inventory": must be "draft", "active", "paused" or "archived", got "live"',
    ),
    (
        "no conditions",
        flow(conditions()),
        "nodes[1].config.conditions",
        'node "filter": must be a list with at least 1 item(s), got []',
    ),
    (
        "combinator",
        flow(conditions(leaf("offer.name", "is_null"), combinator="XOR")),
        "nodes[1].config.combinator",
        'node "filter": must be "AND" or "OR", got "XOR"',
    ),
    (
        "field of a request",
        flow(conditions(leaf("request.channel", "eq", "x"))),
        "nodes[1].config.conditions[0].field",
        'node "filter": "request.channel" is not available: a batch run has no request',
    ),
    (
        "field without namespace",
        flow(conditions(leaf("age", "eq", 1))),
        "nodes[1].config.conditions[0].field",
        'node "filter": "age" must start with customer., offer. or channel., as in "customer.age"',
    ),
    (
        "unknown field of the channel",
        flow(conditions(leaf("channel.nme", "eq", "x"))),
        "nodes[1].config.conditions[0].field",
        'node "filter": unknown field "channel.nme"; '
        'did you mean "channel.name" or "channel.channel_type"? '
        "available: channel.channel_type, channel.delivery_mode, channel.name",
    ),
    (
        "no field",
        flow(conditions({"operator": "eq", "value": 1})),
        "nodes[1].config.conditions[0].field",
        'node "filter": must name a field, got null',
    ),
    (
        "condition is no object",
        flow(conditions(7)),  # type: ignore[arg-type]
        "nodes[1].config.conditions[0]",
        'node "filter": must be a condition, a group or a list, got 7',
    ),
    (
        "no value",
        flow(conditions(leaf("customer.age", "eq"))),
        "nodes[1].config.conditions[0].value",
        'node "filter": is required: eq takes one value',
    ),
    (
        "value of another kind",
        flow(conditions(leaf("offer.priority", "gt", "high"))),
        "nodes[1].config.conditions[0].value",
        'node "filter": must be a number, got "high"',
    ),
    (
        "order of true",
        flow(conditions(leaf("customer.consent", "gt", True))),
        "nodes[1].config.conditions[0].operator",
        'node "filter": "gt" does not work on a field of kind boolean; '
        "allowed: eq, neq, in, not_in, is_null, is_not_null",
    ),
    (
        "operator of a list",
        flow(conditions({"combinator": "OR", "conditions": [leaf("offer.tags", "eq", "x")]})),
        "nodes[1].config.conditions[0].conditions[0].field",
        'node "filter": offer.tags is a list; its operators are: '
        "contains, in, not_in, is_null, is_not_null",
    ),
    (
        "text for a switch",
        flow(node("match_creatives", requireCreative="yes")),
        "nodes[1].config.requireCreative",
        'node "match_creatives": must be true or false, got "yes"',
    ),
    (
        "unknown method",
        flow(score=node("score", method="thompson")),
        "nodes[1].config.method",
        'node "score": must be "priority_weighted", "propensity" or "formula", got "thompson"',
    ),
    (
        "negative weight",
        flow(score=formula(formula={"impactWeight": -0.3})),
        "nodes[1].config.formula.impactWeight",
        'node "score": must be at least 0, got -0.3',
    ),
    (
        "weights do not sum to 1",
        flow(score=formula(formula={"impactWeight": 0.5})),
        "nodes[1].config.formula",
        'node "score": propensityWeight 0.4, relevanceWeight 0.2, impactWeight 0.5, '
        "emphasisWeight 0.1 sum to 1.2; they must sum to 1",
    ),
    (
        "weight in quotes",
        flow(score=formula(formula={"impactWeight": "0.3"})),
        "nodes[1].config.formula.impactWeight",
        'node "score": must be a number, got "0.3"',
    ),
    (
        "factor without formula",
        flow(score=node("score", impact=1)),
        "nodes[1].config.impact",
        'node "score": is only used with method "formula": remove it or change the method',
    ),
    (
        "factor above 1",
        flow(score=formula(impact=1.5)),
        "nodes[1].config.impact",
        'node "score": must be at most 1, got 1.5',
    ),
    (
        "factor in words",
        flow(score=formula(impact="high")),
        "nodes[1].config.impact",
        'node "score": must be a number from 0 to 1, '
        'or an object as {"field": "customer.propensity"}, got "high"',
    ),
    (
        "unknown key of a factor",
        flow(score=formula(impact={"field": "offer.margin", "low": 1})),
        "nodes[1].config.impact.low",
        'node "score": unknown key; allowed here: field, min, max, default',
    ),
    (
        "column without default",
        flow(score=formula(relevance={"field": "customer.x"})),
        "nodes[1].config.relevance.default",
        'node "score": is required: the factor, 0 to 1, of customers whose column is empty',
    ),
    (
        "min is max",
        flow(score=formula(impact={"field": "offer.margin", "min": 1})),
        "nodes[1].config.impact.max",
        'node "score": must differ from min, 1, by a finite number',
    ),
    (
        "factor is text",
        flow(score=formula(impact={"field": "channel.name"})),
        "nodes[1].config.impact.field",
        'node "score": channel.name is not a number; it can only be used inside a column\'s '
        "name, as in customer.propensity_{offer.product_type}",
    ),
    (
        "open brace",
        flow(score=formula(propensity={"field": "customer.p_{offer.name"})),
        "nodes[1].config.propensity.field",
        'node "score": "p_{offer.name" has a brace without its other half',
    ),
    (
        "placeholder is no name",
        flow(score=formula(propensity={"field": "customer.p_{offer.margin}"})),
        "nodes[1].config.propensity.field",
        'node "score": {offer.margin} must be text or a whole number of the offer or channel',
    ),
    (
        "unknown rank",
        in_order(INVENTORY, SCORE, node("rank", method="best")),
        "nodes[2].config.method",
        'node "rank": must be "top_n", "diversity", "round_robin" or "weighted_random", got "best"',
    ),
    (
        "too many ranks",
        in_order(INVENTORY, SCORE, node("rank", maxCandidates=51)),
        "nodes[2].config.maxCandidates",
        'node "rank": must be at most 50, got 51',
    ),
    (
        "half a rank",
        in_order(INVENTORY, SCORE, node("rank", maxCandidates=1.5)),
        "nodes[2].config.maxCandidates",
        'node "rank": must be a whole number, got 1.5',
    ),
    (
        "response format",
        in_order(INVENTORY, SCORE, RANK, node("response", responseFormat="xml")),
        "nodes[3].config.responseFormat",
        'node "response": must be "standard", got "xml"',
    ),
]


@pytest.mark.parametrize(
    ("definition", "path", "message"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)
def test_mistake_is_reported_with_its_path(definition: object, path: str, message: str) -> None:
    assert faults(definition) == [(path, message)]


def test_all_mistakes_are_reported_together() -> None:
    definition = {
        "version": 3,
        "nodes": [
            {**conditions(leaf("request.x", "eq", 1)), "id": "odd id"},
            RANK,
            conditions(leaf("customer.age", "approx", 1)),
            formula(relevance=2, formula={"impactWeight": 1}),
            {"id": "e", "type": "magic"},
        ],
    }
    assert [path for path, _ in faults(definition)] == [
        "version",
        "nodes[0].id",
        "nodes[0].config.conditions[0].field",
        "nodes[2].config.conditions[0].operator",
        "nodes[3].config.relevance",
        "nodes[3].config.formula",
        "nodes[4].type",
        "nodes",
        "nodes[2]",
        "nodes[3]",
    ]


def test_keys_are_not_judged_by_a_faulty_method() -> None:
    broken = flow(score=node("score", method="magic", impact=1))
    assert [path for path, _ in faults(broken)] == ["nodes[1].config.method"]


def test_ids_that_are_no_list_are_not_also_missing() -> None:
    broken = flow(inventory=node("inventory", scope="category", categoryIds=CATEGORY_1))
    assert faults(broken) == [
        (
            "nodes[0].config.categoryIds",
            f'node "inventory": must be a list, got "{CATEGORY_1}"',
        )
    ]


def test_conditions_nested_too_deep_are_refused() -> None:
    condition = leaf("customer.age", "gt", 1)
    for _ in range(3000):
        condition = {"combinator": "AND", "conditions": [condition]}
    ((path, message),) = faults(flow(conditions(condition)))
    assert path.count("conditions[0]") == 10
    assert message == 'node "filter": groups are nested more than 10 deep'


def test_defaults_are_filled_in() -> None:
    definition = parse_flow(flow(score=formula()))
    inventory, score, rank = definition.nodes
    assert inventory.config.include_statuses == ("active",)
    assert rank.config.max_candidates == 5
    assert isinstance(score, ScoreNode)
    assert isinstance(score.config.impact, FieldSource)
    assert score.config.formula.model_dump() == {
        "propensity_weight": 0.4,
        "relevance_weight": 0.2,
        "impact_weight": 0.3,
        "emphasis_weight": 0.1,
    }


def test_consistent_phases_and_positions_are_accepted() -> None:
    nodes = [
        {**each, "phase": phase, "position": position}
        for each, phase, position in [
            (INVENTORY, 1, 1),
            (node("qualify"), 1, 2),
            (SCORE, 2, 1),
            (RANK, 2, 2),
            (node("response"), 3, 1),
        ]
    ]
    assert len(parse_flow(in_order(*nodes)).nodes) == 5


def test_customer_values_may_be_of_any_kind_until_columns_are_known() -> None:
    filters = conditions(
        leaf("customer.a", "in", [1, 2]),
        leaf("customer.a", "in", []),
        leaf("customer.b", "eq", True),
        leaf("customer.c", "contains", "x"),
        leaf("customer.d", "is_null"),
        leaf("offer.metadata.tier", "eq", 3),
    )
    assert len(parse_flow(flow(filters)).nodes) == 4


def test_json_schema_in_the_docs_is_current() -> None:
    stored = (ROOT / "docs" / "flow.schema.json").read_text()
    assert json.loads(stored) == definition_schema(), (
        "Run: manage.py explain_flow --json-schema > docs/flow.schema.json"
    )


def test_example_in_the_docs_is_a_flow() -> None:
    text = (ROOT / "docs" / "flows.md").read_text()
    example = text.split("```json")[1].split("```")[0]
    assert len(parse_flow(json.loads(example)).nodes) == 7
