"""What contact policies and rules need to know of a tenant, read when a run begins."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from campaigns.models import ContactPolicy, Offer, Segment, Status
from executor.errors import Rejected
from executor.flow.catalog import (
    OfferUsage,
    PolicyFacts,
    RuleFacts,
    SegmentFacts,
    read_places,
)
from executor.flow.days import days_back
from executor.flow.offer_terms import offered, read_budget
from executor.flow.operators import quoted
from executor.history import usage_sql
from kaireon import ids
from kaireon.access.models import Tenant

#: The keys of configs that list segments.
SEGMENT_LISTS = ("excludeSegments", "requiredSegments")
VIEWS = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'segments' AND c.relname = ANY(%s)
"""


def read_policies(tenant: Tenant) -> tuple[PolicyFacts, ...]:
    """The active policies, in the order in which they are applied."""
    rows = ContactPolicy.objects.of(tenant).filter(status=Status.ACTIVE).order_by("-priority", "pk")
    return tuple(
        PolicyFacts(
            key=row.pk,
            name=row.name,
            rule_type=row.rule_type,
            scope=row.scope,
            scope_key=row.scope_key,
            config=row.config,
            priority=row.priority,
            scopes=read_places(row.scopes),
        )
        for row in rows
    )


def read_segments(
    tenant: Tenant, named_by: Iterable[PolicyFacts | RuleFacts]
) -> tuple[SegmentFacts, ...]:
    """The segments that rules and policies name and whose views are there."""
    rows_naming = list(named_by)
    keys = {ids.decode("Segment", one) for row in rows_naming for one in _segments(row.config)}
    keys |= {key for row in rows_naming for scope, key in row.places if scope == "segment"}
    if not keys:
        return ()
    rows = Segment.objects.of(tenant).filter(pk__in=keys - {None}).select_related("base_schema")
    found = list(rows.order_by("pk"))
    with connection.cursor() as cursor:
        cursor.execute(VIEWS, [[row.view_name for row in found]])
        views = {name for (name,) in cursor.fetchall()}
    return tuple(
        SegmentFacts(row.pk, row.name, row.view_name, row.base_schema.key_column)
        for row in found
        if row.view_name in views
    )


def _segments(config: Mapping[str, Any]) -> Iterable[object]:
    if isinstance(config, Mapping):
        for name in SEGMENT_LISTS:
            listed = config.get(name)
            yield from listed if isinstance(listed, list) else ()


def read_usage(tenant: Tenant, offers: Collection[int], now: datetime) -> tuple[OfferUsage, ...]:
    """How often each of the offers was given up to now, and how often today in the tenant's zone.

    One grouped read of the history; none without offers. What was never given is not there.
    """
    if not offers:
        return ()
    try:
        today = days_back(now, tenant.timezone, 1)
    except (LookupError, ValueError) as error:
        raise Rejected(f"there is no time zone {quoted(tenant.timezone)}") from error
    with connection.cursor() as cursor:
        statement = usage_sql(tenant.pk, now, today, sorted(offers))
        cursor.execute(statement.as_string(cursor.cursor))
        return tuple(OfferUsage(*row) for row in cursor.fetchall())


def terms_of(row: Offer, zone: str, now: datetime) -> dict[str, Any]:
    """When and how often the offer is given, and whether it is mandatory now, as OfferFacts has it.

    Raises ValueError for a schedule that cannot be read, LookupError for a zone that there is not.
    """
    starts, ends = offered(row.schedule, zone)
    expires = row.mandatory_expires_at
    return {
        "budget": read_budget(row.budget),
        "starts": starts,
        "ends": ends,
        "mandatory": row.mandatory and expires is not None and now < expires,
    }


def with_budget(offers: Sequence[Offer]) -> list[int]:
    return [row.pk for row in offers if row.budget]
