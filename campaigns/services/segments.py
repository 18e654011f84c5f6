"""Segments: made, changed, counted and dropped together with their views.

A row and its view change in one transaction; what is refused changes neither.
"""

import secrets
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from campaigns.models import QualificationRule, Schema, Segment, Status
from campaigns.services.errors import Conflict
from campaigns.services.resources import check_version, save_row
from campaigns.services.segment_checks import check_segment, check_texts, read_view
from campaigns.services.segment_views import (
    COUNTED,
    count_view,
    create_view,
    drop_view,
    is_current,
    rebuild_view,
)
from campaigns.services.transactions import explained
from executor.flow.operators import quoted
from kaireon.access.models import Tenant

#: What the view is made from.
SELECTING = frozenset({"base_schema", "filters", "joins"})


class Changes(TypedDict, total=False):
    """What of a segment can be changed; None leaves a field as it is."""

    name: str | None
    description: str | None
    status: str | None
    base_schema: Schema | None
    filters: object
    joins: Sequence[Any] | None


def create_segment(
    tenant: Tenant,
    *,
    name: str,
    base_schema: Schema,
    filters: object,
    joins: Sequence[Any] = (),
    description: str = "",
    status: str = Status.ACTIVE,
) -> Segment:
    """Make a segment and its view, and count it; no filters means everyone.

    Raises Rejected with every fault, each under its path, and Conflict for a name there is.
    """
    segment = Segment(
        tenant=tenant,
        name=name,
        description=description,
        status=status,
        base_schema=base_schema,
        filters=filters,
        joins=list(joins),
        view_name=f"seg_{secrets.token_hex(6)}",
    )
    with explained() as cursor:
        create_view(cursor, segment.view_name, check_segment(cursor, segment))
        count_view(cursor, segment)
        save_row(segment, force_insert=True)
    return segment


def update_segment(
    segment: Segment, *, expected: int | None = None, **changes: Unpack[Changes]
) -> Segment:
    """Change what is given and return the segment as stored.

    Another base, other filters or joins rebuild the view and count it. Raises Rejected with every
    fault, and Conflict for a name there is, for a version that is not the one `expected`, or while
    a run reads the view.
    """
    given = {field: value for field, value in changes.items() if value is not None}
    written = [*given, "version", "updated_at"]
    with explained() as cursor:
        stored = _lock(segment)
        check_version(stored, expected)
        for field, value in given.items():
            setattr(stored, field, value)
        if SELECTING & given.keys():
            rebuild_view(cursor, stored, check_segment(cursor, stored))
            count_view(cursor, stored)
            written += COUNTED
        else:
            check_texts(stored)
        stored.version += 1
        save_row(stored, update_fields=written)
    return stored


def refresh_segment(segment: Segment) -> int:
    """Count the segment anew, and return how many customers it has.

    Its view is rebuilt if it is gone or its tables have other columns now. Raises Rejected when
    a table, a column or a unique key that it needs is gone.
    """
    with explained() as cursor:
        stored = _lock(segment)
        view = read_view(cursor, stored.base_schema, stored.filters, stored.joins)
        if not is_current(cursor, stored.view_name, view):
            rebuild_view(cursor, stored, view)
        count = count_view(cursor, stored)
        stored.save(update_fields=COUNTED)
    segment.customer_count, segment.last_refreshed_at = count, stored.last_refreshed_at
    return count


def drop_segment(segment: Segment) -> None:
    """Drop the segment and its view. Raises Conflict naming what still uses it."""
    with explained() as cursor:
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
        drop_view(cursor, stored.view_name)
        stored.delete()


def _lock(segment: Segment, *, to_delete: bool = False) -> Segment:
    # Without "no key", campaigns that name the segment could not be saved meanwhile.
    rows = Segment.objects.of(segment.tenant_id).select_related("base_schema")
    locked = rows.select_for_update(of=("self",), no_key=not to_delete)
    stored: Segment | None = locked.filter(pk=segment.pk).first()
    if stored is None:
        raise Conflict("The segment has just been deleted.")
    return stored
