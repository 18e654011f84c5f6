"""Looks into an ONNX file before anything runs it, and refuses what could reach beyond it.

Reads the wire format of protobuf as far as it must: which operators the file uses, and whether any
of its tensors lies in another file. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator, Mapping

from executor.errors import Rejected

MAX_BYTES = 64 << 20
#: Sub-graphs within sub-graphs.
MAX_DEPTH = 32
#: Domains of operators whose meaning the ONNX standard gives.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Message -> number of a field -> the message it holds.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
    "Opset": {},
}
#: Message -> number of the field with a domain of operators.
_DOMAIN = {"Opset": 1, "Node": 7}
_OP_TYPE = 4
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check_file(data: bytes) -> None:
    """Raises Rejected for a file that is too large, is no ONNX model, has operators of its own or
    refers to data outside of it."""
    if len(data) > MAX_BYTES:
        raise Rejected(f"the file has {len(data):,} bytes, at most {MAX_BYTES:,} are allowed")
    view = memoryview(data)
    has_graph = False
    for number, kind, value in _fields(view):
        has_graph |= number == 7 and kind == _BYTES and len(value) > 0
    if not has_graph:
        raise Rejected("the file is no ONNX model: it has no graph")
    waiting = [("Model", view, 0)]
    while waiting:
        message, part, depth = waiting.pop()
        if depth > 4 * MAX_DEPTH:
            raise Rejected(f"the model has graphs nested more than {MAX_DEPTH} deep")
        waiting += [(name, inner, depth + 1) for name, inner in _parts(message, part)]


def _parts(message: str, part: memoryview) -> Iterator[tuple[str, memoryview]]:
    """What lies in a message, after a look at its own fields."""
    domain = operator = ""
    for number, kind, value in _fields(part):
        if message == "Tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION):
            _refuse_external(number, value)
        if kind != _BYTES:
            continue
        if number == _DOMAIN.get(message):
            domain = _text(value)
        elif message == "Node" and number == _OP_TYPE:
            operator = _text(value)
        elif number in _INSIDE[message]:
            yield _INSIDE[message][number], value
    if domain not in DOMAINS:
        named = f"the operator {operator} of {domain}" if operator else f"operators of {domain}"
        raise Rejected(f"the model uses {named}; only standard ONNX operators are allowed")


def _refuse_external(number: int, value: memoryview) -> None:
    # 0 says that the data are inside, as does the field's absence.
    if number == _EXTERNAL_DATA or _varint(value, 0)[0] != 0:
        raise Rejected(
            "the model keeps data in another file; save it as one file "
            "(onnx.save with save_as_external_data=False)"
        )


def _fields(part: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and bytes of each field. Raises Rejected for what is no protobuf."""
    position = 0
    while position < len(part):
        tag, position = _varint(part, position)
        kind, start = tag & 7, position
        if kind == _VARINT:
            _, position = _varint(part, position)
        elif kind == _BYTES:
            size, start = _varint(part, position)
            position = start + size
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise _no_model()
        if position > len(part):
            raise _no_model()
        yield tag >> 3, kind, part[start:position]


def _varint(part: memoryview, position: int) -> tuple[int, int]:
    """The number and where it ends."""
    value = 0
    for count, byte in enumerate(part[position : position + 10]):
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value, position + count + 1
    raise _no_model()


def _text(value: memoryview) -> str:
    return bytes(value[:200]).decode(errors="replace")


def _no_model() -> Rejected:
    return Rejected("the file is no ONNX model: it cannot be read as one")
