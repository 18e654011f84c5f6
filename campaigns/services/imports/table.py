"""The statements that make, fill, index and describe a table of customers."""

from typing import Any

import psycopg
from django.db import IntegrityError, OperationalError, transaction
from psycopg import sql

from campaigns.services.imports.columns import Column, Layout
from executor.errors import Rejected
from executor.flow.types import Cursor, read_columns

DATA_SCHEMA = "data"


def settle_session(cursor: Cursor) -> None:
    """For this transaction: values mean the same on every server, and long work is not cut off."""
    cursor.execute(
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD';"
        " SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
        " SET LOCAL maintenance_work_mem = '256MB'"
    )


def create_table(
    cursor: Cursor, table: sql.Identifier, layout: Layout, *, temporary: bool = False
) -> None:
    """Create the empty table; its key can be neither NULL nor empty. The index comes later."""
    parts = [_column(column, layout) for column in layout.table_columns]
    if layout.key.type == "text":
        parts.append(sql.SQL("CHECK ({} <> '')").format(sql.Identifier(layout.key.name)))
    cursor.execute(
        sql.SQL("CREATE {} TABLE {} ({}){}").format(
            sql.SQL("TEMPORARY" if temporary else ""),
            table,
            sql.SQL(", ").join(parts),
            sql.SQL(" ON COMMIT DROP" if temporary else ""),
        )
    )


def type_sql(name: str) -> sql.SQL:
    """A type as SQL. `name` must come from our list of types or from `format_type`."""
    return sql.SQL(name)


def copy_rows(
    cursor: Any, table: sql.Identifier, layout: Layout, data: bytes, delimiter: str
) -> None:
    """Add clean CSV rows. Raises psycopg.DataError or IntegrityError when the server refuses one.

    Empty and not quoted is NULL; empty and quoted is NULL too except in text.
    """
    typed = [sql.Identifier(column.name) for column in layout.columns if column.type != "text"]
    nulls = sql.SQL(", FORCE_NULL ({})").format(sql.SQL(", ").join(typed)) if typed else sql.SQL("")
    statement = sql.SQL(
        "COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8', DELIMITER {}{})"
    ).format(
        table,
        sql.SQL(", ").join(sql.Identifier(column.name) for column in layout.columns),
        sql.Literal(delimiter),
        nulls,
    )
    with cursor.copy(statement) as copy:
        copy.write(data)


def restart_numbers(cursor: Cursor, table: sql.Identifier, key: str, following: int) -> None:
    """Let the next row be numbered `following`: a refused batch has used up numbers."""
    cursor.execute(
        "SELECT setval(pg_get_serial_sequence(%s, %s), %s, false)",
        (table.as_string(), key, following),
    )


def add_primary_key(cursor: Cursor, table: sql.Identifier, key: Column) -> bool:
    """Index the key; False when a key occurs twice. Raises Rejected for a key too long to index."""
    statement = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})")
    try:
        with transaction.atomic():
            cursor.execute(statement.format(table, sql.Identifier(key.name)))
    except IntegrityError:
        return False
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.ProgramLimitExceeded):
            raise Rejected(
                ("file", f'column "{key.display}" has a value too long for a key (2,700 bytes)')
            ) from error
        raise
    return True


def finish_table(cursor: Cursor, table: sql.Identifier, layout: Layout) -> None:
    """Leave a plain column of numbers, and statistics for the planner."""
    if layout.key_position is None:
        cursor.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP IDENTITY").format(
                table, sql.Identifier(layout.key.name)
            )
        )
    cursor.execute(sql.SQL("ANALYZE {}").format(table))


def count_rows(cursor: Any, table: sql.Composable) -> int:
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
    return int(cursor.fetchall()[0][0])


def describe_columns(
    cursor: Cursor, schema: str, relation: str, displays: dict[str, str]
) -> list[dict[str, object]]:
    """What `Schema.columns` keeps of a relation: name, type, kind, display name, nullable."""
    return [
        {
            "name": name,
            "type": column.pg_type.name,
            "kind": str(column.kind) if column.kind else None,
            "displayName": displays.get(name, name),
            "nullable": column.nullable,
        }
        for name, column in read_columns(cursor, schema, relation).items()
    ]


def _column(column: Column, layout: Layout) -> sql.Composed:
    parts = [sql.Identifier(column.name), type_sql(column.type)]
    if column.type == "text":
        # Bytes decide, as in conditions and files, whatever the server's locale.
        parts.append(sql.SQL('COLLATE "C"'))
    if column == layout.key:
        parts.append(sql.SQL("NOT NULL"))
        if layout.key_position is None:
            parts.append(sql.SQL("GENERATED BY DEFAULT AS IDENTITY (CACHE 1000)"))
    return sql.SQL(" ").join(parts)
