"""One flow with twenty mistakes: each is told with its place and what to do instead."""

import json
from typing import Any

import pytest

from executor.errors import Rejected
from executor.flow.parse import parse_flow
from kaireon import ids
from tests.flow_samples import Json, flow, formula, leaf, node

OFFER, CHANNEL = ids.encode("Offer", 1), ids.encode("Channel", 1)
SCHEMA, PROFILE = ids.encode("Schema", 1), ids.encode("RankingProfile", 1)


def faults(definition: object) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        parse_flow(definition)
    return caught.value.errors


FLOW: Json = json.loads(
    f"""
{{
  "version": 2,
  "nodes": [
    {{"id": "offers", "type": "inventory", "config": {{"scope": "category"}}}},
    {{"id": "joined", "type": "enrich", "config": {{"schemaId": "{OFFER}"}}}},
    {{"id": "prefixed", "type": "enrich", "config": {{"prefix": "a"}}}},
    {{"id": "adults", "type": "filter", "config": {{"conditions": [
      {{"field": "customer.age", "operator": "approx", "value": 18}},
      {{"field": "request.page", "operator": "eq", "value": "home"}},
      {{"field": "offer.priority", "operator": "gt", "value": "high"}}
    ]}}}},
    {{"id": "placed", "type": "match_creatives", "config": {{"placementIds": ["{OFFER}"]}}}},
    {{"id": "split", "type": "conditional", "config": {{
      "conditions": [{{"field": "customer.vip", "operator": "eq", "value": true}}],
      "then": [
        {{"id": "ranked", "type": "rank"}},
        {{"id": "adults", "type": "qualify"}}
      ]
    }}}},
    {{"id": "empty", "type": "conditional", "config": {{
      "conditions": [{{"field": "customer.vip", "operator": "is_null"}}]
    }}}},
    {{"id": "rules", "type": "qualify", "config": {{"mode": "some"}}}},
    {{"id": "policies", "type": "contact_policy", "config": {{"scope": "all"}}}},
    {{"id": "magic", "type": "wizard"}},
    {{"id": "prie", "type": "score", "config": {{
      "method": "formula",
      "formula": {{"impactWeight": 0.5}},
      "relevance": {{"field": "customer.balance"}}
    }}}},
    {{"id": "goals", "type": "optimize", "config": {{"weights": {{"profit": 1}}}}}},
    {{"id": "best", "type": "rank", "config": {{"maxPerCategory": 2}}}},
    {{"id": "slots", "type": "group", "config": {{"method": "optimal"}}}},
    {{"id": "late", "type": "filter", "config": {{"conditions": [
      {{"field": "offer.name", "operator": "is_not_null"}}
    ]}}}},
    {{"id": "words", "type": "set_properties", "config": {{"properties": [
      {{"name": "tone", "value": "warm", "formula": "1 + 1"}}
    ]}}}}
  ]
}}
"""
)


#: Path, start and end of each message: what is wrong, and what is allowed or to be done.
TOLD = [
    ("nodes[0].config.categoryIds", "needs at least one id", 'scope "category"'),
    ("nodes[1].config.schemaId", f'"{OFFER}" is not an id', "begins with sch_"),
    ("nodes[2].config.prefix", "is only used with a schemaId", "remove it or name the schema"),
    ("nodes[3].config.conditions[0].operator", 'unknown operator "approx"', "is_not_null"),
    ("nodes[3].config.conditions[1].field", '"request.page" is not available', "no request"),
    ("nodes[3].config.conditions[2].value", "must be a number", 'got "high"'),
    ("nodes[4].config.placementIds[0]", f'"{OFFER}" is not an id', "begins with plc_"),
    ("nodes[5].config.then[0].type", "a rank node cannot stand in a branch", "call_flow"),
    ("nodes[6].config.then", "then or otherwise needs", "at least one node"),
    ("nodes[7].config.mode", 'must be "all"', 'got "some"'),
    ("nodes[8].config.scope", "unknown key", "allowed here: mode"),
    ("nodes[9].type", 'unknown node type "wizard"; available: inventory', "extension_point"),
    ("nodes[10].config.formula", "propensityWeight 0.4", "they must sum to 1"),
    ("nodes[10].config.relevance.default", "is required", "whose column is empty"),
    ("nodes[11].config.weights.profit", 'unknown objective "profit"; known', "fatigue"),
    ("nodes[12].config.maxPerCategory", 'is only used with method "diversity"', "the method"),
    ("nodes[13].config.method", 'must be "greedy"', 'got "optimal"'),
    ("nodes[15].config.properties[0]", "needs exactly one of", "value and formula"),
    ("nodes[5].config.then[1].id", '"adults" is the id of nodes[3] too', "ids must differ"),
    ("nodes[14]", "filter belongs to phase 1 (narrow)", "must stand before nodes[10] (score)"),
]


