"""A CSV file as a source of customers: read twice, the second time without looking again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from campaigns.services.imports.blocks import (
    Block,
    Shape,
    good_records,
    next_block,
    terminated,
)
from campaigns.services.imports.records import MAX_RECORD_BYTES, scan
from campaigns.services.imports.sniff import SAMPLE_BYTES, sniff_delimiter, sniff_encoding
from campaigns.services.imports.source import Batch
from campaigns.services.imports.stream import PIECE_BYTES, Utf8Stream
from executor.errors import Rejected

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class _Span:
    """A block of the file as the first reading found it."""

    length: int
    line: int
    row_count: int
    clean: bool


@dataclass(slots=True)
class CsvFile:
    """A delimited text file with a header."""

    path: Path
    encoding: str
    delimiter: str
    headers: tuple[str, ...]
    #: Bytes of the stream that hold the header, and the line after it.
    header_length: int
    first_line: int
    old_mac_lines: bool
    size: int
    modified: int
    unit: str = "line"
    piece_bytes: int = PIECE_BYTES
    _spans: list[_Span] = field(default_factory=list)
    _known: bool = False

    @classmethod
    def open(cls, path: Path, *, delimiter: str = "", encoding: str = "") -> "CsvFile":
        """Read the header; what is not given is found out.

        Raises Rejected for an empty file, or for one that is not text.
        """
        status = path.stat()
        if not status.st_size:
            raise Rejected(("file", f"{path} is empty"))
        encoding = encoding or sniff_encoding(path)
        with Utf8Stream(path, encoding) as stream:
            sample = stream.take(SAMPLE_BYTES)
        old_mac_lines = b"\r" in sample and b"\n" not in sample
        if old_mac_lines:
            sample = sample.replace(b"\r", b"\n")
        delimiter = delimiter or sniff_delimiter(sample)
        first = scan(sample, delimiter, final=True, limit=1)
        if first.bad or not first.records:
            raise Rejected(("file", f"{path} does not start with a line of column names"))
        header = first.records[0]
        return cls(
            path,
            encoding,
            delimiter,
            tuple((name or b"").decode(errors="replace").strip() for name in header.fields),
            header_length=first.consumed,
            first_line=1 + sample.count(b"\n", 0, first.consumed),
            old_mac_lines=old_mac_lines,
            size=status.st_size,
            modified=status.st_mtime_ns,
        )

    @property
    def declared(self) -> Mapping[int, str]:
        return {}

    @property
    def shape(self) -> Shape:
        return Shape(self.delimiter, len(self.headers))

    @property
    def description(self) -> str:
        return f"{self.encoding}, {_NAMES.get(self.delimiter, repr(self.delimiter))}-separated"

    def batches(self) -> Iterator[Batch]:
        """Read the rows in file order. Raises Rejected when the file changes meanwhile."""
        with Utf8Stream(self.path, self.encoding, old_mac_lines=self.old_mac_lines) as stream:
            stream.take(self.header_length)
            yield from self._again(stream) if self._known else self._first_time(stream)
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            raise Rejected(("file", f"{self.path} changed while it was read"))
        self._known = True

    def _first_time(self, stream: Utf8Stream) -> Iterator[Batch]:
        self._spans.clear()
        line, buffer, size = self.first_line, b"", self.piece_bytes
        while True:
            wanted = max(size - len(buffer), 0)
            piece = stream.take(wanted)
            final = len(piece) < wanted
            buffer += piece
            if not buffer:
                return
            block = next_block(buffer, line, self.shape, final=final)
            if block is None:
                size = _more(size, line)
                continue
            self._spans.append(_Span(block.length, line, block.row_count, block.clean))
            raw, buffer = buffer[: block.length], buffer[block.length :]
            size = self.piece_bytes
            yield self._batch(raw, line, block, stream.position)
            line += raw.count(b"\n")

    def _again(self, stream: Utf8Stream) -> Iterator[Batch]:
        for span in self._spans:
            raw = stream.take(span.length)
            if span.clean:
                block = Block(len(raw), terminated(raw), span.row_count, clean=True)
                yield self._batch(raw, span.line, block, stream.position)
            else:
                yield from self._cut_again(raw, span, stream.position)

    def _cut_again(self, raw: bytes, span: _Span, position: int) -> Iterator[Batch]:
        line, row_count = span.line, 0
        while block := next_block(raw, line, self.shape, final=True) if raw else None:
            yield self._batch(raw[: block.length], line, block, position)
            row_count += block.row_count
            line += raw.count(b"\n", 0, block.length)
            raw = raw[block.length :]
        if row_count != span.row_count:
            raise Rejected(("file", f"{self.path} changed while it was read"))

    def _batch(self, raw: bytes, line: int, block: Block, position: int) -> Batch:
        records = partial(good_records, raw, line, self.shape)
        return Batch(block.data, block.bad, block.row_count, min(position, self.size), records)


def _more(size: int, line: int) -> int:
    """The next buffer size for a record that does not end; Rejected when it is far too long."""
    if size > MAX_RECORD_BYTES:
        raise Rejected((f"line {line}", f"a row longer than {MAX_RECORD_BYTES >> 20} MB"))
    return size * 2
