"""The views of segments: made, replaced when their tables are, and counted."""

import json

from django.db import DataError, ProgrammingError, transaction
from psycopg import sql

from campaigns.models import Schema, Segment
from campaigns.services.segment_checks import read_view
from campaigns.services.segment_sql import View, view_sql
from executor.errors import Rejected
from executor.flow.operators import quoted
from executor.flow.types import Cursor, read_columns

VIEW_SCHEMA = "segments"
COUNTED = ("customer_count", "last_refreshed_at")


def create_view(cursor: Cursor, name: str, view: View) -> None:
    statement = sql.SQL("CREATE VIEW {} AS {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, name), view_sql(view)))


def drop_view(cursor: Cursor, name: str) -> None:
    statement = sql.SQL("DROP VIEW IF EXISTS {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, name)))


def rebuild_view(cursor: Cursor, segment: Segment, view: View) -> None:
    drop_view(cursor, segment.view_name)
    create_view(cursor, segment.view_name, view)


def is_current(cursor: Cursor, name: str, view: View) -> bool:
    """Whether the view is there with the columns that its tables have now."""
    try:
        found = read_columns(cursor, VIEW_SCHEMA, name)
    except Rejected:
        return False
    wanted = view.columns()
    return list(found) == list(wanted) and all(
        found[name].pg_type == column.pg_type for name, column in wanted.items()
    )


def count_view(cursor: Cursor, segment: Segment) -> int:
    """Count the view's rows, which are customers: no join multiplies them."""
    statement = sql.SQL("SELECT count(*), statement_timestamp() FROM {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, segment.view_name)))
    segment.customer_count, segment.last_refreshed_at = cursor.fetchall()[0]
    return int(segment.customer_count)


def drop_views(schema: Schema, cursor: Cursor) -> list[Segment]:
    """Drop the views of the segments that read `schema`, so that its table may be replaced.

    Returns the segments. The table and the segments stay locked until the transaction of `cursor`
    ends: replace the table in it and call `rebuild_views`.
    """
    table = sql.Identifier(schema.relation_schema, schema.relation_name)
    segments: list[Segment] = []
    # Views are locked before their table, as a reader does. The second look finds what was made
    # while this one waited for the table.
    for _ in range(2):
        segments = _lock_using(schema, cursor)
        for segment in segments:
            drop_view(cursor, segment.view_name)
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
    return segments


def rebuild_views(schema: Schema, cursor: Cursor) -> list[Segment]:
    """Make the views of the segments that read `schema` anew, for its table as `cursor` sees it.

    Returns the segments; `recount_segments` brings their counts up to date. Raises Rejected naming
    every segment and field that the table does not fit.
    """
    segments = _lock_using(schema, cursor)
    errors: list[tuple[str, str]] = []
    for segment in segments:
        try:
            view = read_view(cursor, segment.base_schema, segment.filters, segment.joins)
        except Rejected as error:
            errors += [
                (f"segment {quoted(segment.name)}", f"{path}: {text}")
                for path, text in error.errors
            ]
        else:
            rebuild_view(cursor, segment, view)
    if errors:
        raise Rejected.of(errors)
    return segments


def recount_segments(schema: Schema, cursor: Cursor) -> None:
    """Count the segments that read `schema` after its rows have changed.

    One that cannot be read keeps its count, and the time that it is from.
    """
    for segment in _lock_using(schema, cursor):
        try:
            with transaction.atomic():
                count_view(cursor, segment)
        except (DataError, ProgrammingError):
            continue
        segment.save(update_fields=COUNTED)


def _lock_using(schema: Schema, cursor: Cursor) -> list[Segment]:
    """The segments that read the schema as base or join, their rows locked."""
    cursor.execute(
        "SELECT id FROM campaigns_segment WHERE base_schema_id = %s OR joins @> %s::jsonb"
        " ORDER BY id FOR NO KEY UPDATE",
        (schema.pk, json.dumps([{"schemaId": schema.public_id}])),
    )
    keys = [key for (key,) in cursor.fetchall()]
    rows = Segment.unscoped.select_related("base_schema")
    return list(rows.filter(pk__in=keys).order_by("pk"))
