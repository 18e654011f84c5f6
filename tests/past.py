"""Contacts and interactions of the past, for tests that need a history."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from campaigns.models import ContactHold
from kaireon.access.models import Tenant

#: What a row has unless a test says otherwise.
CONTACT = {"campaign_id": 1, "run_id": 1, "offer_id": 1, "channel_id": 1, "creative_id": None}
INTERACTION = {
    "campaign_id": None,
    "offer_id": 1,
    "channel_id": None,
    "creative_id": None,
    "interaction_type": "response",
    "outcome": "",
    "direction": "inbound",
    "context": "{}",
}


def contacts(tenant: Tenant, rows: Iterable[Mapping[str, Any]]) -> None:
    """Each row has `customer_key` and `at`, and whatever is not as in CONTACT."""
    _insert("campaigns_contact", [{"tenant_id": tenant.pk, **CONTACT, **row} for row in rows])


def interactions(tenant: Tenant, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = [{"tenant_id": tenant.pk, **INTERACTION, **row} for row in rows]
    _insert("campaigns_interaction", rows)


def hold(run_key: int, at: datetime) -> None:
    """The contacts of the run are not true."""
    ContactHold.objects.create(run_id=run_key, at=at)


def _insert(table: str, rows: list[dict[str, Any]]) -> None:
    with connection.cursor() as cursor:
        for at in {row["at"].astimezone(UTC) for row in rows}:
            start = datetime(at.year, at.month, 1, tzinfo=UTC)
            end = (start + timedelta(days=32)).replace(day=1)
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {table}_y{start:%Ym%m} PARTITION OF {table}"
                f" FOR VALUES FROM ('{start}') TO ('{end}')"
            )
        for row in rows:
            columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*row.values()])
