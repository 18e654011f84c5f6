"""Compiling: which candidates remain, and what is left to ask a customer."""

import json
import math
from dataclasses import replace

import pytest

from executor.errors import Rejected
from executor.flow.catalog import Catalog, CreativeFacts, Evidence, ModelFacts
from executor.flow.compile import compile_flow
from executor.flow.conditions import describe
from executor.flow.parse import parse_flow
from executor.flow.plan import Candidate, Plan, Split
from executor.flow.printed import plan_text
from kaireon import ids
from tests.flow_samples import (
    CATALOG,
    CREATIVES,
    EMAIL,
    GOLD,
    KINDS,
    LOAN,
    SETTING,
    SMS,
    Json,
    conditions,
    flow,
    formula,
    leaf,
    node,
    rule,
    with_rules,
)


def compiled(definition: Json, catalog: Catalog = CATALOG) -> Plan:
    return compile_flow(definition, catalog, KINDS, SETTING)


def faults(definition: Json, catalog: Catalog = CATALOG) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        compile_flow(definition, catalog, KINDS, SETTING)
    return caught.value.errors


def names(plan: Plan) -> list[str]:
    return [
        f"{plan.offers[one.offer].name}/{plan.channels[one.channel].name}"
        for one in plan.candidates
    ]


def needs(plan: Plan) -> list[tuple[str, tuple[int, ...]]]:
    return [(describe(step.condition), step.candidates) for step in plan.steps]


# Without a creative for the loan by SMS there are three.
ALL = ["Gold Card/Email", "Gold Card/SMS", "Car Loan/Email"]


def test_catalog_survives_json() -> None:
    odd = replace(LOAN, margin=math.inf, revenue_value=1e22, business_value=1e-9)
    catalog = Catalog((GOLD, odd), (EMAIL, SMS), CREATIVES, (rule(scope="offer", scope_key=2),))
    models = (ModelFacts(3, "churn", "scorecard", {"a": [1.5]}, ({"field": "a"},), {}, "k", "s"),)
    evidence = Evidence(((1, 60, 3),), ((2, 60, 3),), 70, 4)
    catalog = replace(catalog, models=models, evidence=evidence)
    assert Catalog.from_json(json.loads(json.dumps(catalog.to_json(), allow_nan=False))) == catalog


def test_candidates_are_in_order_of_priority_then_key_then_channel() -> None:
    twin = replace(LOAN, key=4, name="Twin")
    catalog = Catalog((twin, LOAN, GOLD), (SMS, EMAIL), CREATIVES)
    plan = compiled(flow(node("match_creatives", requireCreative=False)), catalog)
    assert [offer.name for offer in plan.offers] == ["Gold Card", "Car Loan", "Twin"]
    assert plan.channels == (SMS, EMAIL)
    assert plan.candidates == (
        Candidate(0, 0, 22),
        Candidate(0, 1, 21),
        Candidate(1, 0, None),
        Candidate(1, 1, 23),
        Candidate(2, 0, None),
        Candidate(2, 1, None),
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ALL),
        ({"scope": "category", "categoryIds": [ids.encode("Category", 2)]}, ALL[2:]),
        ({"scope": "subcategory", "subCategoryIds": [ids.encode("SubCategory", 11)]}, ALL[:2]),
        ({"scope": "offers", "offerIds": [ids.encode("Offer", 2)]}, ALL[2:]),
        ({"scope": "offers", "offerIds": [ids.encode("Offer", 3)]}, []),
        ({"includeStatuses": ["paused"]}, ["Old Card/Email", "Old Card/SMS"]),
    ],
    ids=["all", "category", "sub-category", "listed", "listed but paused", "status"],
)
def test_inventory_chooses_offers(config: Json, expected: list[str]) -> None:
    creatives = (*CREATIVES, CreativeFacts(31, "m", 3, 1), CreativeFacts(32, "t", 3, 2))
    catalog = replace(CATALOG, creatives=creatives)
    assert names(compiled(flow(inventory=node("inventory", **config)), catalog)) == expected


def test_offer_that_is_gone_is_dropped_by_its_id() -> None:
    gone = ids.encode("Offer", 99)
    plan = compiled(flow(inventory=node("inventory", scope="offers", offerIds=[gone])))
    assert plan.candidates == ()
    assert [
        (drop.offer, drop.label) for drop in plan.dropped if drop.label != "not in the scope"
    ] == [(gone, "there is no such offer, or it is archived")]


