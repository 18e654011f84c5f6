"""Puts a loaded table in the place of an older one, under the segment views that read it.

Readers wait only for the swap itself. The views are locked before the table, as a reader does.
"""

import time
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import OperationalError, transaction
from psycopg import sql

from campaigns.models import Schema, Segment
from campaigns.services.imports.table import DATA_SCHEMA
from executor.errors import Rejected

_SEGMENTS = "segments"
_ATTEMPT_MILLISECONDS = 2000
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """A view that reads the table, and the columns it needs."""

    schema: str
    name: str
    definition: str
    columns: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def swap_tables(cursor: Any, schema: Schema, loaded: str, *, wait_seconds: float) -> None:
    """Give the table `loaded` the name, and the dependent segment views, of the schema's table.

    1. Drop the segment views, which waits for their readers. 2. Drop the old table. 3. Rename.
    4. Make the views again. While a reader holds on, nothing is locked for longer than two
    seconds at a time. Raises Rejected when readers do not end within `wait_seconds`, when a
    segment needs a column that is gone or of another type, or when something else reads the table.
    """
    check_views(cursor, schema, loaded)
    deadline = time.monotonic() + wait_seconds
    while not _swapped(cursor, schema, loaded, wait_seconds):
        if time.monotonic() >= deadline:
            raise Rejected(
                (
                    "schema",
                    f'"{schema.name}" was read all the time for {wait_seconds:g} seconds,'
                    " so its table could not be replaced. Nothing was changed; try again later",
                )
            )
        time.sleep(min(_PAUSE_SECONDS, wait_seconds))


def check_views(cursor: Any, schema: Schema, loaded: str) -> None:
    """Raise Rejected when a view cannot be made again over the table `loaded`."""
    old, new = _types(cursor, schema.relation_name), _types(cursor, loaded)
    errors = []
    for view in dependent_views(cursor, schema.relation_name):
        who = _reader(view)
        if view.schema != _SEGMENTS:
            errors.append(("schema", f"{who} reads the table: drop it first"))
            continue
        for name in view.columns:
            if name not in new:
                errors.append(("file", f'{who} needs column "{name}", which the file lacks'))
            elif new[name] != old[name]:
                errors.append(
                    ("file", f'{who} needs column "{name}" as {old[name]}, not {new[name]}')
                )
    if errors:
        raise Rejected.of(errors)


def dependent_views(cursor: Any, relation: str) -> list[View]:
    """The views that read an imported table, each after those it reads."""
    cursor.execute(_DEPENDENT_VIEWS, (DATA_SCHEMA, relation))
    return [
        View(schema, name, definition, tuple(columns))
        for schema, name, definition, columns in cursor.fetchall()
    ]


def _swapped(cursor: Any, schema: Schema, loaded: str, wait_seconds: float) -> bool:
    """Try once; False when a lock was not to be had."""
    milliseconds = max(1, min(_ATTEMPT_MILLISECONDS, int(wait_seconds * 1000)))
    try:
        with transaction.atomic():
            cursor.execute(f"SET LOCAL lock_timeout = {milliseconds}")
            _swap(cursor, schema.relation_name, loaded)
            cursor.execute("SET LOCAL lock_timeout = 0")
    except OperationalError as error:
        # A deadlock with a reader, too, is over when the reader is.
        if isinstance(
            error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected
        ):
            return False
        raise
    return True


def _swap(cursor: Any, relation: str, loaded: str) -> None:
    old = sql.Identifier(DATA_SCHEMA, relation)
    views: list[View] = []
    # A segment made meanwhile shows up in the second look, when no other can be made any more.
    for _ in range(2):
        found = dependent_views(cursor, relation)
        for view in reversed(found):
            cursor.execute(sql.SQL("DROP VIEW {}").format(view.identifier))
        views += found
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(old))
    cursor.execute(sql.SQL("DROP TABLE {}").format(old))
    rename = sql.SQL("ALTER {} {} RENAME TO {}")
    for kind, ending in ((sql.SQL("TABLE"), ""), (sql.SQL("INDEX"), "_pkey")):
        source = sql.Identifier(DATA_SCHEMA, loaded + ending)
        cursor.execute(rename.format(kind, source, sql.Identifier(relation + ending)))
    for view in views:
        definition = sql.SQL(view.definition)
        cursor.execute(sql.SQL("CREATE VIEW {} AS {}").format(view.identifier, definition))


def _types(cursor: Any, relation: str) -> dict[str, str]:
    cursor.execute(_COLUMN_TYPES, (DATA_SCHEMA, relation))
    return dict(cursor.fetchall())


def _reader(view: View) -> str:
    segment = Segment.unscoped.filter(view_name=view.name).first()
    if view.schema == _SEGMENTS and segment:
        return f'segment "{segment.name}"'
    return f"view {view.schema}.{view.name}"


_COLUMN_TYPES = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
"""

_DEPENDENT_VIEWS = """
WITH RECURSIVE base AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %s AND c.relname = %s
),
reads AS (
  SELECT DISTINCT r.ev_class AS reader, d.refobjid AS read, d.refobjsubid AS column_number
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
  WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND r.ev_class <> d.refobjid
),
found AS (
  SELECT reads.reader, 1 AS depth FROM reads JOIN base ON base.oid = reads.read
  UNION
  SELECT reads.reader, found.depth + 1 FROM reads JOIN found ON found.reader = reads.read
)
SELECT n.nspname, v.relname, pg_catalog.pg_get_viewdef(v.oid),
       ARRAY(SELECT a.attname::text
             FROM reads
             JOIN base ON base.oid = reads.read
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = reads.read AND a.attnum = reads.column_number
             WHERE reads.reader = v.oid AND reads.column_number > 0
             ORDER BY a.attnum)
FROM (SELECT reader, max(depth) AS depth FROM found GROUP BY reader) deepest
JOIN pg_catalog.pg_class v ON v.oid = deepest.reader
JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
ORDER BY deepest.depth, n.nspname, v.relname
"""
