"""Columns -> the binary format of PostgreSQL's COPY, a record type at a time, never row by row.

Rows with keys of one length and the same columns missing have one fixed layout, so they are one
packed array; they are written group after group, in the order of their keys within each.
PostgreSQL documentation, "COPY", Binary Format.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Field:
    """A fixed-width column: `code` as numpy writes it big-endian; `missing` rows are null.

    int2 is ">i2", int4 ">i4", int8 and timestamptz (microseconds since 2000) ">i8", float8 ">f8".
    """

    code: str
    values: NDArray[np.generic] | int
    missing: NDArray[np.bool_] | None = None


def encode(fields: Sequence[Field], keys: pl.Series) -> Iterator[bytes]:
    """Yield the pieces of a COPY stream: `fields` in order, then the text column `keys`.

    Key order is kept among rows of one layout; the key must not be null.
    """
    yield HEADER
    lengths = keys.str.len_bytes().to_numpy()
    nullable = [number for number, field in enumerate(fields) if field.missing is not None]
    pattern = np.zeros(len(keys), dtype=np.int64)
    for place, number in enumerate(nullable):
        pattern |= np.asarray(fields[number].missing, dtype=np.int64) << place
    layouts = (lengths.astype(np.int64) << len(nullable)) | pattern
    for layout in np.unique(layouts):
        rows = np.flatnonzero(layouts == layout)
        absent = {number for place, number in enumerate(nullable) if layout >> place & 1}
        yield _group(fields, absent, keys, rows, int(layout) >> len(nullable))
    yield TRAILER


def _group(
    fields: Sequence[Field], absent: set[int], keys: pl.Series, rows: NDArray[np.intp], length: int
) -> bytes:
    """The rows of one layout as one packed array."""
    layout = [("count", ">i2")]
    for number, field in enumerate(fields):
        layout.append((f"size{number}", ">i4"))
        if number not in absent:
            layout.append((f"value{number}", field.code))
    layout += [("size", ">i4"), ("key", f"V{length}")] if length else [("size", ">i4")]
    packed = np.empty(len(rows), dtype=np.dtype(layout))
    packed["count"] = len(fields) + 1
    for number, field in enumerate(fields):
        if number in absent:
            packed[f"size{number}"] = -1
            continue
        packed[f"size{number}"] = np.dtype(field.code).itemsize
        values = field.values
        packed[f"value{number}"] = values if isinstance(values, int) else values[rows]
    packed["size"] = length
    if length:
        text: str = keys.gather(rows).str.join("").item()
        packed["key"] = np.frombuffer(text.encode(), dtype=f"V{length}")
    return packed.tobytes()
