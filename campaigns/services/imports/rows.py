"""Adds a few rows, given as JSON objects, to a table that an import made."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from psycopg import sql

from campaigns.models import Schema
from campaigns.services.errors import Conflict
from campaigns.services.imports.columns import ROW_NUMBER
from campaigns.services.imports.importing import lock_schema
from campaigns.services.imports.table import type_sql
from campaigns.services.segment_views import recount_segments
from campaigns.services.transactions import explained
from executor.errors import Rejected
from executor.flow.fields import did_you_mean
from executor.flow.types import Column, Cursor, read_columns

_FAULTS_TOLD = 100

Row = Mapping[str, Any]


def add_rows(schema: Schema, rows: Sequence[Row]) -> int:
    """Add the rows whose key the table has not yet, and return how many those are.

    A row names columns of the table; what it leaves out is NULL. Segments are counted anew. Raises
    Rejected naming row and column of each fault, and Conflict for a table that is not ours.
    """
    if schema.origin != Schema.Origin.IMPORTED:
        raise Conflict(f'"{schema.name}" is a registered table, which is only ever read.')
    with explained() as cursor:
        stored = lock_schema(schema)
        columns = read_columns(cursor, stored.relation_schema, stored.relation_name)
        table = sql.Identifier(stored.relation_schema, stored.relation_name)
        if stored.key_column == ROW_NUMBER and not any(ROW_NUMBER in row for row in rows):
            rows = _numbered(cursor, table, rows)
        inserted = _insert(cursor, table, columns, _checked(rows, columns, stored.key_column))
        if inserted:
            stored.row_count = (stored.row_count or 0) + inserted
            stored.save(update_fields=["row_count", "updated_at"])
            recount_segments(stored, cursor)
    return inserted


def _numbered(cursor: Cursor, table: sql.Identifier, rows: Sequence[Row]) -> list[Row]:
    """The rows with numbers that go on after the highest."""
    cursor.execute(
        sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(sql.Identifier(ROW_NUMBER), table)
    )
    highest = cursor.fetchall()[0][0]
    return [{**row, ROW_NUMBER: highest + number} for number, row in enumerate(rows, 1)]


def _insert(
    cursor: Any, table: sql.Identifier, columns: Mapping[str, Column], rows: list[Row]
) -> int:
    named = {name for row in rows for name in row}
    given = [(sql.Identifier(n), c.pg_type.name) for n, c in columns.items() if n in named]
    names = sql.SQL(", ").join(name for name, _ in given)
    typed = [sql.SQL("{} {}").format(name, type_sql(pg_type)) for name, pg_type in given]
    cursor.execute(
        sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {names}"
            " FROM jsonb_to_recordset(%s::jsonb) AS given({typed}) ON CONFLICT DO NOTHING"
        ).format(table=table, names=names, typed=sql.SQL(", ").join(typed)),
        [json.dumps(rows)],
    )
    return int(cursor.rowcount)


def _checked(rows: Sequence[Row], columns: Mapping[str, Column], key: str) -> list[Row]:
    """The rows with each value as its column takes it. Raises Rejected with the first faults."""
    faults: list[tuple[str, str]] = []
    checked = []
    for number, row in enumerate(rows):
        checked.append(_read_row(row, columns, key, f"rows[{number}]", faults))
        if len(faults) >= _FAULTS_TOLD:
            break
    if faults:
        raise Rejected.of(faults[:_FAULTS_TOLD])
    return checked


def _read_row(
    row: Row, columns: Mapping[str, Column], key: str, path: str, faults: list[tuple[str, str]]
) -> Row:
    values = {}
    for name, value in row.items():
        if name not in columns:
            hint = did_you_mean(name, columns)
            faults.append((f"{path}.{name}", f"The table has no such column{hint}."))
            continue
        try:
            values[name] = None if value is None else _read(columns[name], value)
        except Rejected as error:
            faults.append((f"{path}.{name}", str(error)))
    if row.get(key) in (None, ""):
        faults.append((f"{path}.{key}", "The key of a row is needed."))
    return values


def _read(column: Column, value: Any) -> Any:
    pg_type = column.pg_type.name
    if pg_type not in _READERS:
        raise Rejected(f"Values of type {pg_type} can only be imported from a file.")
    read, needed = _READERS[pg_type]
    found = read(value)
    if found is None:
        raise Rejected(f"Must be {needed}.")
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(bits: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = type(value) is int and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
        return value if fits else None

    return read


def _number(value: Any) -> int | float | None:
    return value if type(value) in (int, float) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any) -> str | None:
    try:
        return date.fromisoformat(value).isoformat()
    except (ValueError, TypeError):
        return None


def _moment(value: Any) -> str | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, TypeError, OverflowError):
        return None


_READERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "text": (_text, "a string"),
    "integer": (_integer(32), "an integer of 32 bits"),
    "bigint": (_integer(64), "an integer of 64 bits"),
    "double precision": (_number, "a number"),
    "numeric": (_number, "a number"),
    "boolean": (_boolean, "true or false"),
    "date": (_date, "a date such as 2026-03-22"),
    "timestamp with time zone": (_moment, "a time in ISO-8601, such as 2026-03-22T09:00:00Z"),
}
