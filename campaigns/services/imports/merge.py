"""Adds loaded rows to an existing table of customers: all of them new, or new and changed."""

from typing import Any

from django.db import IntegrityError, transaction
from psycopg import sql

from campaigns.services.errors import Conflict
from campaigns.services.imports.columns import Layout
from executor.errors import Rejected


def append_rows(
    cursor: Any, staging: sql.Identifier, table: sql.Identifier, layout: Layout
) -> None:
    """Add all rows; numbers go on after the highest.

    Raises Rejected naming a key that the table has already.
    """
    if layout.key_position is None:
        _append_numbered(cursor, staging, table, layout)
        return
    key = sql.Identifier(layout.key.name)
    cursor.execute(
        sql.SQL(
            "SELECT {key}::text AS value, count(*) OVER ()"
            " FROM {staging} JOIN {table} USING ({key}) ORDER BY {key} LIMIT 1"
        ).format(key=key, staging=staging, table=table)
    )
    known = cursor.fetchall()
    if known:
        value, count = known[0]
        more = f"; so do {count - 1} other keys" if count > 1 else ""
        raise Rejected(("file", f'column "{layout.key.display}": "{value}" exists already{more}'))
    columns = _listed(layout)
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    try:
        with transaction.atomic():
            cursor.execute(statement.format(table, columns, columns, staging))
    except IntegrityError as error:
        raise Conflict("Another writer added one of the keys just now; try again.") from error


def upsert_rows(
    cursor: Any, staging: sql.Identifier, table: sql.Identifier, layout: Layout
) -> None:
    """Add rows with new keys and update the others; equal rows are not written again."""
    others = [sql.Identifier(c.name) for c in layout.columns if c != layout.key]
    new = sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(name) for name in others)
    old = sql.SQL(", ").join(sql.SQL("existing.{}").format(name) for name in others)
    names = sql.SQL(", ").join(others)
    update = sql.SQL(
        "UPDATE SET ({names}) = ROW({new}) WHERE ROW({old}) IS DISTINCT FROM ROW({new})"
    ).format(names=names, new=new, old=old)
    cursor.execute(
        sql.SQL(
            "INSERT INTO {table} AS existing ({columns}) SELECT {columns} FROM {staging}"
            " ON CONFLICT ({key}) DO {action}"
        ).format(
            table=table,
            columns=_listed(layout),
            staging=staging,
            key=sql.Identifier(layout.key.name),
            action=update if others else sql.SQL("NOTHING"),
        )
    )


def _append_numbered(
    cursor: Any, staging: sql.Identifier, table: sql.Identifier, layout: Layout
) -> None:
    cursor.execute(
        sql.SQL(
            "INSERT INTO {table} ({key}, {columns})"
            " SELECT {key} + (SELECT coalesce(max({key}), 0) FROM {table}), {columns}"
            " FROM {staging} ORDER BY {key}"
        ).format(
            table=table,
            key=sql.Identifier(layout.key.name),
            columns=_listed(layout),
            staging=staging,
        )
    )


def _listed(layout: Layout) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in layout.columns)
