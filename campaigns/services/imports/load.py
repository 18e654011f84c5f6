"""Loads batches by COPY, and says which row was at fault when PostgreSQL refuses a batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg
from django.db import DataError, connection, transaction
from psycopg import sql

from campaigns.services.imports.badrows import BadRowFile
from campaigns.services.imports.columns import Column, Layout
from campaigns.services.imports.records import BadRow, Record, rewrite
from campaigns.services.imports.source import Batch, Progress, Source, read_ahead
from campaigns.services.imports.table import (
    copy_rows,
    create_table,
    restart_numbers,
    settle_session,
    type_sql,
)
from executor.errors import Broken, Rejected

_REFUSALS = (psycopg.DataError, psycopg.IntegrityError)
_PROBE = sql.Identifier("pg_temp", "import_probe")
_SHOWN_CHARACTERS = 80


class BatchRefused(Exception):
    """PostgreSQL refused a row of this batch; the transaction is lost."""

    def __init__(self, batch: Batch) -> None:
        super().__init__("PostgreSQL refused a batch")
        self.batch = batch


@dataclass(frozen=True, slots=True)
class Target:
    """The table to fill, and the columns of the file that fill it."""

    table: sql.Identifier
    layout: Layout


def load(
    cursor: Any, source: Source, target: Target, *, bad_rows: BadRowFile | None, progress: Progress
) -> int:
    """Add all rows of the file to the table, in order, and return how many.

    Bad rows go to `bad_rows`; without it the first one raises Rejected or BatchRefused.
    """
    loaded = 0
    for batch in read_ahead(source):
        if bad_rows is None:
            refuse(batch.bad, source.unit)
            _copy(cursor, source, target, batch)
            loaded += batch.row_count
        else:
            faults = _copy_sound(cursor, source, target, batch, loaded)
            bad_rows.write([*batch.bad, *faults])
            loaded += batch.row_count - len(faults)
        progress("load", batch.position, source.size)
    return loaded


def refuse(bad: tuple[BadRow, ...], unit: str) -> None:
    """Raise Rejected naming the first bad row, if any."""
    if bad:
        where, _, what = bad[0].sentence(unit).partition(": ")
        raise Rejected((where, what))


def explain(batch: Batch, source: Source, layout: Layout) -> Rejected:
    """Find the row that made PostgreSQL refuse the batch. To be called outside a transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        settle_session(cursor)
        fault = next(_faults(cursor, batch, source.delimiter, layout), None)
    try:
        refuse((fault,) if fault else (), source.unit)
    except Rejected as error:
        return error
    return Rejected(f"PostgreSQL refused rows near byte {batch.position}")


def duplicate(cursor: Any, source: Source, target: Target) -> Rejected:
    """Name a key that occurs more than once in the table, and its lines of the file."""
    key = target.layout.key
    cursor.execute(
        sql.SQL(
            "SELECT {key}::text AS value, count(*) OVER () FROM {table} GROUP BY {key}"
            " HAVING count(*) > 1 ORDER BY {key} LIMIT 1"
        ).format(key=sql.Identifier(key.name), table=target.table)
    )
    value, count = cursor.fetchall()[0]
    lines = _lines_of(value, source, target.layout)
    where = f" ({source.unit}s {' and '.join(map(str, lines))})" if len(lines) > 1 else ""
    more = f"; so do {count - 1} other keys" if count > 1 else ""
    return Rejected(
        ("file", f'column "{key.display}": {_shown(value)} occurs more than once{where}{more}')
    )


def _copy(cursor: Any, source: Source, target: Target, batch: Batch) -> None:
    try:
        copy_rows(cursor, target.table, target.layout, batch.data, source.delimiter)
    except _REFUSALS as error:
        raise BatchRefused(batch) from error


def _copy_sound(
    cursor: Any, source: Source, target: Target, batch: Batch, loaded: int
) -> list[BadRow]:
    """Copy the rows PostgreSQL takes and return the others."""
    try:
        with transaction.atomic():
            copy_rows(cursor, target.table, target.layout, batch.data, source.delimiter)
    except _REFUSALS:
        faults = list(_faults(cursor, batch, source.delimiter, target.layout))
    else:
        return []
    if not faults:
        raise Broken(f"PostgreSQL refused rows near byte {batch.position}, but none of them alone")
    if target.layout.key_position is None:
        restart_numbers(cursor, target.table, target.layout.key.name, loaded + 1)
    bad_lines = {fault.line for fault in faults}
    sound = [record for record in batch.records() if record.line not in bad_lines]
    data = b"".join(rewrite(sound, source.delimiter))
    copy_rows(cursor, target.table, target.layout, data, source.delimiter)
    return faults


def _faults(cursor: Any, batch: Batch, delimiter: str, layout: Layout) -> Iterator[BadRow]:
    """The rows PostgreSQL refuses, in order, found by halving the batch into a table of its own."""
    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_PROBE))
    create_table(cursor, _PROBE, layout, temporary=True)
    records = batch.records()
    lines = rewrite(records, delimiter)
    pending = [(0, len(lines))]
    while pending:
        start, stop = pending.pop()
        if start == stop or _accepts(cursor, b"".join(lines[start:stop]), layout, delimiter):
            continue
        if stop - start == 1:
            yield _fault(cursor, records[start], layout)
        else:
            middle = (start + stop) // 2
            pending += [(middle, stop), (start, middle)]


def _accepts(cursor: Any, data: bytes, layout: Layout, delimiter: str) -> bool:
    try:
        with transaction.atomic():
            copy_rows(cursor, _PROBE, layout, data, delimiter)
            transaction.set_rollback(True)
    except _REFUSALS:
        return False
    return True


def _fault(cursor: Any, record: Record, layout: Layout) -> BadRow:
    for column, field in zip(layout.columns, record.fields, strict=True):
        reason = _field_fault(cursor, column, field, is_key=column == layout.key)
        if reason:
            return BadRow(record.line, reason, record.raw, column.display)
    return BadRow(record.line, "PostgreSQL refuses this row", record.raw)


def _field_fault(cursor: Any, column: Column, field: bytes | None, *, is_key: bool) -> str:
    if not field:
        return "the key is empty" if is_key else ""
    text = field.decode()
    try:
        with transaction.atomic():
            cursor.execute(sql.SQL("SELECT %s::text::{}").format(type_sql(column.type)), (text,))
    except DataError:
        return f"{_shown(text)} is not of type {column.type}"
    return ""


def _shown(value: str) -> str:
    short = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
    return f'"{short}"'


def _lines_of(value: str, source: Source, layout: Layout) -> list[int]:
    """The first two lines with this key."""
    lines: list[int] = []
    for batch in source.batches():
        keys = pl.read_csv(
            batch.data,
            columns=[layout.key_position or 0],
            has_header=False,
            infer_schema=False,
            separator=source.delimiter,
        ).to_series()
        wanted = keys == value
        if layout.key.type != "text":
            wanted = keys.str.strip_chars().cast(pl.Int64, strict=False) == int(value)
        found = wanted.arg_true().to_list()
        if found:
            records = batch.records()
            lines += [records[at].line for at in found]
        if len(lines) > 1:
            break
    return lines[:2]
