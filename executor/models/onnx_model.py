"""Imported ONNX models, run by onnxruntime on one thread in blocks of always the same size.

onnxruntime is an optional dependency, the extra `onnx`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Timer
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.flow.operators import quoted
from executor.flow.types import Kind
from executor.models.model import (
    BLOCK,
    CATEGORICAL,
    NUMERIC,
    Columns,
    Model,
    Reader,
    Scores,
    must_be,
    word_of,
)
from executor.models.onnx_file import check_file

#: What a model may take for its first block, lest a loop without an end holds up a server.
TRIAL_SECONDS = 10.0
_FLOATS: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_WHOLE: Mapping[str, type[np.generic]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_STRING = "tensor(string)"


@dataclass(frozen=True, slots=True)
class Port:
    """An input of the file and the fields that fill its columns, in order."""

    name: str
    type: str
    #: Columns of its own, or the input is a plain list of one value a row.
    has_columns: bool
    fields: tuple[str, ...]


class OnnxModel(Model):
    """Fields are those of `config.inputs`, else the names of the file's inputs."""

    def __init__(self, name: str, config: Mapping[str, Any], artifact: bytes) -> None:
        """Raises Rejected for a file that cannot be used, or not with this config."""
        self._session = open_session(artifact)
        self._ports = _ports(self._session, config.get("inputs"))
        fields = (field for port in self._ports for field in port.fields)
        super().__init__(name, tuple(dict.fromkeys(fields)))
        self._types = {field: port.type for port in self._ports for field in port.fields}
        self._output = _output(self._session, config.get("output"))
        self._column = int(config.get("outputColumn", -1))
        self._missing: Mapping[str, Any] = config.get("missing", {})
        self._check_missing()
        self._try_out()

    def score(self, columns: Columns, rows: int) -> Scores:
        reader = Reader(self, columns)
        unknown = np.zeros(rows, dtype=bool)
        values = {field: self._values(reader, field, unknown) for field in self.fields}
        scores = np.empty(rows)
        for start in range(0, rows, BLOCK):
            end = min(start + BLOCK, rows)
            feeds = [_feed(port, values, start, end) for port in self._ports]
            scores[start:end] = self._score_block(feeds)[: end - start]
        scores[unknown] = np.nan
        return np.clip(scores, 0.0, 1.0)

    def kind_fault(self, field: str, kind: Kind) -> str:
        type_ = self._types[field]
        if type_ == _STRING:
            return must_be(kind, CATEGORICAL, "the file wants text there")
        if type_ in _FLOATS:
            return must_be(kind, NUMERIC, "the file wants a number there")
        if type_ == "tensor(bool)":
            return must_be(kind, frozenset({Kind.BOOLEAN}), "the file wants true or false there")
        allowed = frozenset({Kind.INTEGER, Kind.BOOLEAN})
        return must_be(kind, allowed, "the file wants a whole number there")

    def _values(self, reader: Reader, field: str, unknown: NDArray[np.bool_]) -> NDArray[Any]:
        """The values as the file wants them; marks rows for which nothing can stand in."""
        type_, default = self._types[field], self._missing.get(field)
        if type_ in _FLOATS:
            numbers = reader.numbers(field, np.nan if default is None else float(default))
            with np.errstate(over="ignore"):
                return numbers.astype(_FLOATS[type_])
        series = reader.words(field) if type_ == _STRING else reader.checked(field)[0]
        if default is None:
            unknown |= series.is_null().to_numpy()
        if type_ == _STRING:
            filled = series.fill_null("" if default is None else word_of(default))
            return np.array(filled.to_list(), dtype=object)
        whole = series.cast(pl.Int64).fill_null(int(default or 0))
        if type_ == "tensor(int32)":
            fits = whole.is_between(-(2**31), 2**31 - 1)
            unknown |= ~fits.to_numpy()
            whole = whole.clip(-(2**31), 2**31 - 1)
        return whole.to_numpy().astype(_WHOLE[type_])

    def _check_missing(self) -> None:
        for field, value in self._missing.items():
            path = f"config.missing.{field}"
            if field not in self._types:
                raise Rejected((path, "is no input of the model"))
            if self._types[field] == _STRING:
                continue
            if isinstance(value, str):
                raise Rejected((path, "must be a number: the file wants one there"))
            if self._types[field] in _WHOLE and not _fits(value, self._types[field]):
                problem = f"must be a whole number that fits {self._types[field]}"
                raise Rejected((path, problem))

    def _try_out(self) -> None:
        """Score a block of nothing. Raises Rejected if that fails or takes too long."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        timer = Timer(TRIAL_SECONDS, setattr, (options, "terminate", True))
        timer.start()
        try:
            self._score_block([_blank(port, BLOCK) for port in self._ports], options)
        except Rejected as error:
            if not options.terminate:
                raise
            problem = f"the model takes more than {TRIAL_SECONDS} seconds for {BLOCK} rows"
            raise Rejected(problem) from error
        finally:
            timer.cancel()

    def _score_block(self, feeds: list[NDArray[Any]], options: Any = None) -> Scores:
        """The scores of 1,024 rows. Raises Rejected if the model fails or answers oddly."""
        named = {port.name: feed for port, feed in zip(self._ports, feeds, strict=True)}
        try:
            answer = self._session.run([self._output], named, options)[0]
        except _faults() as error:
            raise Rejected(f"the model fails: {_first_line(error)}") from error
        if answer.ndim == 1 and len(answer) == BLOCK:
            answer = answer.reshape(BLOCK, 1)
        if answer.ndim != 2 or len(answer) != BLOCK:
            problem = f"has the shape {list(answer.shape)} for {BLOCK} rows, not one row for each"
            raise Rejected(("config.output", f"{quoted(self._output)} {problem}"))
        if self._column >= answer.shape[1]:
            problem = f"{quoted(self._output)} has {answer.shape[1]} columns, counted from 0"
            raise Rejected(("config.outputColumn", problem))
        scores: Scores = answer[:, self._column].astype(np.float64)
        return scores


@lru_cache(maxsize=4)
def open_session(artifact: bytes) -> Any:
    """Load the file. Raises Rejected if it cannot be, or if onnxruntime is not installed."""
    check_file(artifact)
    try:
        import onnxruntime
    except ImportError as error:
        problem = 'needs onnxruntime, which is not installed: pip install "onnxruntime~=1.32"'
        raise Rejected(("modelType", problem)) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            artifact, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _faults() as error:
        raise Rejected(f"onnxruntime cannot load the file: {_first_line(error)}") from error


def _faults() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: classes without a base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [each for each in vars(state).values() if isinstance(each, type)]
    return (ValueError, RuntimeError, *(each for each in own if issubclass(each, Exception)))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _ports(session: Any, given: Any) -> tuple[Port, ...]:
    inputs = session.get_inputs()
    names = [each.name for each in inputs]
    if isinstance(given, list) and len(inputs) != 1:
        listed = ", ".join(names)
        problem = f"must be an object of fields by input: the file has the inputs {listed}"
        raise Rejected(("config.inputs", problem))
    by_name = given if isinstance(given, Mapping) else {}
    unknown = sorted(by_name.keys() - set(names))
    if unknown:
        listed = ", ".join(names)
        raise Rejected(
            (f"config.inputs.{unknown[0]}", f"is no input of the file; it has: {listed}")
        )
    fields = {names[0]: tuple(given)} if isinstance(given, list) and given else {}
    return tuple(
        _port(each, fields.get(each.name, (by_name.get(each.name, each.name),)), bool(given))
        for each in inputs
    )


def _port(each: Any, fields: tuple[str, ...], is_given: bool) -> Port:
    if each.type not in (*_FLOATS, *_WHOLE, _STRING):
        raise Rejected(f"the input {quoted(each.name)} is of type {each.type}, which is not usable")
    shape = list(each.shape)
    if len(shape) not in (1, 2) or (isinstance(shape[0], int) and shape[0] != BLOCK):
        problem = "must be [rows] or [rows, features], with rows left open"
        raise Rejected(f"the shape of the input {quoted(each.name)} is {shape}; it {problem}")
    width = shape[1] if len(shape) == 2 else 1
    if isinstance(width, int) and width != len(fields):
        problem = f"the input {quoted(each.name)} has {width} columns"
        told = f", and {len(fields)} fields are given" if is_given else "; name their fields"
        raise Rejected(("config.inputs", f"{problem}{told}"))
    return Port(each.name, each.type, len(shape) == 2, fields)


def _output(session: Any, given: str | None) -> str:
    """The name of the output with the scores: the one that is given, else the last."""
    outputs = {each.name: each.type for each in session.get_outputs()}
    if given is not None and given not in outputs:
        listed = ", ".join(outputs)
        raise Rejected(
            ("config.output", f"{quoted(given)} is no output of the file; it has: {listed}")
        )
    likely = [name for name in outputs if name in ("probabilities", "output_probability")]
    name = given or (likely or list(outputs))[-1]
    if outputs[name] not in _FLOATS:
        hint = "; convert the model with zipmap=False" if "map(" in outputs[name] else ""
        problem = f"{quoted(name)} is of type {outputs[name]}, not numbers{hint}"
        raise Rejected(("config.output", problem))
    return name


def _fits(value: float, type_: str) -> bool:
    """Whether a number can stand in an input of whole numbers, or of true and false."""
    if type_ == "tensor(bool)":
        return value in (0, 1)
    limits = np.iinfo(_WHOLE[type_])  # type: ignore[type-var]
    return value == int(value) and int(limits.min) <= int(value) <= int(limits.max)


def _blank(port: Port, rows: int) -> NDArray[Any]:
    shape = (rows, len(port.fields)) if port.has_columns else (rows,)
    if port.type == _STRING:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=_FLOATS.get(port.type) or _WHOLE[port.type])


def _feed(port: Port, values: Mapping[str, NDArray[Any]], start: int, end: int) -> NDArray[Any]:
    """The input for the rows from `start` up to `end`, filled up to a whole block."""
    feed = _blank(port, BLOCK)
    for position, field in enumerate(port.fields):
        column = values[field]
        part = column if len(column) == 1 else column[start:end]
        if port.has_columns:
            feed[: end - start, position] = part
        else:
            feed[: end - start] = part
    return feed
