"""Tiny ONNX models, put together node by node."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: What onnxruntime 1.32 reads for sure.
OPSET, IR_VERSION = 17, 10


def model_bytes(graph: onnx.GraphProto, domains: Sequence[str] = ("",)) -> bytes:
    opsets = [helper.make_opsetid(domain, 3 if domain else OPSET) for domain in domains]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def linear(weights: Sequence[float] = (0.5, -0.25), bias: float = 0.1, name: str = "x") -> bytes:
    """sigmoid(x @ weights + bias), two columns: 1 - p and p."""
    column = np.array(weights, dtype=np.float32).reshape(-1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [name, "w"], ["xw"]),
            helper.make_node("Add", ["xw", "b"], ["z"]),
            helper.make_node("Sigmoid", ["z"], ["p"]),
            helper.make_node("Sub", ["one", "p"], ["q"]),
            helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
            helper.make_node("Greater", ["p", "half"], ["label"]),
        ],
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, len(weights)])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("label", TensorProto.BOOL, [None, 1]),
        ],
        [
            numpy_helper.from_array(column, "w"),
            numpy_helper.from_array(np.array([bias], dtype=np.float32), "b"),
            numpy_helper.from_array(np.array([1], dtype=np.float32), "one"),
            numpy_helper.from_array(np.array([0.5], dtype=np.float32), "half"),
        ],
    )
    return model_bytes(graph)


def typed() -> bytes:
    """An input for each field: 0.5 for city Oslo, plus age / 100, plus 0.25 for a true vip."""
    graph = helper.make_graph(
        [
            helper.make_node(
                "LabelEncoder",
                ["city"],
                ["by_city"],
                domain="ai.onnx.ml",
                keys_strings=["Oslo"],
                values_floats=[0.5],
                default_float=0.0,
            ),
            helper.make_node("Cast", ["age"], ["years"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["years", "hundred"], ["by_age"]),
            helper.make_node("Cast", ["vip"], ["is_vip"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["is_vip", "quarter"], ["by_vip"]),
            helper.make_node("Sum", ["by_city", "by_age", "by_vip"], ["score"]),
        ],
        "typed",
        [
            helper.make_tensor_value_info("city", TensorProto.STRING, [None, 1]),
            helper.make_tensor_value_info("age", TensorProto.INT64, [None, 1]),
            helper.make_tensor_value_info("vip", TensorProto.BOOL, [None, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        [
            numpy_helper.from_array(np.array([100], dtype=np.float32), "hundred"),
            numpy_helper.from_array(np.array([0.25], dtype=np.float32), "quarter"),
        ],
    )
    return model_bytes(graph, ("", "ai.onnx.ml"))


def identity(
    shape: Sequence[int | None], type_: int = TensorProto.FLOAT, output: Sequence[int | None] = ()
) -> bytes:
    """Gives back its only input, x."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", type_, shape)],
        [helper.make_tensor_value_info("y", type_, output or shape)],
    )
    return model_bytes(graph)


def endless() -> bytes:
    """Adds 0 to its input as often as 64 bits can count."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["before", "zero"], ["after"]),
        ],
        "body",
        [
            value("round", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, [None, 1]),
        ],
        [value("go_on", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, [None, 1])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)],
        "endless",
        [value("x", TensorProto.FLOAT, [None, 1])],
        [value("y", TensorProto.FLOAT, [None, 1])],
        [
            numpy_helper.from_array(np.array(2**62, dtype=np.int64), "times"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array([0], dtype=np.float32), "zero"),
        ],
    )
    return model_bytes(graph)
