"""CSV records one by one, with their line numbers: exact but slow, for what the fast path leaves.

A field that starts with a quote is quoted and ends with a quote; any other quote is a character.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

#: A quoted field longer than this is taken for a quote that was never closed.
MAX_RECORD_BYTES = 64 << 20

_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')


@dataclass(frozen=True, slots=True)
class Record:
    """A row: the line it starts on, its bytes, and its fields (None: empty and not quoted)."""

    line: int
    raw: bytes
    fields: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be loaded. `column` is empty when the row as a whole is at fault."""

    line: int
    reason: str
    raw: bytes
    column: str = ""

    def sentence(self, unit: str) -> str:
        """Say what is wrong and where, for people."""
        where = f'column "{self.column}": ' if self.column else ""
        return f"{unit} {self.line}: {where}{self.reason}"


@dataclass(frozen=True, slots=True)
class Scan:
    """Whole records of a piece of a file, how many bytes they take, and what is no record."""

    records: list[Record]
    bad: list[BadRow]
    consumed: int


def scan(data: bytes, delimiter: str, *, line: int = 1, final: bool, limit: int = 0) -> Scan:
    """Read the records of `data`, which starts a record on line `line`; blank lines are skipped.

    A record that may go on after `data` is left unread unless `final`. `limit` > 0 stops early.
    """
    records: list[Record] = []
    bad: list[BadRow] = []
    start = 0
    while start < len(data) and not (limit and len(records) >= limit):
        fields, end = _read_fields(data, start, _field(delimiter), final=final)
        if fields is None:
            reason = _quote_fault(data, end, final=final)
            # Only the first line is given up: the rows after it may be sound.
            end = data.find(b"\n", start) + 1
            if not reason or not (end or final):
                break
            end = end or len(data)
            bad.append(BadRow(line, reason, data[start:end].rstrip(b"\r\n")))
        elif fields != (None,):
            records.append(Record(line, data[start:end].rstrip(b"\r\n"), fields))
        line += data.count(b"\n", start, end)
        start = end
    return Scan(records, bad, start)


def rewrite(records: Iterable[Record], delimiter: str) -> list[bytes]:
    """Each record as a line of CSV in which every quote is where the standard wants it."""
    separator = delimiter.encode()
    special = re.compile(b'["\r\n' + re.escape(separator) + b"]")
    return [
        separator.join([_written(field, special) for field in record.fields]) + b"\n"
        for record in records
    ]


def _written(field: bytes | None, special: re.Pattern[bytes]) -> bytes:
    if field is None:
        return b""
    # COPY of PostgreSQL up to 17 takes a line of \. for the end of the data.
    if field and field != b"\\." and not special.search(field):
        return field
    return b'"' + field.replace(b'"', b'""') + b'"'


@cache
def _field(delimiter: str) -> re.Pattern[bytes]:
    d = re.escape(delimiter.encode())
    return re.compile(rb'(?:"((?:[^"]++|"")*+)"\r?|((?!")[^\n' + d + rb"]*+))(" + d + rb"|\n|\Z)")


def _read_fields(
    data: bytes, start: int, field: re.Pattern[bytes], *, final: bool
) -> tuple[tuple[bytes | None, ...] | None, int]:
    """Fields and end of the record, or None and where the field starts that cannot be read."""
    fields: list[bytes | None] = []
    at = start
    while True:
        match = field.match(data, at)
        if match is None or (not final and not match[3]):
            return None, at
        quoted, plain, separator = match.groups()
        at = match.end()
        last = not separator or separator == b"\n"
        if quoted is not None:
            fields.append(quoted.replace(b'""', b'"'))
        else:
            fields.append((plain.removesuffix(b"\r") if last else plain) or None)
        if last:
            return tuple(fields), at


def _quote_fault(data: bytes, at: int, *, final: bool) -> str:
    """Why no field could be read at `at`; empty when more data may complete it."""
    if data[at : at + 1] != b'"':
        return ""
    quoted = _QUOTED.match(data, at)
    if quoted is not None:
        cut_off = not final and data[quoted.end() :] in (b"", b"\r")
        return "" if cut_off else "text after a closing quote"
    if final or len(data) - at > MAX_RECORD_BYTES:
        return "a quote that is never closed"
    return ""