def test_creatives_of_a_channel_share_its_customers_by_weight() -> None:
    creatives = (
        CreativeFacts(5, "light", 1, 1, weight=10),
        CreativeFacts(7, "late", 1, 1, weight=60),
        CreativeFacts(6, "early", 1, 1, weight=60),
        CreativeFacts(8, "off", 1, 2, weight=0),
    )
    plan = compiled(flow(), Catalog((GOLD,), (EMAIL, SMS), creatives))
    assert plan.candidates == (Candidate(0, 0, 6), Candidate(0, 0, 7), Candidate(0, 0, 5))
    assert plan.splits == (Split((0, 1, 2), (60, 60, 10)),)
    assert [(drop.stage, drop.node, drop.offer, drop.channel) for drop in plan.dropped] == [
        ("match_creatives", "(implied)", "Gold Card", "SMS")
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (leaf("offer.name", "starts_with", "Gold"), ALL[:2]),
        (leaf("offer.category", "eq", "Loans"), ALL[2:]),
        (leaf("offer.subCategory", "is_null"), ALL[2:]),
        (leaf("offer.sub_category", "neq", "Debit"), ALL[:2]),
        (leaf("offer.priority", "gt", 50), ALL[:2]),
        (leaf("offer.weight", "in", [50, 60]), ALL[:2]),
        (leaf("offer.businessValue", "lte", 50), ALL[2:]),
        (leaf("offer.margin", "lt", 5), ALL[2:]),
        (leaf("offer.revenue_value", "is_not_null"), []),
        (leaf("offer.productType", "regex", "^[a-z]+$"), ALL[:2]),
        (leaf("offer.status", "eq", "active"), ALL),
        (leaf("offer.tags", "contains", "new"), ALL[:2]),
        (leaf("offer.tags", "contains", "ne"), []),
        (leaf("offer.tags", "in", ["old", "premium"]), ALL[:2]),
        (leaf("offer.tags", "not_in", ["new"]), ALL[2:]),
        (leaf("offer.tags", "is_null"), ALL[2:]),
        (leaf("offer.metadata.tier", "eq", "gold"), ALL[:2]),
        (leaf("offer.metadata.tier", "neq", "gold"), []),
        (leaf("offer.metadata.tier", "is_null"), ALL[2:]),
        (leaf("offer.metadata.fee", "gt", 12), ALL[:2]),
        (leaf("offer.metadata.terms", "in", [24, 36]), ALL[:2]),
        (leaf("channel.name", "eq", "SMS"), ["Gold Card/SMS"]),
        (leaf("channel.channelType", "neq", "sms"), [ALL[0], ALL[2]]),
        (leaf("channel.delivery_mode", "in", []), []),
    ],
    ids=lambda value: f"{value['field']} {value['operator']}" if isinstance(value, dict) else "",
)
def test_filter_on_the_catalog_is_decided_at_once(condition: Json, expected: list[str]) -> None:
    plan = compiled(flow(conditions(condition)))
    assert (names(plan), plan.steps) == (expected, ())


def test_filter_leaves_what_only_customers_can_answer() -> None:
    cards_or_old = {
        "combinator": "OR",
        "conditions": [
            leaf("offer.category", "eq", "Cards"),
            leaf("customer.age", "gte", 60),
            leaf("customer.age", "in", []),
        ],
    }
    plan = compiled(flow(conditions(leaf("customer.balance", "gt", 0), cards_or_old)))
    assert needs(plan) == [
        ("balance > 0", (0, 1)),
        ("balance > 0 and age >= 60", (2,)),
    ]
    assert [(step.stage, step.node, step.rule_key) for step in plan.steps] == [
        ("filter", "filter", None)
    ] * 2
    assert plan.columns == {"balance", "age"}


def test_steps_of_dropped_candidates_are_dropped_and_numbers_close_up() -> None:
    plan = compiled(
        flow(
            {**conditions(leaf("customer.age", "gt", 17)), "id": "first"},
            {**conditions(leaf("channel.name", "eq", "Email")), "id": "second"},
        )
    )
    assert names(plan) == ["Gold Card/Email", "Car Loan/Email"]
    assert needs(plan) == [("age > 17", (0, 1))]


