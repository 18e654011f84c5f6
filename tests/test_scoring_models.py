"""Scorecards, logistic regressions and naive Bayes, with the numbers of the documentation."""

import math
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from executor.errors import Rejected
from executor.flow.catalog import ModelFacts
from executor.flow.types import Kind
from executor.models.compile import compile_model
from executor.models.model import Contribution, Model

Json = dict[str, Any]


def model(model_type: str, config: Json | None = None, state: Json | None = None) -> Model:
    return compile_model(ModelFacts(1, "churn", model_type, config or {}, (), state or {}))


def rule(field: str, operator: str, value: object, points: float = 10, **more: Any) -> Json:
    return {"field": field, "operator": operator, "value": value, "points": points, **more}


def scorecard(*rules: Json, **config: Any) -> Model:
    return model("scorecard", {"rules": [*rules], **config})


def linear(*rules: Json) -> Model:
    """Each 10 points are worth 0.1."""
    return scorecard(*rules, baseScore=0, normalization="linear")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_documented_scorecard() -> None:
    rules = [rule("age", "gte", n, 10) for n in (18, 25, 30, 40, 99)]
    compiled = scorecard(*rules)
    assert compiled.score({"age": 45}, 1)[0] == pytest.approx(0.9168, abs=5e-5)
    assert compiled.base == 50
    parts = compiled.explain({"age": 45})
    assert parts == [Contribution("age", 45, 10.0, f"rule {n}") for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("operator", "value", "column", "holds"),
    [
        ("eq", 5, [5, 6, None], [1, 0, 0]),
        ("neq", 5, [5, 6, None], [0, 1, 0]),
        ("gt", 5, [5, 6, None], [0, 1, 0]),
        ("gte", 5.5, [5, 6, None], [0, 1, 0]),
        ("lt", 5.5, [5.0, 6.0, math.nan], [1, 0, 0]),
        ("lte", 5, [5, 6, None], [1, 0, 0]),
        ("in", [5, 7], [5, 6, None], [1, 0, 0]),
        ("not_in", [5, 7], [5, 6, None], [0, 1, 0]),
        ("contains", "sl", ["Oslo", "Rome", None], [1, 0, 0]),
        ("starts_with", "O", ["Oslo", "oslo", None], [1, 0, 0]),
        ("eq", "Oslo", ["Oslo", "oslo", ""], [1, 0, 0]),
        ("eq", True, [True, False, None], [1, 0, 0]),
        ("gte", "2026-01-01", [date(2026, 1, 1), date(2025, 1, 1), None], [1, 0, 0]),
        ("lt", "2026-01-01", [datetime(2025, 1, 1, tzinfo=UTC), None], [1, 0]),
        ("eq", 5, [None, None], [0, 0]),
    ],
)
def test_scorecard_operators(
    operator: str, value: object, column: list[Any], holds: list[int]
) -> None:
    found = linear(rule("x", operator, value)).score({"x": pl.Series(column)}, len(column))
    assert found.tolist() == [each / 10 for each in holds]


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [("contains", "b", 1), ("contains", "c", 0), ("in", ["b"], 1), ("not_in", ["b"], 0)],
)
def test_scorecard_reads_tags(operator: str, value: object, holds: int) -> None:
    compiled = linear(rule("offer.tags", operator, value))
    assert compiled.score({"offer.tags": ("a", "b")}, 2).tolist() == [holds / 10] * 2


def test_tags_have_no_order() -> None:
    with pytest.raises(Rejected, match="is a list; its operators are: contains, in, not_in"):
        linear(rule("offer.tags", "gt", "b")).score({"offer.tags": ("a",)}, 1)


def test_linear_scores_are_cut_off() -> None:
    rules = [rule("x", "eq", 1, 500), rule("x", "eq", 2, -500), rule("x", "eq", 3, 75)]
    found = scorecard(*rules, minScore=100, maxScore=200, normalization="linear")
    assert found.score({"x": pl.Series([1, 2, 3])}, 3).tolist() == [1, 0, 0.25]


def test_sigmoid_knows_no_overflow() -> None:
    found = scorecard(rule("x", "eq", 1, 1e9), rule("x", "eq", 2, -1e9))
    assert found.score({"x": pl.Series([1, 2])}, 2).tolist() == [1, 0]


