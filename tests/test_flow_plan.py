"""The plan as text, and what it says when nothing can be recommended."""

from dataclasses import replace

from executor.flow.catalog import Catalog
from executor.flow.compile import compile_flow
from executor.flow.printed import plan_text
from tests.flow_samples import (
    CATALOG,
    GOLD,
    KINDS,
    OLD,
    SETTING,
    conditions,
    flow,
    formula,
    leaf,
    node,
    rule,
    with_rules,
)

GOLDEN = """\
2 offers in 2 channels: 3 candidates
Phase 1: narrow
  inventory "inventory": all offers with status active
    drops Old Card: status is paused
  filter "filter": offer.category = "Cards" or customer.age < 70
    needs age < 70 (1 candidate of 1 offer)
  match_creatives "match_creatives": a creative is required
    drops Car Loan in SMS: no active creative with a weight above 0
  qualify "qualify": all active rules (3), highest priority first
    rule "Text allowed": needs sms_ok = true (1 candidate of 1 offer)
    rule "Solvent": needs balance >= 1000 or balance is null (3 candidates of 2 offers)
    rule "Elsewhere": no candidate in its scope
Phase 2: score and rank
  score "score": formula, P^0.4 x R^0.2 x I^0.3 x E^0.1
    P propensity = customer.propensity_{offer.product_type} from 0 to 1, missing: 0.5
    R relevance = customer.balance from 0 to 5000, missing: 0.1
    I impact = offer.business_value from 0 to 100
    E emphasis = offer.priority from 0 to 100
    Gold Card: 0.92545 x (propensity_card, missing: 0.5)^0.4 \
x (scale(balance from 0 to 5000), missing: 0.1)^0.2
    Car Loan: 0.75786 x (propensity_car_loan, missing: 0.5)^0.4 \
x (scale(balance from 0 to 5000), missing: 0.1)^0.2
  rank "rank": top_n, at most 5 per customer, one per offer
Phase 3: output
  response "response": standard
Reads the customer columns age, balance, propensity_car_loan, propensity_card, sms_ok"""


def test_plan_prints_what_an_analyst_wants_to_know() -> None:
    definition = flow(
        conditions(
            leaf("offer.category", "eq", "Cards"),
            leaf("customer.age", "lt", 70),
            combinator="OR",
        ),
        node("match_creatives"),
        node("qualify"),
        score=formula(
            propensity={"field": "customer.propensity_{offer.product_type}"},
            relevance={"field": "customer.balance", "max": 5000, "default": 0.1},
        ),
    )
    definition["nodes"].append(node("response"))
    rules = with_rules(
        rule("Solvent", key=1, config=leaf("balance", "gte", 1000), on_missing="pass"),
        rule(
            "Text allowed",
            key=2,
            config=leaf("sms_ok", "eq", True),
            scope="channel",
            scope_key=2,
            priority=80,
        ),
        rule("Elsewhere", key=3, scope="offer", scope_key=99),
    )
    assert plan_text(compile_flow(definition, rules, KINDS, SETTING)) == GOLDEN


def test_scores_that_differ_by_channel_are_printed_apart() -> None:
    source = {"field": "customer.propensity_{channel.channel_type}", "default": 0}
    kinds = {"propensity_email": KINDS["balance"]}
    plan = compile_flow(flow(score=formula(propensity=source)), CATALOG, kinds, SETTING)
    assert plan_text(plan).splitlines()[-6:-2] == [
        "    E emphasis = offer.priority from 0 to 100",
        "    Gold Card in Email: 0.92545 x (propensity_email, missing: 0)^0.4",
        "    Gold Card in SMS: 0 (never recommended)",
        "    Car Loan: 0.75786 x (propensity_email, missing: 0)^0.4",
    ]


def test_plan_without_qualify_says_that_rules_are_not_applied() -> None:
    plan = compile_flow(flow(), with_rules(rule(stage="match")), KINDS, SETTING)
    assert plan.steps == ()
    assert '  qualify "(none)": no such node: the active rules (1) are not applied' in plan_text(
        plan
    )


def test_many_dropped_candidates_are_cut_short() -> None:
    offers = tuple(replace(OLD, key=key, name=f"Old {key}") for key in range(10, 20))
    plan = compile_flow(flow(), replace(CATALOG, offers=offers), KINDS, SETTING)
    assert plan_text(plan).splitlines()[3] == (
        "    drops Old 10, Old 11, Old 12, Old 13, Old 14, Old 15, Old 16, Old 17 and 2 more: "
        "status is paused"
    )


def test_why_empty_is_silent_while_there_are_candidates() -> None:
    assert compile_flow(flow(), CATALOG, KINDS, SETTING).why_empty() == ""


def test_why_empty_without_offers_or_channels() -> None:
    no_offers = compile_flow(flow(), replace(CATALOG, offers=()), KINDS, SETTING)
    no_channels = compile_flow(flow(), replace(CATALOG, channels=()), KINDS, SETTING)
    assert no_offers.why_empty() == "there are no offers"
    assert no_channels.why_empty() == "there is no batch channel to use"


def test_why_empty_names_what_dropped_them() -> None:
    catalog = Catalog((GOLD, OLD), CATALOG.channels, CATALOG.creatives)
    filters = conditions(leaf("offer.name", "eq", "Silver Card"))
    plan = compile_flow(flow(filters), catalog, KINDS, SETTING)
    why = (
        'inventory "inventory" dropped 1 (status is paused); '
        'filter "filter" dropped 2 (the condition does not hold)'
    )
    assert plan.why_empty() == why
    assert plan_text(plan).splitlines()[-1] == f"Nothing can be recommended: {why}"


def test_constant_scores_are_printed_as_scores() -> None:
    assert "    Gold Card: 0.45\n" in plan_text(compile_flow(flow(), CATALOG, KINDS, SETTING))
