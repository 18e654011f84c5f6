"""Impressions and outcomes that channels report, stored many at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from psycopg import sql
from psycopg.types.json import Jsonb

from campaigns.models import Campaign, Channel, Creative, Interaction, Offer
from campaigns.services.references import unknown
from executor.errors import Rejected
from kaireon.access.models import Tenant, TenantScoped

Fault = tuple[str, str]

#: How far a channel's clock may be ahead of ours.
AHEAD = timedelta(minutes=5)
#: Every month has a partition, so there must be a first month.
OLDEST = timedelta(days=3653)
#: Held while partitions are made, so that two requests do not make the same one.
PARTITION_LOCK = 0x6B616972F0

PARENT = Interaction._meta.db_table
COPY = f"COPY {PARENT} (at, tenant_id, offer_id, channel_id, creative_id, campaign_id, direction,\
 interaction_type, outcome, customer_key, context) FROM STDIN"
REFERENCES: Mapping[str, tuple[type[TenantScoped], str]] = {
    "offer": (Offer, "offerId"),
    "channel": (Channel, "channelId"),
    "creative": (Creative, "creativeId"),
    "campaign": (Campaign, "campaignId"),
}


def record_interactions(tenant: Tenant, items: Sequence[Mapping[str, Any]]) -> int:
    """Store the interactions, all or none, and return how many. What has no time is of now.

    Raises Rejected with every fault, under `interactions[<position>]`.
    """
    now = timezone.now()
    faults = [*time_faults(items, now), *reference_faults(tenant, items)]
    if faults:
        raise Rejected.of(faults)
    rows = [row_of(tenant, {"at": now, **item}) for item in items]
    with transaction.atomic(), connection.cursor() as cursor:
        ensure_partitions(cursor, {row[0] for row in rows})
        with cursor.copy(COPY) as copy:
            for row in rows:
                copy.write_row(row)
    return len(rows)


def row_of(tenant: Tenant, item: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        item["at"],
        tenant.pk,
        *(item.get(name) for name in REFERENCES),
        item.get("direction", Interaction.Direction.OUTBOUND.value),
        item["interaction_type"],
        item.get("outcome", ""),
        item["customer_key"],
        Jsonb(item.get("context", {})),
    )


def time_faults(items: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Fault]:
    for number, item in enumerate(items):
        at = item.get("at", now)
        if at > now + AHEAD:
            yield f"interactions[{number}].at", "Is in the future."
        elif at < now - OLDEST:
            yield f"interactions[{number}].at", "Is more than ten years ago."


def reference_faults(tenant: Tenant, items: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """What names no row of the tenant; costs a query for every kind of row that is named."""
    for name, (model, field) in REFERENCES.items():
        named = {item[name] for item in items if item.get(name) is not None}
        rows = model.objects.of(tenant).filter(pk__in=named) if named else ()
        found = {row.pk: row for row in rows}
        for number, item in enumerate(items):
            if item.get(name) is None:
                continue
            row = found.get(item[name])
            if row is None:
                yield f"interactions[{number}].{field}", unknown(model)
            elif isinstance(row, Creative) and row.offer_id != item["offer"]:
                yield f"interactions[{number}].{field}", "Must be a creative of offerId."
            elif isinstance(row, Creative) and item.get("channel") not in (None, row.channel_id):
                yield f"interactions[{number}].{field}", "Must be a creative of channelId."


def ensure_partitions(cursor: CursorWrapper, times: Collection[datetime]) -> None:
    """Make the partitions of the months that have none yet."""
    months = {partition(at): month_of(at) for at in times}
    if not missing(cursor, months):
        return
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITION_LOCK])
    for name in missing(cursor, months):
        start = months[name]
        statement = sql.SQL(
            "CREATE TABLE {name} PARTITION OF {parent} FOR VALUES FROM ({start}) TO ({end})"
        ).format(
            name=sql.Identifier(name),
            parent=sql.Identifier(PARENT),
            start=sql.Literal(start),
            end=sql.Literal(month_of(start + timedelta(days=31))),
        )
        cursor.execute(statement)


def missing(cursor: CursorWrapper, names: Collection[str]) -> list[str]:
    cursor.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name",
        [list(names)],
    )
    return [name for (name,) in cursor.fetchall()]


def partition(at: datetime) -> str:
    return f"{PARENT}_{at.astimezone(UTC):y%Ym%m}"


def month_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