def test_step_without_candidates_is_no_step() -> None:
    plan = compiled(
        flow(
            {**conditions(leaf("customer.age", "gt", 17)), "id": "first"},
            {**conditions(leaf("channel.name", "is_null")), "id": "second"},
        )
    )
    assert (plan.steps, plan.candidates, plan.columns) == ((), (), frozenset())


def test_parsed_definition_compiles_to_the_same_plan() -> None:
    definition = flow(conditions(leaf("customer.age", "gt", 17)))
    assert compile_flow(parse_flow(definition), CATALOG, KINDS, SETTING) == compiled(definition)


@pytest.mark.parametrize(
    ("condition", "path", "message"),
    [
        (
            leaf("customer.agee", "gt", 1),
            "field",
            'the customers have no column "agee"; did you mean "age"? available: '
            "age, balance, city, propensity_car_loan, propensity_card, sms_ok",
        ),
        (leaf("customer.city", "gt", 5), "value", "must be text in quotes, got 5"),
        (
            leaf("offer.metadata.tier", "gt", 5),
            "value",
            'offer "Gold Card" has offer.metadata.tier = "gold": must be text in quotes, got 5',
        ),
        (
            leaf("offer.metadata.fee", "contains", "1"),
            "operator",
            'offer "Gold Card" has offer.metadata.fee = 12.5: '
            "allowed: eq, neq, gt, gte, lt, lte, in, not_in, is_null, is_not_null",
        ),
        (
            leaf("offer.metadata.terms", "eq", 12),
            "operator",
            'offer "Gold Card": offer.metadata.terms is a list; its operators are: '
            "contains, in, not_in, is_null, is_not_null",
        ),
    ],
    ids=["column", "value", "metadata value", "metadata operator", "metadata list"],
)
def test_filter_that_does_not_fit_is_refused(condition: Json, path: str, message: str) -> None:
    assert faults(flow(conditions(condition))) == [
        (f"nodes[1].config.conditions[0].{path}", message)
    ]


def test_metadata_objects_cannot_be_compared() -> None:
    catalog = replace(CATALOG, offers=(replace(GOLD, metadata={"fee": {"eur": 1}}),))
    ((_, message),) = faults(flow(conditions(leaf("offer.metadata.fee", "gt", 1))), catalog)
    assert message.endswith('{"eur": 1} is neither text, a number, true nor false')


@pytest.mark.parametrize(
    ("value", "wanted"), [(True, True), (7, 7.0), (2**70, 2.0**70), (0.5, 0.5)]
)
def test_metadata_numbers_are_compared_as_numbers(value: object, wanted: object) -> None:
    catalog = replace(CATALOG, offers=(replace(GOLD, metadata={"x": value}),))
    plan = compiled(flow(conditions(leaf("offer.metadata.x", "eq", wanted))), catalog)
    assert len(plan.candidates) == 2


@pytest.mark.parametrize(
    ("scope", "key", "candidates"),
    [
        ("global", None, (0, 1, 2)),
        ("channel", 1, (0, 2)),
        ("category", 1, (0, 1)),
        ("subcategory", 11, (0, 1)),
        ("offer", 2, (2,)),
        ("creative", 22, (1,)),
    ],
)
def test_rule_concerns_its_scope(scope: str, key: int | None, candidates: tuple[int, ...]) -> None:
    plan = compiled(flow(node("qualify")), with_rules(rule(scope=scope, scope_key=key)))
    assert needs(plan) == [("age > 17", candidates)]


def test_rules_go_by_priority_then_key() -> None:
    rules = (
        rule("low", key=1, priority=10),
        rule("late", key=3, priority=80),
        rule("early", key=2, priority=80, stage="fit"),
        rule("nowhere", key=4, scope="offer", scope_key=77),
    )
    plan = compiled(flow(node("qualify")), with_rules(*rules))
    assert [(step.label, step.rule_key, step.stage) for step in plan.steps] == [
        ("early", 2, "qualify"),
        ("late", 3, "qualify"),
        ("low", 1, "qualify"),
    ]


