"""Imported models: what their file may be, what they read, and that blocks never show."""

import math
import sys
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from executor.errors import Rejected
from executor.flow.catalog import ModelFacts
from executor.flow.types import Kind
from executor.models import onnx_file, onnx_model
from executor.models.compile import compile_model
from executor.models.model import Model
from executor.models.onnx_file import check_file
from executor.models.onnx_model import open_session
from tests.onnx_models import endless, identity, linear, model_bytes, typed

Json = dict[str, Any]
INPUTS = {"inputs": ["age", "balance"]}


def model(data: bytes, config: Json | None = None) -> Model:
    return compile_model(ModelFacts(1, "imported", "onnx_imported", config or {}), data)


def faults(data: bytes, config: Json | None = None) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        model(data, config)
    return caught.value.errors


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_input_with_the_fields_in_order() -> None:
    columns = {"balance": pl.Series([2, 4, None]), "age": pl.Series([1.0, 2.0, 3.0])}
    found = model(linear(), INPUTS).score(columns, 3)
    assert found[:2] == pytest.approx([sigmoid(0.1), sigmoid(0.1)], rel=1e-6)
    assert math.isnan(found[2])
    assert model(linear(), INPUTS).fields == ("age", "balance")


def test_what_stands_in_for_missing_values() -> None:
    compiled = model(linear(), {**INPUTS, "missing": {"balance": 2}})
    found = compiled.score({"age": pl.Series([1, None]), "balance": pl.Series([None, 2])}, 2)
    assert found[0] == pytest.approx(sigmoid(0.1), rel=1e-6)
    assert math.isnan(found[1])


def test_output_and_column() -> None:
    columns = {"age": 1, "balance": 2}
    for config in ({"outputColumn": 0}, {"output": "probabilities", "outputColumn": 0}):
        found = model(linear(), {**INPUTS, **config}).score(columns, 1)
        assert found[0] == pytest.approx(1 - sigmoid(0.1), rel=1e-6)


def test_an_input_for_each_field() -> None:
    columns = {
        "city": pl.Series(["Oslo", "Rome", None, "Oslo"]),
        "age": pl.Series([10, 20, 30, None]),
        "vip": pl.Series([True, False, True, True]),
    }
    found = model(typed()).score(columns, 4)
    assert found[:2] == pytest.approx([0.85, 0.2])
    assert np.isnan(found[2:]).all()
    filled = model(typed(), {"missing": {"city": "Oslo", "age": 0}}).score(columns, 4)
    assert filled == pytest.approx([0.85, 0.2, 1.0, 0.75])  # cut off at 1
    renamed = model(typed(), {"inputs": {"city": "customer.home", "age": "offer.priority"}})
    assert renamed.fields == ("customer.home", "offer.priority", "vip")
    found = renamed.score({"customer.home": "Oslo", "offer.priority": 20, "vip": False}, 3)
    assert found == pytest.approx([0.7] * 3)


def test_lists_of_one_value_a_row() -> None:
    assert model(identity([None])).score({"x": pl.Series([0.25, 0.5])}, 2).tolist() == [0.25, 0.5]


