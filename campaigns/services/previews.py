"""Looking at customers: some rows of a table or a segment, the count of filters not yet saved.

Rows are shown as conditions, chunks and files see them, and in values that JSON has.
"""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Model
from psycopg import sql

from campaigns.models import Schema, Segment
from campaigns.services.errors import Conflict
from campaigns.services.segment_checks import check_segment
from campaigns.services.segment_sql import view_sql
from campaigns.services.segment_views import VIEW_SCHEMA
from campaigns.services.transactions import explained
from executor.errors import Rejected
from executor.flow.types import Column, Cursor, column_sql, read_columns
from kaireon.access.models import Tenant

#: Whoever looks waits, and the database works, no longer than this.
SECONDS = 10

Row = dict[str, Any]


def preview_count(
    tenant: Tenant, base_schema: Schema, filters: object, joins: Sequence[Any] = ()
) -> int:
    """Count the customers such a segment would have. Raises Rejected as `create_segment` does."""
    draft = Segment(tenant=tenant, name="preview", base_schema=base_schema)
    draft.filters, draft.joins = filters, list(joins)
    with explained(SECONDS) as cursor:
        view = check_segment(cursor, draft)
        cursor.execute(sql.SQL("SELECT count(*) FROM ({}) AS preview").format(view_sql(view)))
        return int(cursor.fetchall()[0][0])


def sample_rows(segment: Segment, limit: int) -> list[Row]:
    """The first customers of the segment by key. Raises Conflict when its view is gone."""
    place = (VIEW_SCHEMA, segment.view_name)
    return _read(segment, place, segment.base_schema.key_column, (limit, 0))


def schema_rows(schema: Schema, limit: int, offset: int) -> list[Row]:
    """Rows of the schema's table by key. Raises Conflict when the table is gone."""
    place = (schema.relation_schema, schema.relation_name)
    return _read(schema, place, schema.key_column, (limit, offset))


def _read(owner: Model, place: tuple[str, str], key: str, page: tuple[int, int]) -> list[Row]:
    limit, offset = page
    with explained(SECONDS) as cursor:
        columns = _columns(cursor, owner, place)
        if key not in columns:
            raise Conflict(f'The {owner._meta.verbose_name} has lost its key column "{key}".')
        statement = sql.SQL("SELECT {shown} FROM {place} AS customer ORDER BY {key} {page}").format(
            shown=sql.SQL(", ").join(_shown(column) for column in columns.values()),
            place=sql.Identifier(*place),
            key=_sorted_by(columns[key]),
            page=sql.SQL("LIMIT {} OFFSET {}").format(sql.Literal(limit), sql.Literal(offset)),
        )
        cursor.execute(statement)
        return [
            dict(zip(columns, map(_plain, values), strict=True)) for values in cursor.fetchall()
        ]


def _columns(cursor: Cursor, owner: Model, place: tuple[str, str]) -> dict[str, Column]:
    try:
        return read_columns(cursor, *place)
    except Rejected as error:
        relation = "view" if place[0] == VIEW_SCHEMA else "table"
        message = f"The {relation} of the {owner._meta.verbose_name} is gone: {error}."
        raise Conflict(message) from error


def _shown(column: Column) -> sql.Composable:
    name = sql.Identifier("customer", column.name)
    if not column.supported:
        return sql.SQL("{}::text").format(name)
    return column_sql(name, column.pg_type)[0]


def _sorted_by(key: Column) -> sql.Composable:
    """The key as it is, for its index to help, unless its type has no order."""
    pg_type = key.pg_type.resolved()
    if pg_type.is_array or pg_type.name in ("json", "xml"):
        return _shown(key)
    return sql.Identifier("customer", key.name)


def _plain(value: Any) -> Any:
    """The value as JSON has it; what is no finite number is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