def test_logistic_regression() -> None:
    compiled = model(
        "logistic_regression",
        {"missing": {"age": 40}},
        {"bias": -2, "weights": {"balance": 0.001, "age": 0.05, "vip": 1.5, "city=Oslo": 0.3}},
    )
    columns = {
        "age": pl.Series([30, None, 50, 50]),
        "balance": pl.Series([1000.0, 2000.0, None, math.nan]),
        "vip": pl.Series([True, False, True, True]),
        "city": pl.Series(["Oslo", None, "Oslo", "Oslo"]),
    }
    found = compiled.score(columns, 4)
    assert found[:2] == pytest.approx([sigmoid(2.3), sigmoid(2.0)])
    assert np.isnan(found[2:]).all()
    assert compiled.fields == ("age", "balance", "city", "vip")
    assert compiled.base == -2
    row = {"age": 30, "balance": 1000, "vip": True, "city": "Rome"}
    parts = {each.field: each.contribution for each in compiled.explain(row)}
    assert parts == pytest.approx({"age": 1.5, "balance": 1.0, "city": 0.0, "vip": 1.5})


def test_one_hot_of_numbers_and_booleans() -> None:
    weights = {"children=2": 1.0, "vip=true": 2.0, "children=": 9.0}
    state = {"bias": 0, "weights": weights}
    compiled = model("logistic_regression", {"missing": {"vip": True}}, state)
    columns = {"children": pl.Series([2, 3, None]), "vip": pl.Series([True, None, False])}
    assert compiled.score(columns, 3) == pytest.approx([sigmoid(3), sigmoid(2), 0.5])


def test_logistic_sums_in_one_order() -> None:
    weights = {f"f{n}": (-1) ** n * 10.0**n for n in range(9)}
    backwards = dict(reversed(weights.items()))
    rng = np.random.default_rng(7)
    columns = {name: pl.Series(rng.normal(size=5000)) for name in weights}
    one = model("logistic_regression", {}, {"bias": 0.1, "weights": weights})
    other = model("logistic_regression", {}, {"bias": 0.1, "weights": backwards})
    whole = one.score(columns, 5000)
    assert (whole == other.score(columns, 5000)).all()
    for start, end in ((1024, 2047), (3, 14), (777, 778)):
        part = {name: column[start:end] for name, column in columns.items()}
        assert (one.score(part, end - start) == whole[start:end]).all()


def test_endless_numbers_are_no_error() -> None:
    compiled = model("logistic_regression", {}, {"bias": 0, "weights": {"a": 1, "b": -1}})
    columns = {"a": pl.Series([math.inf, math.inf, 1e308]), "b": pl.Series([0.0, math.inf, -1e308])}
    found = compiled.score(columns, 3)
    assert found[[0, 2]].tolist() == [1, 1]
    assert math.isnan(found[1])
    nothing = model("logistic_regression", {}, {"bias": 0, "weights": {"a": 0}})
    assert math.isnan(nothing.explain({"a": math.inf})[0].contribution)


def test_predictors_that_are_not_selected_are_left_out() -> None:
    predictors = ({"field": "a", "selected": False}, {"field": "b"})
    weights = {"bias": 0, "weights": {"a": 1, "b": 1, "c": 1}}
    facts = ModelFacts(1, "m", "logistic_regression", {}, predictors, weights)
    assert compile_model(facts).fields == ("b", "c")


BAYES: Json = {
    "classCounts": {"positive": 120, "negative": 880},
    "binEdges": {"age": [30, 50]},
    "counts": {
        "age": {
            "0": {"positive": 20, "negative": 400},
            "1": {"positive": 60, "negative": 380},
            "2": {"positive": 40, "negative": 100},
        },
        "city": {
            "Oslo": {"positive": 90, "negative": 300},
            "Rome": {"positive": 30, "negative": 580},
        },
    },
}


def difference(positive: int, negative: int, size: int, alpha: float = 1) -> float:
    return math.log((positive + alpha) / (120 + alpha * size)) - math.log(
        (negative + alpha) / (880 + alpha * size)
    )


def test_naive_bayes() -> None:
    compiled = model("bayesian", {}, BAYES)
    columns = {
        "age": pl.Series([29.9, 30, 50, None, math.nan]),
        "city": pl.Series(["Oslo", "Rome", "Oslo", "Oslo", "Paris"]),
    }
    prior, oslo, rome = math.log(120 / 880), difference(90, 300, 2), difference(30, 580, 2)
    ages = [difference(20, 400, 3), difference(60, 380, 3), difference(40, 100, 3)]
    odds = [ages[0] + oslo, ages[1] + rome, ages[2] + oslo, oslo, 0]
    assert compiled.score(columns, 5) == pytest.approx([sigmoid(prior + each) for each in odds])
    assert compiled.confidence == 1
    assert compiled.base == pytest.approx(prior)
    parts = compiled.explain({"age": 29, "city": "Oslo"})
    assert [(each.field, each.value) for each in parts] == [("age", 29), ("city", "Oslo")]
    assert [each.contribution for each in parts] == pytest.approx([ages[0], oslo])