@pytest.mark.parametrize(
    ("config", "on_missing", "condition"),
    [
        ({"attribute": "age", "operator": "gt", "value": 17}, "fail", "age > 17"),
        ({"field": "customer.age", "operator": "gt", "value": 17}, "fail", "age > 17"),
        (leaf("age", "gt", 17), "pass", "age > 17 or age is null"),
        (leaf("age", "is_not_null"), "pass", "age is not null"),
        ({"attribute": "age", "operator": "exists"}, "pass", "age is not null"),
        # Certain for every age, but not for a missing one.
        (leaf("age", "lt", 1e30), "fail", "age is not null"),
        (leaf("age", "lt", 1e30), "pass", "age is not null or age is null"),
        (leaf("age", "gt", 1e30), "pass", "age is null"),
        (
            {
                "combinator": "OR",
                "conditions": [
                    {"attribute": "city", "operator": "eq", "value": "Rome"},
                    leaf("age", "lt", 30),
                ],
            },
            "pass",
            '(city = "Rome" or city is null) or (age < 30 or age is null)',
        ),
    ],
    ids=str,
)
def test_rule_becomes_a_condition(config: Json, on_missing: str, condition: str) -> None:
    rules = with_rules(rule(config=config, on_missing=on_missing))
    assert [text for text, _ in needs(compiled(flow(node("qualify")), rules))] == [condition]


def test_rule_nobody_passes_drops_its_candidates() -> None:
    never = rule("Never", config=leaf("age", "gt", 1e30), scope="offer", scope_key=1)
    plan = compiled(flow(node("qualify")), with_rules(never))
    assert names(plan) == ["Car Loan/Email"]
    assert {drop.label for drop in plan.dropped if drop.stage == "qualify"} == {
        'rule "Never" lets no customer pass'
    }


def test_rule_everybody_passes_is_no_step() -> None:
    always = rule("Always", config={"conditions": []})
    plan = compiled(flow(node("qualify")), with_rules(always))
    assert (plan.steps, len(plan.candidates)) == ((), 3)
    assert '    rule "Always": lets every customer pass' in plan_text(plan).splitlines()


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        (
            {"rule_type": "magic"},
            "ruleType",
            "must be one of attribute_condition, offer_attribute, segment_required,"
            ' propensity_threshold, recency_check, metric_condition, got "magic"',
        ),
        (
            {"stage": "ranking"},
            "stage",
            'must be one of eligibility, fit, match, got "ranking"',
        ),
        (
            {"scope": "tenant", "scope_key": 1},
            "scope",
            "must be one of global, channel, category, subcategory, offer, creative, placement,"
            ' segment, got "tenant"',
        ),
        ({"scope": "offer"}, "scopeId", 'is required for scope "offer"'),
        ({"on_missing": "skip"}, "onMissing", 'must be "pass" or "fail", got "skip"'),
        (
            {"config": leaf("agee", "gt", 1)},
            "config.field",
            'the customers have no column "agee"; did you mean "age"? available: '
            "age, balance, city, propensity_car_loan, propensity_card, sms_ok",
        ),
        (
            {"config": {"conditions": [leaf("offer.name", "eq", "x")]}},
            "config.conditions[0].field",
            '"offer.name" is not an attribute of the customer',
        ),
        (
            {"config": {"attribute": "age", **leaf("age", "gt", 1)}},
            "config",
            'unknown key "attribute"; allowed: field, operator, value',
        ),
        ({"config": None}, "config", "must be a condition, a group or a list, got null"),
    ],
    ids=["type", "stage", "scope", "scope key", "on missing", "column", "offer", "both", "null"],
)
def test_rule_that_cannot_be_applied_stops_the_flow(fields: Json, path: str, message: str) -> None:
    rules = with_rules(rule("Mine", **fields))
    assert faults(flow(node("qualify")), rules) == [(f'rules["Mine"].{path}', message)]


def test_faults_of_all_nodes_and_rules_are_reported_together() -> None:
    rules = with_rules(rule("A", stage="ranking"), rule("B", rule_type="magic"))
    broken = flow(
        conditions(leaf("customer.x", "gt", 1)),
        node("qualify"),
        score=formula(propensity={"field": "customer.y"}),
    )
    assert [path for path, _ in faults(broken, rules)] == [
        "nodes[1].config.conditions[0].field",
        'rules["A"].stage',
        'rules["B"].ruleType',
        "nodes[3].config.propensity.field",
    ]
