"""An Arrow stream's record batches as frames, other threads running while the next is received.

The readers made for this hold Python's global lock while a driver waits for its server; a call
through ctypes lets go of it. The Arrow C stream and PyCapsule interfaces, Arrow documentation.
"""

import ctypes
from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Protocol

import polars as pl


class ArrowError(Exception):
    """The stream broke off: what its producer said."""


class Exporter(Protocol):
    """Whatever hands out an Arrow stream, such as a cursor's result."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class _Schema(Structure):
    _fields_ = (
        ("format", c_char_p),
        ("name", c_char_p),
        ("metadata", c_char_p),
        ("flags", c_int64),
        ("n_children", c_int64),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class _Array(Structure):
    _fields_ = (
        ("length", c_int64),
        ("null_count", c_int64),
        ("offset", c_int64),
        ("n_buffers", c_int64),
        ("n_children", c_int64),
        ("buffers", c_void_p),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class _Stream(Structure):
    pass


_Stream._fields_ = (
    ("get_schema", CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Schema))),
    ("get_next", CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Array))),
    ("get_last_error", CFUNCTYPE(c_char_p, POINTER(_Stream))),
    ("release", c_void_p),
    ("private_data", c_void_p),
)

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = (ctypes.py_object, c_char_p), c_void_p
_capsule_of = ctypes.pythonapi.PyCapsule_New
_capsule_of.argtypes, _capsule_of.restype = (c_void_p, c_char_p, c_void_p), ctypes.py_object


class _Batch:
    """One record batch on its way to whoever imports it, who then owns what it points to."""

    def __init__(self, stream: Any) -> None:
        self._schema, self._array = _Schema(), _Array()
        for code in (
            stream.get_next(byref(stream), byref(self._array)),
            stream.get_schema(byref(stream), byref(self._schema)),
        ):
            if code:
                said = stream.get_last_error(byref(stream)) or b"no reason given"
                raise ArrowError(said.decode(errors="replace"))

    def __bool__(self) -> bool:
        return bool(self._array.release)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return (
            _capsule_of(ctypes.addressof(self._schema), b"arrow_schema", None),
            _capsule_of(ctypes.addressof(self._array), b"arrow_array", None),
        )


def frames(exporter: Exporter) -> Iterator[pl.DataFrame]:
    """Yield the stream's batches. Raises ArrowError when it breaks off."""
    capsule = exporter.__arrow_c_stream__()
    stream = _Stream.from_address(_pointer_of(capsule, b"arrow_array_stream"))
    while batch := _Batch(stream):
        yield pl.DataFrame(batch)
