"""Every type, scope and stage of qualification rules, in plain examples."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from executor.errors import Rejected
from executor.flow.catalog import Evidence, ModelFacts, SegmentFacts
from executor.flow.compile import compile_flow
from executor.flow.conditions import describe
from executor.flow.inputs import Metric
from executor.flow.outcomes import OUTCOMES
from executor.flow.plan import Penalty, Plan
from executor.flow.types import Kind
from executor.flow.work import Setting
from executor.models.compile import compile_model
from kaireon import ids
from tests.flow_samples import CATALOG, KINDS, LOAN, Json, flow, formula, leaf, node, rule

#: Noon, and seven in the morning of the same day in New York.
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
COLUMNS = {**KINDS, "born": Kind.DATE, "seen": Kind.DATETIME}
VIP = SegmentFacts(1, "VIP", "seg_vip", "id")
MODEL = ModelFacts(1, "churn", "logistic_regression", {}, (), {"weights": {"age": 0.1}, "bias": -3})
ALL, CARDS = (0, 1, 2), (0, 1)


def compiled(*rules: Any, score: Json | None = None, zone: str = "UTC", **parts: Any) -> Plan:
    """The plan of a flow with these rules: 0 and 1 are the gold card, 2 the loan."""
    catalog = replace(CATALOG, rules=rules, **{"segments": (VIP,), "models": (MODEL,), **parts})
    models = {one.name: compile_model(one) for one in catalog.models}
    setting = Setting(NOW, zone, models=models)
    return compile_flow(flow(node("qualify"), score=score), catalog, COLUMNS, setting, "id")


def needs(plan: Plan) -> list[tuple[str, tuple[int, ...]]]:
    """Conditions and candidates of every step, with metrics by what they are."""
    names = {metric.name: metric.source for metric in plan.inputs.metrics}
    names |= {one.name: one.model for one in plan.derived}
    found = []
    for step in plan.steps:
        text = describe(step.condition)
        for name, told in names.items():
            text = text.replace(name, told)
        found.append((text, step.candidates))
    return found


def of_type(rule_type: str, /, on_missing: str = "fail", **config: Any) -> Any:
    return rule(rule_type=rule_type, on_missing=on_missing, config=config)


def left(plan: Plan) -> list[str]:
    return [plan.offers[one.offer].name for one in plan.candidates]


class TestSegments:
    def test_the_customer_must_be_in_all_segments(self) -> None:
        other = SegmentFacts(2, "New", "seg_new", "id")
        named = [ids.encode("Segment", 1), ids.encode("Segment", 2)]
        plan = compiled(of_type("segment_required", requiredSegments=named), segments=(VIP, other))
        assert needs(plan) == [("=segment:seg_vip = true and =segment:seg_new = true", ALL)]
        assert plan.inputs.segments == (VIP.flag, other.flag)

    def test_no_segments_ask_nothing_and_one_that_is_gone_has_nobody(self) -> None:
        assert left(compiled(of_type("segment_required"))) == ["Gold Card", "Gold Card", "Car Loan"]
        gone = [ids.encode("Segment", 1), ids.encode("Segment", 9)]
        assert left(compiled(of_type("segment_required", requiredSegments=gone))) == []

    def test_a_rule_can_concern_the_customers_of_a_segment(self) -> None:
        plan = compiled(rule(scope="segment", scope_key=1))
        assert needs(plan) == [("not (=segment:seg_vip = true) or age > 17", ALL)]
        assert compiled(rule(scope="segment", scope_key=9)).steps == ()

    def test_one_of_several_scopes_is_enough(self) -> None:
        plan = compiled(rule(scopes=(("segment", 1), ("offer", 2), ("creative", 22))))
        assert needs(plan) == [
            ("not (=segment:seg_vip = true) or age > 17", (0,)),
            ("age > 17", (1, 2)),
        ]


@pytest.mark.parametrize(
    ("config", "on_missing", "offers"),
    [
        (leaf("priority", "gt", 60), "fail", ["Gold Card", "Gold Card"]),
        (
            {"attribute": "offer.tags", "operator": "contains", "value": "new"},
            "fail",
            ["Gold Card"] * 2,
        ),
        (leaf("margin", "gt", 1), "fail", ["Car Loan"]),
        (leaf("margin", "gt", 1), "pass", ["Gold Card", "Gold Card", "Car Loan"]),
        (leaf("margin", "is_null"), "pass", ["Gold Card", "Gold Card"]),
        (
            {"combinator": "OR", "conditions": [leaf("margin", "gt", 9), leaf("weight", "lt", 60)]},
            "fail",
            ["Gold Card", "Gold Card"],
        ),
    ],
    ids=["number", "list", "missing fails", "missing passes", "asked for", "group"],
)
def test_an_offer_attribute_is_settled_at_once(
    config: Json, on_missing: str, offers: list[str]
) -> None:
    plan = compiled(of_type("offer_attribute", on_missing, **config))
    assert (left(plan), plan.steps) == (offers, ())


@pytest.mark.parametrize(
    ("config", "condition"),
    [
        ({"withinDays": 7}, "contacts <= 604800"),
        ({"olderThanDays": 1}, "contacts > 86400 or contacts is null"),
        ({"source": "impression", "withinDays": 1}, "impressions <= 86400"),
        ({"source": "outcome", "withinDays": 1}, "outcomes <= 86400"),
        ({"source": "attribute", "attribute": "born", "withinDays": 7}, "born >= 2026-03-02"),
        (
            {"source": "attribute", "attribute": "customer.seen", "olderThanDays": 1},
            "seen < 2026-03-08T12:00:00Z",
        ),
    ],
    ids=["contact", "never is older", "impression", "outcome", "date", "instant"],
)
def test_a_recency_check_looks_at_the_latest_event(config: Json, condition: str) -> None:
    assert needs(compiled(of_type("recency_check", **config))) == [(condition, ALL)]


def test_a_date_is_compared_in_the_zone_of_the_tenant() -> None:
    within = of_type("recency_check", source="attribute", attribute="born", withinDays=1)
    assert needs(compiled(within, zone="Pacific/Kiritimati")) == [("born >= 2026-03-09", ALL)]
    missing = replace(within, on_missing="pass")
    assert needs(compiled(missing)) == [("born >= 2026-03-08 or born is null", ALL)]
    assert date(2026, 3, 9) == NOW.date()


@pytest.mark.parametrize(
    ("config", "metric", "condition"),
    [
        (
            {"metric": "contacts", "operator": "lt", "threshold": 3},
            Metric("contacts"),
            "contacts < 3",
        ),
        (
            {"metric": "impressions", "operator": "gte", "threshold": 1.5, "lookbackDays": 2},
            Metric("impressions", since=datetime(2026, 3, 8, tzinfo=UTC)),
            "impressions >= 2",
        ),
        (
            {"metric": "converts", "operator": "gt", "threshold": 0},
            Metric("outcomes", outcomes=OUTCOMES["converts"]),
            "outcomes > 0",
        ),
    ],
    ids=["ever", "days", "outcomes"],
)
def test_a_metric_condition_counts(config: Json, metric: Metric, condition: str) -> None:
    plan = compiled(of_type("metric_condition", **config))
    assert (plan.inputs.metrics, needs(plan)) == ((metric,), [(condition, ALL)])


class TestPropensity:
    AT_LEAST = of_type("propensity_threshold", threshold=0.4)

    def test_a_model_is_asked_and_what_it_cannot_tell_is_missing(self) -> None:
        asked = of_type("propensity_threshold", threshold=0.4, modelKey="churn")
        assert needs(compiled(asked)) == [("churn >= 0.4", ALL)]
        assert needs(compiled(replace(asked, on_missing="pass"))) == [
            ("churn >= 0.4 or churn is null", ALL)
        ]
        with pytest.raises(Rejected, match='no active model "other"'):
            compiled(of_type("propensity_threshold", threshold=0.4, modelKey="other"))

    def test_without_a_model_the_outcomes_settle_it(self) -> None:
        assert left(compiled(self.AT_LEAST)) == ["Gold Card", "Gold Card", "Car Loan"]
        evidence = Evidence(offers=((1, 100, 20),))
        assert left(compiled(self.AT_LEAST, evidence=evidence)) == ["Car Loan"]

    @pytest.mark.parametrize(
        ("source", "condition"),
        [
            (
                {"field": "customer.propensity_{offer.product_type}"},
                "(propensity_card is null or propensity_card = nan)"
                " or (propensity_card >= 0.4 and not (propensity_card = nan))",
            ),
            (
                {"field": "customer.balance", "max": 1000, "default": 0.3},
                "not (balance is null or balance = nan)"
                " and (balance >= 400 and not (balance = nan))",
            ),
            (
                {"field": "customer.age", "min": 80, "max": 20, "default": 0},
                "not (age is null) and age < 57",
            ),
            ({"field": "customer.sms_ok", "default": 1}, "sms_ok is null or sms_ok = true"),
        ],
        ids=["as it is", "scaled", "falling", "boolean"],
    )
    def test_a_field_that_the_flow_scores_by_is_what_the_rule_looks_at(
        self, source: Json, condition: str
    ) -> None:
        plan = compiled(self.AT_LEAST, score=formula(propensity=source))
        assert condition in dict(needs(plan))

    def test_a_number_that_the_flow_scores_by_settles_it(self) -> None:
        assert left(compiled(self.AT_LEAST, score=formula(propensity=0.3))) == []
        assert len(left(compiled(self.AT_LEAST, score=formula(propensity=0.4)))) == 3


class TestMatch:
    SOFT = rule("Soft", key=5, stage="match")

    def test_failing_costs_half_unless_the_rule_says_otherwise(self) -> None:
        plan = compiled(self.SOFT)
        (penalty,) = plan.score.terms[0]
        assert isinstance(penalty, Penalty)
        assert (penalty.multiplier, penalty.rule_key) == (0.5, 5)
        assert describe(penalty.condition) == "age > 17"  # type: ignore[arg-type]
        assert plan.steps == ()
        config = {**self.SOFT.config, "fitMultiplier": 0.8}
        (penalty,) = compiled(replace(self.SOFT, config=config)).score.terms[0]
        assert isinstance(penalty, Penalty)
        assert penalty.multiplier == 0.8

    def test_what_fails_for_everybody_is_part_of_the_constant(self) -> None:
        gone = replace(self.SOFT, rule_type="segment_required")
        gone = replace(gone, config={"requiredSegments": [ids.encode("Segment", 9)]})
        plan = compiled(gone, replace(gone, key=6, scope="offer", scope_key=LOAN.key))
        assert [round(math.exp(one), 5) for one in plan.score.constants] == [0.225, 0.225, 0.125]
        assert plan.score.terms == ((), (), ())

    def test_a_rule_costs_once_however_many_nodes_apply_it(self) -> None:
        rich = leaf("customer.balance", "gt", 100)
        inside = {**node("qualify"), "id": "inside"}
        branch = node("conditional", conditions=[rich], then=[inside])
        catalog = replace(CATALOG, rules=(self.SOFT,))
        definition = flow(node("qualify"), branch)
        plan = compile_flow(definition, catalog, COLUMNS, Setting(NOW))
        (penalty,) = plan.score.terms[0]
        assert describe(penalty.condition) == (  # type: ignore[union-attr, arg-type]
            "age > 17 and (not (balance > 100) or age > 17)"
        )

    @pytest.mark.parametrize(
        ("stage", "multiplier", "message"),
        [
            ("match", 0, "must be a number from 0.1 to 1, got 0"),
            ("match", True, "must be a number from 0.1 to 1, got true"),
            ("fit", 0.5, "is only used in stage match"),
        ],
    )
    def test_a_multiplier_must_be_one(self, stage: str, multiplier: object, message: str) -> None:
        config = {**self.SOFT.config, "fitMultiplier": multiplier}
        with pytest.raises(Rejected) as caught:
            compiled(replace(self.SOFT, stage=stage, config=config))
        assert caught.value.errors == [('rules["Soft"].config.fitMultiplier', message)]


@pytest.mark.parametrize(
    ("rule_type", "config", "path", "message"),
    [
        ("segment_required", {"segments": []}, "segments", "allowed here: requiredSegments"),
        ("recency_check", {}, "withinDays", "exactly one of withinDays and olderThanDays"),
        (
            "recency_check",
            {"withinDays": 1, "source": "attribute", "attribute": "city"},
            "attribute",
            'column "city" holds text; a recency check needs a date or a time',
        ),
        ("recency_check", {"withinDays": 1, "attribute": "born"}, "attribute", "is required with"),
        (
            "metric_condition",
            {"metric": "clicks", "operator": "gt", "threshold": 1},
            "metric",
            'must be "contacts"',
        ),
        ("propensity_threshold", {"threshold": 2}, "threshold", "must be at most 1, got 2"),
    ],
)
def test_a_config_that_says_nothing_useful_is_refused(
    rule_type: str, config: Json, path: str, message: str
) -> None:
    with pytest.raises(Rejected) as caught:
        compiled(rule(rule_type=rule_type, config=config))
    ((place, text),) = caught.value.errors
    assert place == f'rules["Rule"].config.{path}'
    assert message in text
