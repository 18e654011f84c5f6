"""Cuts a CSV stream into blocks of whole, clean records by array operations over its bytes.

What COPY would refuse or read otherwise is taken out here: rows of another width, blank lines,
bad encoding, stray quotes, mixed line ends.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaigns.services.imports.records import BadRow, Record, rewrite, scan

#: Records held as Python objects at a time.
_SLOW_RECORDS = 50_000
_QUOTE, _LF, _CR = 34, 10, 13
Positions = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """What every record must look like."""

    delimiter: str
    width: int


@dataclass(frozen=True, slots=True)
class Block:
    """The clean records at the start of a buffer. `length` bytes of the buffer are dealt with."""

    length: int
    data: bytes
    row_count: int
    bad: tuple[BadRow, ...] = ()
    #: COPY may read the buffer's own bytes.
    clean: bool = False


def next_block(buffer: bytes, line: int, shape: Shape, *, final: bool) -> Block | None:
    """Take the whole records at the start of `buffer`, which starts a record on line `line`.

    None: no record ends in it, more is needed. When `final`, the last record ends with the buffer.
    """
    whole = terminated(buffer) if final else buffer
    block = _plain_block(whole, shape) or _cut_block(whole, line, shape)
    block = block or _block_by_records(whole, line, shape, final=final)
    if block and block.length > len(buffer):
        return replace(block, length=len(buffer))
    return block


def terminated(buffer: bytes) -> bytes:
    """The buffer with its last line ended."""
    if buffer.endswith(b"\n"):
        return buffer
    windows = b"\r\n" in buffer and not buffer.endswith(b"\r")
    return buffer + (b"\r\n" if windows else b"\n")


def good_records(buffer: bytes, line: int, shape: Shape) -> list[Record]:
    """The records that a block over all of `buffer` keeps, one by one."""
    scanned = scan(terminated(buffer), shape.delimiter, line=line, final=True)
    return [record for record in scanned.records if not _fault(record, shape)]


def _fault(record: Record, shape: Shape) -> str:
    if len(record.fields) != shape.width:
        return _width_fault(len(record.fields), shape)
    if b"\0" in record.raw:
        return "it contains a NUL character"
    return "" if _is_utf8(record.raw) else "it is not valid in the file's encoding"


def _width_fault(found: int, shape: Shape) -> str:
    return f"{found} field{'s' if found > 1 else ''} instead of {shape.width}"


def _is_utf8(data: bytes) -> bool:
    return data.isascii() or _first_invalid(data, 0) < 0


def _first_invalid(data: bytes, start: int) -> int:
    """Offset of the first byte from `start` on that is no UTF-8, or -1."""
    try:
        data[start:].decode()
    except UnicodeDecodeError as error:
        return start + error.start
    return -1


def _plain_block(buffer: bytes, shape: Shape) -> Block | None:
    """The records of a buffer without quotes, when there is nothing to say about any of them."""
    stop = buffer.rfind(b"\n") + 1
    if not stop or shape.width == 1:
        return None
    data = buffer[:stop]
    separators = shape.delimiter.encode() * (shape.width - 1)
    marks = data.translate(None, _all_but(shape.delimiter))
    row_count = marks.count(b"\n")
    is_unix = marks == (separators + b"\n") * row_count
    is_windows = not is_unix and marks == (separators + b"\r\n") * row_count
    if is_windows:
        is_windows = data.count(b"\r\n") == row_count
    if not (is_unix or is_windows) or not _is_utf8(data):
        return None
    return Block(stop, data, row_count, clean=True)


@cache
def _all_but(delimiter: str) -> bytes:
    """All bytes that have no meaning for the form of a CSV file."""
    return bytes({*range(256)} - {*b'"\r\n\0', ord(delimiter)})


def _cut_block(buffer: bytes, line: int, shape: Shape) -> Block | None:
    """The block that array operations find, if need be with the stray quotes enclosed."""
    cut = _Cut.of(buffer, shape)
    if cut:
        return cut.block(line)
    mended = _mend(buffer, shape.delimiter)
    cut = _Cut.of(mended, shape) if mended != buffer else None
    if cut is None:
        return None
    block = cut.block(line)
    # Mending moves no line: the lines of the block are as many lines of the buffer.
    ends = np.flatnonzero(np.frombuffer(buffer, np.uint8) == _LF)
    bad = tuple(replace(row, raw=_lines(buffer, ends, row, line)) for row in block.bad)
    length = int(ends[mended.count(b"\n", 0, block.length) - 1]) + 1
    return replace(block, length=length, bad=bad, clean=False)


def _mend(buffer: bytes, delimiter: str) -> bytes:
    """Enclose fields that have a quote but do not start with one; or let all lines end alike."""
    if b'"' not in buffer:
        mended = buffer.replace(b"\r\n", b"\n")
        return buffer if b"\r" in mended else mended
    return _field_with_quote(delimiter).sub(_enclose, buffer)


@cache
def _field_with_quote(delimiter: str) -> re.Pattern[bytes]:
    d = re.escape(delimiter.encode())
    quoted = rb'"(?:[^"]++|"")*+"'
    plain = rb"(?<![^\n" + d + rb'])[^"\n' + d + rb']++"[^\n' + d + rb"]*+"
    return re.compile(quoted + b"|" + plain)


def _enclose(field: re.Match[bytes]) -> bytes:
    text = field[0]
    if text.startswith(b'"'):
        return text
    body = text.removesuffix(b"\r")
    return b'"' + body.replace(b'"', b'""') + b'"' + text[len(body) :]


def _lines(buffer: bytes, ends: Positions, row: BadRow, first_line: int) -> bytes:
    """The lines of the buffer that hold a bad row."""
    first = row.line - first_line
    last = first + row.raw.count(b"\n")
    start = int(ends[first - 1]) + 1 if first else 0
    return buffer[start : int(ends[last])].rstrip(b"\r\n")


def _block_by_records(buffer: bytes, line: int, shape: Shape, *, final: bool) -> Block | None:
    scanned = scan(buffer, shape.delimiter, line=line, final=final, limit=_SLOW_RECORDS)
    if not scanned.consumed:
        return None
    bad = list(scanned.bad)
    good = []
    for record in scanned.records:
        reason = _fault(record, shape)
        if reason:
            bad.append(BadRow(record.line, reason, record.raw))
        else:
            good.append(record)
    bad.sort(key=lambda row: row.line)
    data = b"".join(rewrite(good, shape.delimiter))
    return Block(scanned.consumed, data, len(good), tuple(bad))


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the records of a buffer begin and end, found without looking at each."""

    buffer: bytes
    shape: Shape
    starts: Positions
    #: Offset of the line feed that ends each record.
    ends: Positions
    widths: NDArray[np.int64]
    line_end_bytes: int

    @classmethod
    def of(cls, buffer: bytes, shape: Shape) -> "_Cut | None":
        """None when quotes or line ends are not where the standard wants them."""
        array = np.frombuffer(buffer, np.uint8)
        is_end, is_delimiter = array == _LF, array == ord(shape.delimiter)
        quotes: Positions | None = None
        inside: NDArray[Any] | None = None
        if b'"' in buffer:
            is_quote = array == _QUOTE
            inside = np.cumsum(is_quote, dtype=np.uint8) & 1
            is_end, is_delimiter = is_end > inside, is_delimiter > inside
            quotes = np.flatnonzero(is_quote)
        ends = np.flatnonzero(is_end)
        # COPY of PostgreSQL up to 17 takes a line of \\. for the end of the data.
        if not ends.size or (shape.width == 1 and b"\\." in buffer):
            return None
        stop = int(ends[-1]) + 1
        if quotes is not None and not _well_quoted(array, quotes[quotes < stop], shape):
            return None
        line_end_bytes = _line_end_bytes(array[:stop], ends, inside)
        if not line_end_bytes:
            return None
        starts = np.concatenate(([0], ends[:-1] + 1))
        before = np.searchsorted(np.flatnonzero(is_delimiter), ends)
        widths = np.diff(before, prepend=0) + 1
        return cls(buffer, shape, starts, ends, widths, line_end_bytes)

    def block(self, line: int) -> Block:
        stop = int(self.ends[-1]) + 1
        data = self.buffer[:stop]
        blank = self.ends - self.starts < self.line_end_bytes
        reasons = self._reasons(data, blank)
        dropped = sorted({*np.flatnonzero(blank).tolist(), *reasons})
        if not dropped:
            return Block(stop, data, len(self.ends), clean=True)
        kept, bad, done = [], [], 0
        for row in dropped:
            start, end = int(self.starts[row]), int(self.ends[row]) + 1
            kept.append(data[done:start])
            line += data.count(b"\n", done, start)
            if row in reasons:
                bad.append(BadRow(line, reasons[row], data[start:end].rstrip(b"\r\n")))
            line += data.count(b"\n", start, end)
            done = end
        kept.append(data[done:])
        return Block(stop, b"".join(kept), len(self.ends) - len(dropped), tuple(bad))

    def _reasons(self, data: bytes, blank: Mask) -> dict[int, str]:
        """Why rows cannot be loaded, by row."""
        wrong = np.flatnonzero((self.widths != self.shape.width) & ~blank)
        reasons = {row: _width_fault(int(self.widths[row]), self.shape) for row in wrong.tolist()}
        if b"\0" in data:
            nul = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
            for row in np.unique(np.searchsorted(self.ends, nul)).tolist():
                reasons.setdefault(row, "it contains a NUL character")
        for row in self._undecodable(data):
            reasons.setdefault(row, "it is not valid in the file's encoding")
        return reasons

    def _undecodable(self, data: bytes) -> Iterator[int]:
        invalid = -1 if data.isascii() else _first_invalid(data, 0)
        while invalid >= 0:
            row = int(np.searchsorted(self.ends, invalid))
            yield row
            invalid = _first_invalid(data, int(self.ends[row]) + 1)


def _well_quoted(array: NDArray[np.uint8], quotes: Positions, shape: Shape) -> bool:
    """Whether each opening quote starts a field and each closing one ends it; "" is a quote."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[np.maximum(opening - 1, 0)]
    starts = (before == _LF) | (before == ord(shape.delimiter)) | (opening == 0)
    starts[1:] |= opening[1:] == closing[:-1] + 1
    after = array[closing + 1]
    ends = (after == _LF) | (after == _CR) | (after == ord(shape.delimiter))
    ends[:-1] |= closing[:-1] + 1 == opening[1:]
    return bool(starts.all() and ends.all())


def _line_end_bytes(array: NDArray[np.uint8], ends: Positions, inside: NDArray[Any] | None) -> int:
    """1 for records ended by LF, 2 by CR LF, 0 when mixed or with a CR elsewhere."""
    is_return = array == _CR
    if inside is not None:
        is_return = is_return > inside[: len(array)]
    returns = int(np.count_nonzero(is_return))
    if not returns:
        return 1
    before_ends = int(np.count_nonzero(is_return[np.maximum(ends - 1, 0)]))
    return 2 if returns == before_ends == len(ends) else 0
