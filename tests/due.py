"""Campaigns that are due, a pulse at a given moment, and what became of it."""

from datetime import UTC, datetime

from django.db import connection

from campaigns.models import Campaign, CampaignRun, Tick
from campaigns.services.pulse import fire_due
from campaigns.services.schedules import database_now
from kaireon.access.models import Tenant
from tests import factories


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due_campaign(tenant: Tenant, since: str, **fields: object) -> Campaign:
    """An active campaign that can be run, every day at 09:00 UTC unless told otherwise."""
    given = {"status": "active", "schedule_type": "daily", **fields}
    return factories.runnable_campaign(tenant, next_run_at=utc(since), **given)


def make_due(campaign: Campaign) -> None:
    """Due since this minute began, and then once a day."""
    at = database_now().replace(second=0, microsecond=0)
    campaign.status, campaign.schedule_type = "active", "daily"
    campaign.schedule_time, campaign.next_run_at = f"{at:%H:%M}", at
    campaign.save()


def every(cron: str, **fields: object) -> dict[str, object]:
    return {"schedule_type": "manual", "schedule_cron": cron, **fields}


def fire(now: str, limit: int = 100) -> dict[str, int]:
    return dict(fire_due(limit, clock=lambda: utc(now)))


def story(campaign: Campaign) -> list[str]:
    """What became of each instant, the first one first, with the number of its run if any."""
    ticks = Tick.objects.of(campaign.tenant).filter(campaign=campaign).select_related("run")
    return [
        f"{tick.scheduled_for:%m-%d %H:%M} {tick.outcome}"
        + (f" {tick.run.run_number}" if tick.run else f": {tick.reason}")
        for tick in ticks.order_by("scheduled_for")
    ]


def runs(campaign: Campaign) -> list[CampaignRun]:
    return [*CampaignRun.objects.of(campaign.tenant).filter(campaign=campaign).order_by("pk")]


def next_run_at(campaign: Campaign) -> datetime | None:
    campaign.refresh_from_db()
    return campaign.next_run_at


def set_database_clock(now: str) -> None:
    """Have PostgreSQL tell this time until the test's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE SCHEMA IF NOT EXISTS clock;"
            "CREATE OR REPLACE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            f" RETURN timestamptz '{utc(now).isoformat()}';"
            "SET LOCAL search_path = clock, pg_catalog, public"
        )
