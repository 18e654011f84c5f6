"""Boosted trees score as LightGBM does, whatever their size and the order of the rows."""

import math
import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from executor.errors import Rejected
from executor.flow.catalog import ModelFacts
from executor.flow.types import Kind
from executor.models import trees
from executor.models.boosted import BLOCK
from executor.models.compile import compile_model
from executor.models.model import Model
from tests.boosted_model import PREDICTED, ROWS, STATE, Json, boosted, split

STUMP = split(0, 30, -1.0, 2.0)


def model(state: Json, **config: Any) -> Model:
    return compile_model(ModelFacts(1, "boost", "gradient_boosted", config, (), state))


def sigmoid(margin: float) -> float:
    return 1 / (1 + math.exp(-margin))


def scores(state: Json, ages: list[float | None], **config: Any) -> list[float]:
    column = pl.Series(ages, dtype=pl.Float64)
    return model(state, **config).score({"age": column}, len(ages)).tolist()


def test_documented_margin() -> None:
    assert scores(boosted(0.25, split(0, 30, 1.25, -2)), [30])[0] == pytest.approx(0.8176, abs=5e-5)


def test_scores_as_lightgbm_has_predicted() -> None:
    columns = {
        name: pl.Series([row[position] for row in ROWS], dtype=pl.Float64)
        for position, name in enumerate(STATE["feature_names"])
    }
    found = model(STATE).score(columns, len(ROWS))
    assert found == pytest.approx(PREDICTED, rel=1e-14)
    renamed = {**STATE, "tree_info": STATE["trees"]}
    del renamed["trees"]
    assert (model(renamed).score(columns, len(ROWS)) == found).all()


@pytest.mark.parametrize(
    ("more", "below", "missing", "zero"),
    [
        ({}, -1, -1, -1),
        ({"missing_type": "None", "default_left": False}, -1, -1, -1),
        ({"missing_type": "NaN", "default_left": False}, -1, 2, -1),
        ({"missing_type": "NaN", "default_left": True}, -1, -1, -1),
        ({"default_left": False}, -1, 2, -1),
        ({"missing_type": "Zero", "default_left": False}, -1, 2, 2),
        ({"missing_type": "Zero", "default_left": True}, -1, -1, -1),
    ],
)
def test_missing_values(more: Json, below: float, missing: float, zero: float) -> None:
    found = scores(boosted(split(0, 30, -1.0, 2.0, **more)), [7, None, math.nan, 0, 1e-36, 31])
    wanted = [below, missing, missing, zero, zero if zero == 2 else -1, 2]
    assert found == pytest.approx([sigmoid(margin) for margin in wanted])


def test_edges_belong_to_the_left() -> None:
    ages = [30, math.nextafter(30, 31), -math.inf, math.inf]
    assert scores(boosted(STUMP), ages) == pytest.approx([sigmoid(m) for m in (-1, 2, -1, 2)])


def test_categories() -> None:
    tree = split(0, "0||3", 1.0, -1.0, "==")
    wanted = [1, -1, 1, 1, -1, -1, -1, 1]
    found = scores(boosted(tree), [0, 1, 3, 3.7, -1, None, 1e18, -0.5])
    assert found == pytest.approx([sigmoid(m) for m in wanted])
    assert scores(boosted(split(0, 2, 1.0, -1.0, "==")), [2]) == pytest.approx([sigmoid(1)])


@pytest.mark.parametrize(
    ("words", "column"),
    [
        (["a", "b"], pl.Series(["a", "b", "c", None])),
        ([10, 20], pl.Series([10, 20, 30, None])),
        ([True, False], pl.Series([True, False, None, None])),
    ],
)
def test_words_are_categories_by_their_place(words: list[Any], column: pl.Series) -> None:
    state = boosted(split(0, "0", 1.0, -1.0, "=="))
    found = model(state, categories={"age": words}).score({"age": column}, 4)
    assert found == pytest.approx([sigmoid(1), *[sigmoid(-1)] * 3])


def test_parameters_of_the_objective() -> None:
    assert scores(boosted(STUMP, objective="binary sigmoid:2"), [31]) == [sigmoid(4)]
    mean = boosted(STUMP, 1.0, average_output=True)
    assert scores(mean, [31]) == [sigmoid(1.5)]