def test_smoothing_and_confidence() -> None:
    counts = {"city": {"Oslo": {"positive": 9, "negative": 1}}}
    state = {"classCounts": {"positive": 10, "negative": 30}, "counts": counts}
    compiled = model("bayesian", {"laplaceSmoothingAlpha": 0.5}, state)
    odds = math.log(10 / 30) + math.log(9.5 / 10.5) - math.log(1.5 / 30.5)
    assert compiled.score({"city": "Oslo"}, 1)[0] == pytest.approx(sigmoid(odds))
    assert compiled.confidence == pytest.approx(0.2)


def test_bins_that_nothing_was_in_say_nothing() -> None:
    counts = {"age": {"1": {"positive": 9, "negative": 1}}}
    state = {**BAYES, "counts": counts}
    found = model("bayesian", {}, state).score({"age": pl.Series([20, 60, None])}, 3)
    assert found == pytest.approx([0.12] * 3)


def test_missing_inputs_are_named() -> None:
    compiled = model(
        "logistic_regression",
        {},
        {"bias": 0, "weights": {"balanse": 1, "customer.city": 1, "offer.margin": 1}},
    )
    assert compiled.missing({"balance": Kind.NUMBER, "city": Kind.TEXT}) == [
        (
            "balanse",
            'the model "churn" needs the column "balanse", which the customers do not have; '
            'did you mean "balance"? available: balance, city',
        ),
        (
            "customer.city",
            'the model "churn" cannot use customer.city: it holds text, but a weight needs a '
            "number, or field=value for each category",
        ),
    ]
    with pytest.raises(Rejected, match="needs balanse, which is not given"):
        compiled.score({}, 1)


@pytest.mark.parametrize(
    ("operator", "value", "kind", "text"),
    [
        ("gt", "x", Kind.NUMBER, "must be a number"),
        ("gt", 1, Kind.BOOLEAN, "gt does not work on boolean"),
        ("contains", "a", Kind.INTEGER, "contains does not work on integer"),
        ("in", [1, "a"], Kind.INTEGER, 'value[1] of Adults: must be a number, got "a"'),
        ("gt", "x", Kind.DATE, "must be a date like 2026-01-31"),
    ],
)
def test_rules_that_cannot_compare(operator: str, value: object, kind: Kind, text: str) -> None:
    compiled = scorecard(rule("x", operator, value, description="Adults"))
    ((field, problem),) = compiled.missing({"x": kind})
    assert (field, text in problem) == ("x", True)


@pytest.mark.parametrize(
    ("model_type", "config", "state", "path"),
    [
        ("oracle", {}, {}, "modelType"),
        ("scorecard", {}, {}, "config.rules"),
        ("scorecard", {"rules": [rule("offer.x", "eq", 1)]}, {}, "offer.x"),
        ("scorecard", {"rules": [rule("request.x", "eq", 1)]}, {}, "request.x"),
        ("logistic_regression", {}, {"bias": 1, "weights": {"a": 1, "a=b": 1}}, None),
        (
            "logistic_regression",
            {"missing": {"b": 1}},
            {"bias": 1, "weights": {"a": 1}},
            "config.missing.b",
        ),
        (
            "logistic_regression",
            {"mising": {}},
            {"bias": 1, "weights": {"a": 1}},
            "config.mising",
        ),
        (
            "logistic_regression",
            {"missing": {"a": "x"}},
            {"bias": 1, "weights": {"a": 1}},
            "config.missing.a",
        ),
        (
            "bayesian",
            {},
            {**BAYES, "classCounts": {"positive": 0, "negative": 1}},
            "modelState.classCounts",
        ),
        ("onnx_imported", {}, {}, "artifact"),
    ],
)
def test_faults(model_type: str, config: Json, state: Json, path: str | None) -> None:
    with pytest.raises(Rejected) as caught:
        model(model_type, config, state)
    assert [place for place, _ in caught.value.errors] == [path or "modelState.weights.a"]
    assert caught.value.errors[0][1].startswith('model "churn": ')


@pytest.mark.parametrize("value", [{"a": 1}, [1], object()])
def test_inputs_are_single_values(value: object) -> None:
    compiled = model("logistic_regression", {}, {"bias": 0, "weights": {"a": 1}})
    with pytest.raises(Rejected, match="must be one value"):
        compiled.score({"a": value}, 1)


def test_numbers_of_any_size() -> None:
    compiled = model("logistic_regression", {}, {"bias": 0, "weights": {"a": 1}})
    assert compiled.score({"a": -(10**30)}, 2).tolist() == [0, 0]
    assert compiled.score({"a": pl.Series([], dtype=pl.Float64)}, 0).tolist() == []