def test_twenty_mistakes_are_twenty_errors_with_place_and_remedy() -> None:
    found = faults(FLOW)
    assert len(found) == len(TOLD) == 20
    assert [path for path, _ in found] == [path for path, _, _ in TOLD]
    names = {f"nodes[{number}]": one["id"] for number, one in enumerate(FLOW["nodes"])}
    for (path, message), (_, start, end) in zip(found, TOLD, strict=True):
        name = "ranked" if ".then[0]" in path else names[path.partition(".")[0]]
        told = message.removeprefix(f'node "{name}": ')
        assert told != message or path.endswith(".id")
        assert told.startswith(start)
        assert told.endswith(end)


def in_order(*nodes: Json) -> Json:
    return {"version": 2, "nodes": [node("inventory"), *nodes]}


def hook(name: str, **config: Any) -> Json:
    return node("extension_point", hook=name, **config)


SCORE, RANK = node("score"), node("rank")
OVERRIDE = {"channelId": CHANNEL}
STRATEGY = {"scope": "channel", "value": "Email", "profileId": PROFILE}
ASKED = leaf("customer.age", "is_null")


def scored(**config: Any) -> Json:
    return flow(score=node("score", **config))


def optimized(**config: Any) -> Json:
    return in_order(SCORE, node("optimize", **config), RANK)


def properties(*items: Json) -> Json:
    return in_order(SCORE, RANK, node("set_properties", properties=list(items)))


