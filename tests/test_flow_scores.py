"""Scores: the constants of each candidate, and the terms that read columns."""

import math
from dataclasses import replace

import pytest

from executor.errors import Rejected
from executor.flow.catalog import Catalog, OfferFacts
from executor.flow.compile import compile_flow
from executor.flow.plan import Plan, Term
from executor.flow.types import Kind
from tests.flow_samples import (
    CATALOG,
    EMAIL,
    GOLD,
    KINDS,
    LOAN,
    OLD,
    SETTING,
    Json,
    flow,
    formula,
    node,
)


def compiled(definition: Json, catalog: Catalog = CATALOG) -> Plan:
    return compile_flow(definition, catalog, KINDS, SETTING)


def faults(definition: Json, catalog: Catalog = CATALOG) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        compile_flow(definition, catalog, KINDS, SETTING)
    return caught.value.errors


def test_priority_weighted_is_priority_times_weight() -> None:
    nothing = OfferFacts(9, "Nothing", priority=0)
    catalog = Catalog((GOLD, LOAN, nothing), (EMAIL,))
    plan = compiled(flow(node("match_creatives", requireCreative=False)), catalog)
    gold, loan, zero = plan.score.constants
    assert (math.exp(gold), math.exp(loan), zero) == pytest.approx((0.45, 0.5, -math.inf))
    assert plan.score.terms == ((), (), ())


@pytest.mark.parametrize(
    ("factors", "score"),
    [
        # 0.8^0.4 x 0.5^0.2 x 0.6^0.3 x 0.7^0.1
        ({"propensity": 0.8, "relevance": 0.5, "impact": 0.6, "emphasis": 0.7}, 0.65915),
        ({"propensity": 0.5, "relevance": 0.5, "impact": 0.5, "emphasis": 0.5}, 0.5),
        ({"propensity": 1, "relevance": 0, "impact": 1, "emphasis": 1}, 0.0),
        # 0.5^0.4 x 1^0.2 x 0.8^0.3 x 0.9^0.1
        ({}, 0.70136),
        # 80 from 100 down to 60: half way.
        ({"impact": {"field": "offer.business_value", "min": 100, "max": 60}}, 0.60912),
        ({"impact": {"field": "offer.margin", "default": 0.8}}, 0.70136),
        # 12.5 is beyond 10: 0.5^0.4 x 0.9^0.1
        ({"impact": {"field": "offer.metadata.fee", "max": 10, "default": 0}}, 0.74992),
    ],
    ids=["documented", "halves", "zero", "defaults", "falling", "default", "cut off"],
)
def test_formula_of_constants(factors: Json, score: float) -> None:
    plan = compiled(flow(score=formula(**factors)))
    assert round(math.exp(plan.score.constants[0]), 5) == score
    assert plan.score.terms == ((), (), ())


def test_factor_of_zero_is_minus_infinity_unless_its_weight_is_zero() -> None:
    weights = {"propensityWeight": 0.6, "relevanceWeight": 0}
    zero = compiled(flow(score=formula(relevance=0)))
    left_out = compiled(flow(score=formula(formula=weights, relevance=0)))
    assert zero.score.constants[0] == -math.inf
    assert round(math.exp(left_out.score.constants[0]), 5) == 0.61057


def test_columns_become_terms_that_candidates_share() -> None:
    factors = {
        "propensity": {"field": "customer.propensity_{offer.product_type}"},
        "relevance": {"field": "customer.sms_ok", "default": 1},
        "emphasis": {"field": "customer.age", "min": 80, "max": 20, "default": 0},
    }
    plan = compiled(flow(score=formula(**factors)))
    shared = (
        Term("sms_ok", 0, 1, 0.2, 1.0),
        Term("age", 80, 20, 0.1, 0.0),
    )
    card, card_by_sms, loan = plan.score.terms
    assert card == (Term("propensity_card", 0, 1, 0.4, 0.5), *shared)
    assert loan == (Term("propensity_car_loan", 0, 1, 0.4, 0.5), *shared)
    assert card is card_by_sms
    assert plan.columns == {"propensity_card", "propensity_car_loan", "sms_ok", "age"}


def test_placeholder_takes_the_exact_name_first() -> None:
    kinds = {**KINDS, "propensity_Car Loan": Kind.NUMBER, "p_1_sms": Kind.NUMBER}
    exact = formula(propensity={"field": "customer.propensity_{offer.product_type}"})
    plan = compile_flow(flow(score=exact), CATALOG, kinds, SETTING)
    assert plan.score.terms[2][0].column == "propensity_Car Loan"
    both = formula(
        propensity={
            "field": "customer.p_{offer.metadata.n}_{channel.channel_type}",
            "default": 0.25,
        }
    )
    catalog = replace(CATALOG, offers=(replace(GOLD, metadata={"n": 1}), LOAN))
    plan = compile_flow(flow(score=both), catalog, kinds, SETTING)
    assert [[term.column for term in terms] for terms in plan.score.terms] == [[], ["p_1_sms"], []]
    assert round(math.exp(plan.score.constants[2]), 5) == 0.43528


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"field": "customer.propensty"},
            'the customers have no column "propensty"; '
            'did you mean "propensity_card" or "propensity_car_loan"? available: '
            "age, balance, city, propensity_car_loan, propensity_card, sms_ok",
        ),
        (
            {"field": "customer.city"},
            'column "city" holds text; a factor needs a number or boolean',
        ),
        (
            {"field": "offer.metadata.tier"},
            'offer "Gold Card" has offer.metadata.tier = "gold", which is not a number',
        ),
    ],
    ids=["no column", "text column", "text attribute"],
)
def test_source_that_cannot_be_read_is_refused(source: Json, message: str) -> None:
    path = "nodes[1].config.propensity.field"
    assert faults(flow(score=formula(propensity=source)))[0] == (path, message)


def test_missing_offer_value_without_default_names_the_offer() -> None:
    assert faults(flow(score=formula(impact={"field": "offer.margin", "max": 10}))) == [
        (
            "nodes[1].config.impact.field",
            'offer "Gold Card" has no offer.margin; fill it in, or give a default',
        )
    ]


def test_missing_column_of_an_offer_is_named_once() -> None:
    catalog = replace(CATALOG, offers=(replace(GOLD, product_type="cash"), LOAN, OLD))
    source = {"field": "customer.propensity_{offer.product_type}"}
    ((_, message),) = faults(flow(score=formula(propensity=source)), catalog)
    assert message.startswith('offer "Gold Card": the customers have no column "propensity_cash"')
    assert message.endswith("; or give a default for such offers")
    nameless = replace(CATALOG, offers=(replace(GOLD, product_type=""),))
    ((_, message),) = faults(flow(score=formula(propensity=source)), nameless)
    assert message == (
        'offer "Gold Card": offer.product_type is null, not text or a whole number; '
        "or give a default for such offers"
    )