def test_only_features_that_are_split_on_are_read() -> None:
    state = boosted(split(2, 1, 0.0, 1.0), split(0, 1, 0.0, 1.0), names=("a", "b", "c"))
    assert model(state).fields == ("a", "c")
    assert model(boosted(0.5)).fields == ()
    assert model(boosted(0.5)).score({}, 2).tolist() == [sigmoid(0.5)] * 2


def test_one_value_for_all_rows() -> None:
    state = boosted(split(0, 30, split(1, 5, 1.0, 2.0), 3.0), names=("age", "offer.priority"))
    column = pl.Series([20, 40])
    found = model(state).score({"age": column, "offer.priority": 9}, 2)
    assert found.tolist() == [sigmoid(2), sigmoid(3)]


def walk(node: Json, row: list[float]) -> float:
    """One row through one tree, split by split."""
    while "leaf_value" not in node:
        value = row[node["split_feature"]]
        is_left = value <= node["threshold"]
        if math.isnan(value):
            is_left = node["default_left"]
        node = node["left_child" if is_left else "right_child"]
    return float(node["leaf_value"])


def grow(rng: random.Random, leaves: int) -> Json | float:
    if leaves == 1:
        return rng.uniform(-1, 1)
    left = rng.randint(1, leaves - 1)
    more = {"missing_type": "NaN", "default_left": rng.random() < 0.5}
    parts = grow(rng, left), grow(rng, leaves - left)
    return split(rng.randrange(3), rng.randint(0, 20), *parts, "<=", **more)


@pytest.mark.parametrize("leaves", [2, 31, 64, 65, 150])
def test_trees_of_any_size(leaves: int) -> None:
    rng = random.Random(leaves)
    while True:
        try:
            state = boosted(*(grow(rng, leaves) for _ in range(5)), names=("a", "b", "c"))
            compiled = model(state)
        except Rejected:  # too deep: another one
            continue
        break
    rows = [
        [math.nan if rng.random() < 0.1 else rng.randint(-1, 21) for _ in range(3)]
        for _ in range(BLOCK + 100)
    ]
    wanted = [sum(walk(tree["tree_structure"], row) for tree in state["trees"]) for row in rows]
    columns = {
        name: pl.Series([row[position] for row in rows], dtype=pl.Float64)
        for position, name in enumerate("abc")
    }
    found = compiled.score(columns, len(rows))
    assert found == pytest.approx([sigmoid(margin) for margin in wanted], rel=1e-12)
    part = {name: column[1000:1777] for name, column in columns.items()}
    assert (compiled.score(part, 777) == found[1000:1777]).all()


@pytest.mark.parametrize(
    ("state", "config", "path"),
    [
        (boosted(STUMP, split(0, "1", 0.0, 1.0, "==")), {}, "modelState.feature_names[0]"),
        (boosted(STUMP, objective="regression"), {}, "modelState.objective"),
        (boosted(STUMP, objective="binary sigmoid:0"), {}, "modelState.objective"),
        (boosted(STUMP), {"categories": {"ages": ["a"]}}, "config.categories.ages"),
        (boosted(STUMP), {"missing": {}}, "config.missing"),
        (boosted(STUMP), {"categories": {"age": "a"}}, "config.categories.age"),
        (boosted(STUMP), {"categories": {"age": ["1", 1]}}, "config.categories.age"),
        (boosted(split(0, 1, 0.0, 1.0, missing_type="nan")), {}, None),
    ],
)
def test_faults(state: Json, config: Json, path: str | None) -> None:
    with pytest.raises(Rejected) as caught:
        model(state, **config)
    path = path or "modelState.trees[0].tree_structure.missing_type"
    assert [place for place, _ in caught.value.errors] == [path]
    assert caught.value.errors[0][1].startswith('model "boost": ')


def test_tables_have_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_TABLE_BYTES", 31)
    with pytest.raises(Rejected, match="import the model as ONNX instead"):
        model(boosted(STUMP))


def test_kinds() -> None:
    compiled = model(boosted(STUMP))
    assert compiled.missing({"age": Kind.INTEGER}) == []
    ((field, text),) = compiled.missing({"age": Kind.TEXT})
    assert (field, "config.categories" in text) == ("age", True)
    with pytest.raises(Rejected, match=r"config\.categories"):
        compiled.score({"age": pl.Series(["a"])}, 1)
    assert compiled.score({"age": pl.Series([True])}, 1)[0] == pytest.approx(sigmoid(-1))
    assert np.isfinite(compiled.score({"age": None}, 1)[0])
