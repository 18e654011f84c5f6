"""Segments: made, changed, counted and dropped together with their views.

A row and its view change in one transaction; what is refused changes neither.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connection, transaction
from psycopg import errors as pg
from psycopg import sql

from campaigns.models import QualificationRule, Schema, Segment
from campaigns.services.errors import Conflict
from campaigns.services.segment_checks import read_view
from campaigns.services.segment_sql import View, view_sql
from executor.errors import Rejected
from executor.flow.operators import quoted
from executor.flow.types import Cursor, read_columns
from kaireon.access.models import Tenant

VIEW_SCHEMA = "segments"
MAX_NAME = 255
COUNTED = ("customer_count", "last_refreshed_at")
#: A run that freezes a big segment holds its view for longer; it is better to say so.
LOCK_TIMEOUT = "5s"
NAME_ONCE = "segment_name_once"


def create_segment(
    tenant: Tenant,
    *,
    name: str,
    base_schema: Schema,
    filters: object,
    joins: Sequence[Any] = (),
    description: str = "",
) -> Segment:
    """Make a segment and its view, and count it; no filters means everyone.

    Raises Rejected with every fault, each under its path, and Conflict for a name there is.
    """
    segment = Segment(
        tenant=tenant,
        name=name,
        description=description,
        base_schema=base_schema,
        filters=filters,
        joins=list(joins),
        view_name=f"seg_{secrets.token_hex(6)}",
    )
    with _changing() as cursor:
        _create_view(cursor, segment.view_name, _checked(cursor, segment))
        _count(cursor, segment)
        segment.save(force_insert=True)
    segment.refresh_from_db(fields=["created_at"])
    return segment


def update_segment(
    segment: Segment,
    *,
    name: str | None = None,
    description: str | None = None,
    filters: object = None,
    joins: Sequence[Any] | None = None,
) -> Segment:
    """Change what is given (not None) and return the segment as stored.

    New filters or joins rebuild the view and count it. Raises Rejected with every fault, and
    Conflict for a name there is or while a run reads the view.
    """
    given = {"name": name, "description": description, "filters": filters, "joins": joins}
    changes = {field: value for field, value in given.items() if value is not None}
    written = [*changes, "updated_at"]
    with _changing() as cursor:
        stored = _lock(segment)
        for field, value in changes.items():
            setattr(stored, field, value)
        if {"filters", "joins"} & changes.keys():
            _rebuild(cursor, stored, _checked(cursor, stored))
            _count(cursor, stored)
            written += COUNTED
        else:
            _reject(_text_faults(stored))
        stored.save(update_fields=written)
    return stored


def refresh_segment(segment: Segment) -> int:
    """Count the segment anew, and return how many customers it has.

    Its view is rebuilt if it is gone or its tables have other columns now. Raises Rejected when
    a table, a column or a unique key that it needs is gone.
    """
    with _changing() as cursor:
        stored = _lock(segment)
        view = read_view(cursor, stored.base_schema, stored.filters, stored.joins)
        if not _is_current(cursor, stored.view_name, view):
            _rebuild(cursor, stored, view)
        count = _count(cursor, stored)
        stored.save(update_fields=COUNTED)
    segment.customer_count, segment.last_refreshed_at = count, stored.last_refreshed_at
    return count


def drop_segment(segment: Segment) -> None:
    """Drop the segment and its view. Raises Conflict naming what still uses it."""
    with _changing() as cursor:
        stored = _lock(segment, to_delete=True)
        campaigns = stored.campaigns.order_by("name").values_list("name", flat=True)
        rules = QualificationRule.objects.of(stored.tenant_id).filter(
            scope=QualificationRule.Scope.SEGMENT, scope_key=stored.pk
        )
        users = [f"the campaign {quoted(user)}" for user in campaigns]
        users += [f"the rule {quoted(user.name)}" for user in rules.order_by("name")]
        if users:
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            raise Conflict(f'"{stored}" is used by {", ".join(users[:3])}{more}')
        _drop_view(cursor, stored.view_name)
        stored.delete()


def preview_count(
    tenant: Tenant, base_schema: Schema, filters: object, joins: Sequence[Any] = ()
) -> int:
    """Count the customers such a segment would have. Raises Rejected as `create_segment` does."""
    draft = Segment(tenant=tenant, name="preview", base_schema=base_schema)
    draft.filters, draft.joins = filters, list(joins)
    with _changing() as cursor:
        view = _checked(cursor, draft)
        cursor.execute(sql.SQL("SELECT count(*) FROM ({}) AS preview").format(view_sql(view)))
        return int(cursor.fetchall()[0][0])


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
            _drop_view(cursor, segment.view_name)
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
    return segments


def rebuild_views(schema: Schema, cursor: Cursor) -> list[Segment]:
    """Make the views of the segments that read `schema` anew, for its table as `cursor` sees it.

    Returns the segments; their counts are stale until `refresh_segment`. Raises Rejected naming
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
            _rebuild(cursor, segment, view)
    _reject(errors)
    return segments


