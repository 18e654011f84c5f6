"""Puts a loaded table in the place of an older one, under the segment views that read it."""

import time
from collections.abc import Mapping
from typing import Any

from django.db import InternalError, OperationalError, transaction
from psycopg import errors as pg
from psycopg import sql

from campaigns.models import Schema
from campaigns.services.errors import Conflict
from campaigns.services.imports.table import DATA_SCHEMA
from campaigns.services.segment_views import VIEW_SCHEMA, drop_views, rebuild_views
from executor.errors import Rejected
from executor.flow.types import Column, read_columns

_ATTEMPT_MILLISECONDS = 2000
_PAUSE_SECONDS = 1.0


def refuse_other_readers(cursor: Any, schema: Schema) -> None:
    """Raise Conflict naming views on the table that are not segments: they cannot be made again."""
    cursor.execute(_OTHER_READERS, (schema.relation_schema, schema.relation_name, VIEW_SCHEMA))
    readers = [name for (name,) in cursor.fetchall()]
    if readers:
        names = ", ".join(readers)
        raise Conflict(f'"{schema.name}" is read by views of others: {names}')


def swap_tables(cursor: Any, schema: Schema, loaded: str, *, wait_seconds: float) -> None:
    """Give the table `loaded` the name, and the segment views, of the schema's table.

    Segment views are dropped first, which waits for their readers, and made again last; nothing
    stays locked for longer than two seconds while a reader holds on. Raises Conflict when readers
    do not end within `wait_seconds`, and Rejected naming each segment and column that the new
    table does not fit.
    """
    deadline = time.monotonic() + wait_seconds
    milliseconds = max(1, min(_ATTEMPT_MILLISECONDS, int(wait_seconds * 1000)))
    while not _swapped(cursor, schema, loaded, milliseconds):
        if time.monotonic() >= deadline:
            raise Conflict(
                f'"{schema.name}" was being read for all of {wait_seconds:g} seconds, so its'
                " table could not be replaced; try again later"
            )
        time.sleep(min(_PAUSE_SECONDS, wait_seconds))


def _swapped(cursor: Any, schema: Schema, loaded: str, milliseconds: int) -> bool:
    """Try once; False when a lock was not to be had."""
    try:
        with transaction.atomic():
            cursor.execute(f"SET LOCAL lock_timeout = {milliseconds}")
            before = read_columns(cursor, DATA_SCHEMA, schema.relation_name)
            drop_views(schema, cursor)
            _replace(cursor, schema.relation_name, loaded)
            _rebuild(cursor, schema, before)
            cursor.execute("SET LOCAL lock_timeout = 0")
    except OperationalError as error:
        # A deadlock with a reader, too, is over when the reader is.
        if isinstance(error.__cause__, pg.LockNotAvailable | pg.DeadlockDetected):
            return False
        raise
    except InternalError as error:
        if isinstance(error.__cause__, pg.DependentObjectsStillExist):
            detail = error.__cause__.diag.message_detail
            raise Conflict(f'"{schema.name}" is in use: {detail}') from error
        raise
    return True


def _replace(cursor: Any, relation: str, loaded: str) -> None:
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(DATA_SCHEMA, relation)))
    rename = sql.SQL("ALTER {} {} RENAME TO {}")
    for kind, ending in ((sql.SQL("TABLE"), ""), (sql.SQL("INDEX"), "_pkey")):
        source = sql.Identifier(DATA_SCHEMA, loaded + ending)
        cursor.execute(rename.format(kind, source, sql.Identifier(relation + ending)))


def _rebuild(cursor: Any, schema: Schema, before: Mapping[str, Column]) -> None:
    """Make the segments' views. Raises Rejected naming, too, the columns that are not as before."""
    try:
        rebuild_views(schema, cursor)
    except Rejected as error:
        after = read_columns(cursor, DATA_SCHEMA, schema.relation_name)
        now = {name: column.pg_type.name for name, column in after.items()}
        changes = [
            f'"{name}" was {old.pg_type.name}, is {now.get(name, "gone")}'
            for name, old in before.items()
            if now.get(name) != old.pg_type.name
        ]
        raise Rejected(*error.errors, ("columns", ", ".join(changes))) from error


_OTHER_READERS = """
SELECT DISTINCT n.nspname || '.' || v.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace place ON place.oid = c.relnamespace
JOIN pg_catalog.pg_depend d
  ON d.refobjid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.classid = 'pg_catalog.pg_rewrite'::regclass
JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
WHERE place.nspname = %s AND c.relname = %s AND n.nspname <> %s
ORDER BY 1
"""