#: Path and message of the only mistake.
OTHERS: list[tuple[str, Json, str, str]] = [
    (
        "second policies",
        flow(node("contact_policy"), {**node("contact_policy"), "id": "b"}),
        "nodes[2]",
        'node "b": only one contact_policy node is allowed, remove this one or nodes[1]',
    ),
    (
        "second rules in a branch",
        flow(
            node(
                "conditional",
                conditions=[ASKED],
                then=[node("qualify"), {**node("qualify"), "id": "b"}],
            )
        ),
        "nodes[1].config.then[1]",
        'node "b": only one qualify node is allowed, remove this one or nodes[1].config.then[0]',
    ),
    (
        "branch is no list",
        flow(node("conditional", conditions=[ASKED], then="x")),
        "nodes[1].config.then",
        'node "conditional": must be a list, got "x"',
    ),
    (
        "branch without a question",
        flow(node("conditional", conditions=[], then=[node("qualify")])),
        "nodes[1].config.conditions",
        'node "conditional": must be a list with at least 1 item(s), got []',
    ),
    (
        "optimize before score",
        in_order(node("optimize", weights={"margin": 1}), SCORE, RANK),
        "nodes[2]",
        'node "score": score must stand before nodes[1] (optimize)',
    ),
    (
        "group before rank",
        in_order(SCORE, node("group"), RANK),
        "nodes[3]",
        'node "rank": rank must stand before nodes[2] (group)',
    ),
    (
        "optimize after rank",
        in_order(SCORE, RANK, node("optimize", weights={"margin": 1})),
        "nodes[3]",
        'node "optimize": optimize must stand before nodes[2] (rank)',
    ),
    (
        "profile and weights",
        optimized(weights={"margin": 1}, profileId=PROFILE),
        "nodes[2].config",
        'node "optimize": needs exactly one of profileId and weights',
    ),
    (
        "nothing to weigh",
        optimized(weights={"margin": 0}),
        "nodes[2].config.weights",
        'node "optimize": needs at least one objective with a weight above 0',
    ),
    (
        "profile of another kind",
        optimized(profileId=OFFER),
        "nodes[2].config.profileId",
        f'node "optimize": "{OFFER}" is not an id that begins with rp_',
    ),
    (
        "late hook",
        in_order(SCORE, hook("pre_score"), RANK),
        "nodes[2]",
        'node "extension_point": an extension point with hook pre_score must stand before '
        "nodes[1] (score)",
    ),
    (
        "early hook",
        in_order(SCORE, hook("post_rank"), RANK),
        "nodes[2]",
        'node "extension_point": an extension point with hook post_rank must stand after '
        "nodes[3] (rank)",
    ),
    (
        "hook without a model",
        in_order(SCORE, RANK, hook("post_rank", modelKey="m")),
        "nodes[3].config.modelKey",
        'node "extension_point": is only used with hook "score_override": '
        "remove it or change the hook",
    ),
    (
        "call of nothing",
        flow(node("call_flow")),
        "nodes[1].config.flowKey",
        'node "call_flow": is required',
    ),
    (
        "phase of a call",
        flow({**node("call_flow", flowKey="a"), "phase": 4}),
        "nodes[1].phase",
        'node "call_flow": must be 1, 2 or 3, got 4',
    ),
    (
        "prefix",
        flow(node("enrich", schemaId=SCHEMA, prefix="Big A")),
        "nodes[1].config.prefix",
        'node "enrich": must be a small letter, then small letters, digits and _ only, at most 31, '
        'got "Big A"',
    ),
    (
        "floor",
        scored(scoreFloor=2),
        "nodes[1].config.scoreFloor",
        'node "score": must be at most 1, got 2',
    ),
    (
        "propensity of a priority",
        scored(propensity=0.5),
        "nodes[1].config.propensity",
        'node "score": is only used with method "formula" or "propensity": '
        "remove it or change the method",
    ),
    (
        "propensity and model",
        scored(method="propensity", propensity=0.5, modelKey="m"),
        "nodes[1].config.propensity",
        'node "score": cannot be combined with modelKey: remove one of the two',
    ),
    (
        "profile and formula",
        flow(score=formula(strategyProfileId=PROFILE, formula={})),
        "nodes[1].config.formula",
        'node "score": cannot be combined with strategyProfileId: remove one of the two',
    ),
    (
        "strategies without a formula",
        scored(strategyOverrides=[STRATEGY]),
        "nodes[1].config.strategyOverrides",
        'node "score": are only used with method "formula": remove them or change the method',
    ),
    (
        "strategy of another kind",
        flow(score=formula(strategyOverrides=[{**STRATEGY, "profileId": OFFER}])),
        "nodes[1].config.strategyOverrides[0].profileId",
        f'node "score": "{OFFER}" is not a ranking profile id (rp_…)',
    ),
    (
        "channel of another kind",
        scored(channelOverrides=[{"channelId": OFFER}]),
        "nodes[1].config.channelOverrides[0].channelId",
        f'node "score": "{OFFER}" is not a channel id (ch_…)',
    ),
    (
        "channel twice",
        scored(channelOverrides=[OVERRIDE, OVERRIDE]),
        "nodes[1].config.channelOverrides[1].channelId",
        'node "score": is the channel of another override, too',
    ),
    (
        "factor of a channel",
        scored(channelOverrides=[{**OVERRIDE, "impact": 1}]),
        "nodes[1].config.channelOverrides[0].impact",
        'node "score": is only used with method "formula": remove it or change the method',
    ),
    (
        "property twice",
        properties({"name": "a", "value": 1}, {"name": "a", "value": 2}),
        "nodes[3].config.properties[1].name",
        'node "set_properties": "a" is there twice',
    ),
    (
        "name of a property",
        properties({"name": "1a", "value": 1}),
        "nodes[3].config.properties[0].name",
        'node "set_properties": must be a letter, then letters, digits and _ only, at most 63, '
        'got "1a"',
    ),
    (
        "value of a property",
        properties({"name": "a", "value": []}),
        "nodes[3].config.properties[0].value",
        'node "set_properties": must be text, a number, true, false or null, got []',
    ),
    (
        "nothing to compute",
        in_order(SCORE, RANK, node("compute", fields=[])),
        "nodes[3].config.fields",
        'node "compute": must be a list with at least 1 item(s), got []',
    ),
]


@pytest.mark.parametrize(
    ("definition", "path", "message"), [one[1:] for one in OTHERS], ids=[one[0] for one in OTHERS]
)
def test_mistake_in_a_node_is_told_with_its_path(definition: Json, path: str, message: str) -> None:
    assert faults(definition) == [(path, message)]


def test_conditionals_that_are_nested_too_deep_are_refused() -> None:
    inner = node("filter", conditions=[ASKED])
    for depth in range(6):
        inner = {**node("conditional", conditions=[ASKED], then=[inner]), "id": f"c{depth}"}
    ((path, message),) = faults(flow(inner))
    assert path.count("then[0]") == 5
    assert message == 'node "c0": conditionals are nested more than 5 deep'


def test_too_many_nodes_are_refused() -> None:
    many = [{**node("filter", conditions=[ASKED]), "id": f"f{number}"} for number in range(200)]
    assert faults(flow(*many)) == [("nodes", "has 203 nodes; at most 200 are allowed")]