@contextmanager
def _changing() -> Iterator[Cursor]:
    """One transaction that waits for no lock for long; what PostgreSQL refuses says why.

    Raises Conflict or Rejected in place of the database's errors that a user can act on.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            yield cursor
    except DatabaseError as error:
        cause = error.__cause__
        if isinstance(cause, pg.UniqueViolation) and cause.diag.constraint_name == NAME_ONCE:
            raise Conflict("There is a segment with this name already.") from error
        if isinstance(cause, pg.LockNotAvailable | pg.DeadlockDetected):
            busy = "The segment or its table is being read or changed; try again in a moment."
            raise Conflict(busy) from error
        if isinstance(cause, pg.DependentObjectsStillExist):
            raise Conflict(f"The view is in use: {cause.diag.message_detail}") from error
        if isinstance(cause, pg.DataError):
            raise Rejected(f"reading the customers fails: {cause.diag.message_primary}") from error
        raise


def _checked(cursor: Cursor, segment: Segment) -> View:
    """The view the segment asks for. Raises Rejected with all that is wrong with the segment."""
    faults = _text_faults(segment)
    if segment.base_schema.tenant_id != segment.tenant_id:
        _reject([*faults, ("baseSchemaId", "Is a schema of another tenant.")])
    try:
        view = read_view(cursor, segment.base_schema, segment.filters, segment.joins)
    except Rejected as error:
        raise Rejected.of([*faults, *error.errors]) from error
    _reject(faults)
    return view


def _text_faults(segment: Segment) -> list[tuple[str, str]]:
    faults = []
    if not segment.name.strip():
        faults.append(("name", "May not be blank."))
    if len(segment.name) > MAX_NAME:
        faults.append(("name", f"May have at most {MAX_NAME} characters."))
    texts = {"name": segment.name, "description": segment.description}
    faults += [
        (f, "May not contain the character NUL.") for f, text in texts.items() if "\0" in text
    ]
    return faults


def _reject(errors: list[tuple[str, str]]) -> None:
    if errors:
        raise Rejected.of(errors)


def _lock(segment: Segment, *, to_delete: bool = False) -> Segment:
    # Without "no key", campaigns that name the segment could not be saved meanwhile.
    rows = Segment.objects.of(segment.tenant_id).select_related("base_schema")
    stored: Segment = rows.select_for_update(of=("self",), no_key=not to_delete).get(pk=segment.pk)
    return stored


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


def _rebuild(cursor: Cursor, segment: Segment, view: View) -> None:
    _drop_view(cursor, segment.view_name)
    _create_view(cursor, segment.view_name, view)


def _create_view(cursor: Cursor, name: str, view: View) -> None:
    statement = sql.SQL("CREATE VIEW {} AS {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, name), view_sql(view)))


def _drop_view(cursor: Cursor, name: str) -> None:
    statement = sql.SQL("DROP VIEW IF EXISTS {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, name)))


def _is_current(cursor: Cursor, name: str, view: View) -> bool:
    """Whether the view is there with the columns that its tables have now."""
    try:
        found = read_columns(cursor, VIEW_SCHEMA, name)
    except Rejected:
        return False
    wanted = view.columns()
    return list(found) == list(wanted) and all(
        found[name].pg_type == column.pg_type for name, column in wanted.items()
    )


def _count(cursor: Cursor, segment: Segment) -> int:
    """Count the view's rows, which are customers: no join multiplies them."""
    statement = sql.SQL("SELECT count(*), statement_timestamp() FROM {}")
    cursor.execute(statement.format(sql.Identifier(VIEW_SCHEMA, segment.view_name)))
    segment.customer_count, segment.last_refreshed_at = cursor.fetchall()[0]
    return int(segment.customer_count)