def test_blocks_never_show() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=37)
    names = [f"f{n}" for n in range(37)]
    compiled = model(linear(weights), {"inputs": names})
    rows = 98_304 // 16 + 700
    columns = {name: pl.Series(rng.normal(size=rows)) for name in names}
    whole = compiled.score(columns, rows)
    for size in (1024, 3072):
        parts = [
            compiled.score(
                {name: column[start : start + size] for name, column in columns.items()},
                min(size, rows - start),
            )
            for start in range(0, rows, size)
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_kinds() -> None:
    compiled = model(typed())
    assert compiled.missing({"city": Kind.TEXT, "age": Kind.INTEGER, "vip": Kind.BOOLEAN}) == []
    found = compiled.missing({"city": Kind.NUMBER, "age": Kind.NUMBER, "vip": Kind.INTEGER})
    assert [field for field, _ in found] == ["city", "age", "vip"]
    ((field, text),) = model(linear(), INPUTS).missing({"age": Kind.TEXT, "balance": Kind.INTEGER})
    assert (field, "the file wants a number there" in text) == ("age", True)


@pytest.mark.parametrize(
    ("config", "path", "text"),
    [
        ({}, "config.inputs", "name their fields"),
        ({"inputs": ["age"]}, "config.inputs", '"x" has 2 columns, and 1 fields are given'),
        ({"inputs": {"y": "age"}}, "config.inputs.y", "it has: x"),
        ({**INPUTS, "output": "score"}, "config.output", "it has: probabilities, label"),
        ({**INPUTS, "output": "label"}, "config.output", "is of type tensor(bool), not numbers"),
        ({**INPUTS, "outputColumn": 2}, "config.outputColumn", "has 2 columns"),
        ({**INPUTS, "missing": {"agee": 1}}, "config.missing.agee", "is no input"),
        ({**INPUTS, "missing": {"age": "x"}}, "config.missing.age", "must be a number"),
        ({"inputs": "age"}, "config.inputs", "Must be a JSON array"),
        ({"input": ["age"]}, "config.input", "Unknown key"),
    ],
)
def test_config_faults(config: Json, path: str, text: str) -> None:
    ((place, problem),) = faults(linear(), config)
    assert (place, text in problem) == (path, True), problem


def test_named_inputs_take_no_list() -> None:
    ((path, text),) = faults(typed(), {"inputs": ["city", "age", "vip"]})
    assert (path, "city, age, vip" in text) == ("config.inputs", True)
    for field, value in (("age", 0.5), ("age", 1e300), ("vip", 2)):
        ((path, text),) = faults(typed(), {"missing": {field: value}})
        assert (path, "whole number" in text) == (f"config.missing.{field}", True)
    model(typed(), {"missing": {"vip": True}})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (identity([1, 1]), "with rows left open"),
        (identity([None, 1, 1]), "must be [rows] or [rows, features]"),
        (identity([None], TensorProto.UINT8), "which is not usable"),
        (identity([None, 1], TensorProto.STRING), "not numbers"),
    ],
)
def test_shapes_and_types(data: bytes, text: str) -> None:
    assert text in faults(data)[0][1]


def test_file_without_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    open_session.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ((path, text),) = faults(linear(), INPUTS)
    assert (path, 'pip install "onnxruntime~=1.32"' in text) == ("modelType", True)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 zip", b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x07"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(Rejected, match="no ONNX model"):
        check_file(data)


def test_damaged_file() -> None:
    data = linear()
    for end in (len(data) // 2, len(data) - 3):
        assert "ONNX" in faults(data[:end], INPUTS)[0][1] or "load" in faults(data[:end])[0][1]


def test_file_has_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 100)
    with pytest.raises(Rejected, match="at most 100 are allowed"):
        check_file(linear())


def test_operators_of_others_are_refused() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    value = helper.make_tensor_value_info
    ports = [value("x", TensorProto.FLOAT, [None, 1])], [value("y", TensorProto.FLOAT, [None, 1])]
    data = model_bytes(helper.make_graph([node], "g", *ports))
    with pytest.raises(Rejected, match=r"the operator Gelu of com\.microsoft"):
        check_file(data)
    with pytest.raises(Rejected, match=r"operators of com\.evil"):
        check_file(model_bytes(onnx.ModelProto.FromString(linear()).graph, ("", "com.evil")))


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch", "location"])
def test_data_elsewhere_are_refused(place: str) -> None:
    graph = onnx.ModelProto.FromString(linear()).graph
    tensor = external(numpy_helper.from_array(np.ones(1, dtype=np.float32), "outside"))
    if place == "location":
        tensor.ClearField("external_data")
    if place in ("initializer", "location"):
        graph.initializer.append(tensor)
    elif place == "attribute":
        graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    else:
        inner = helper.make_graph([], "inner", [], [], [tensor])
        graph.node.append(
            helper.make_node("If", ["label"], ["c"], then_branch=inner, else_branch=inner)
        )
    with pytest.raises(Rejected, match="keeps data in another file"):
        check_file(model_bytes(graph))


def test_model_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "TRIAL_SECONDS", 0.2)
    assert "takes more than 0.2 seconds for 1024 rows" in faults(endless())[0][1]


def test_numbers_that_an_input_cannot_hold() -> None:
    graph = onnx.ModelProto.FromString(identity([None, 1], TensorProto.INT32)).graph
    graph.node[0].op_type = "Cast"
    graph.node[0].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    found = model(model_bytes(graph)).score({"x": pl.Series([1, 2**31, -(2**40), None])}, 4)
    assert found[0] == 1
    assert np.isnan(found[1:]).all()
    assert np.isnan(model(linear(), INPUTS).score({"age": 10**300, "balance": 10**300}, 1)).all()
