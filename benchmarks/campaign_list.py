"""Measures `GET /api/v1/runs?limit=200` over many campaigns with many runs each.

Run it as `python benchmarks/campaign_list.py [--campaigns N] [--runs N] [--json]`; it uses the
configured database and leaves nothing there. The request goes through the whole application, but
no socket.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")
os.environ.setdefault("KAIREON_REQUESTS_PER_MINUTE", "1000000")

import django  # noqa: E402

django.setup()

import numpy as np  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from campaigns.models import Campaign, CampaignRun, Flow, Schema, Segment  # noqa: E402
from kaireon.access.models import ApiKey, Role, Tenant  # noqa: E402

SLUG = "campaign-list-bench"
ADDRESS = "/api/v1/runs?limit=200"
REQUESTS = 200
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def fill(tenant: Tenant, campaigns: int, runs: int) -> None:
    """Campaigns of one flow and one segment, each with finished runs."""
    schema = Schema.unscoped.create(
        tenant=tenant,
        name=SLUG,
        origin="registered",
        relation_schema="public",
        relation_name=SLUG,
        key_column="id",
    )
    segment = Segment.unscoped.create(
        tenant=tenant, name=SLUG, base_schema=schema, view_name="seg_be0c4be0c4be"
    )
    flow = Flow.unscoped.create(tenant=tenant, key=SLUG, name=SLUG)
    made = Campaign.unscoped.bulk_create(
        Campaign(tenant=tenant, name=f"Campaign {number}", flow=flow, segment=segment)
        for number in range(campaigns)
    )
    CampaignRun.unscoped.bulk_create(
        (
            CampaignRun(
                tenant=tenant,
                campaign=campaign,
                run_number=number,
                status="completed",
                started_at=STARTED,
                completed_at=STARTED,
                summary={},
            )
            for campaign in made
            for number in range(1, runs + 1)
        ),
        batch_size=5000,
    )


def measure(campaigns: int, runs: int) -> dict[str, Any]:
    """Queries of a request, and milliseconds of the median and the 95th percentile."""
    tenant = Tenant.objects.create(slug=SLUG, name=SLUG)
    fill(tenant, campaigns, runs)
    _, key = ApiKey.issue(tenant, name=SLUG, role=Role.VIEWER)
    client = Client(headers={"authorization": f"Bearer {key}"})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE campaigns_campaign, campaigns_campaignrun")
    client.get(ADDRESS)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(ADDRESS).json()
    count = len(queries)
    assert (len(answer["runs"]), answer["total"]) == (min(campaigns, 200), campaigns)  # noqa: S101
    seconds = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        client.get(ADDRESS)
        seconds.append(time.perf_counter() - start)
    middle, slow = np.percentile(seconds, [50, 95]) * 1000
    return {
        "campaigns": campaigns,
        "runs_each": runs,
        "queries": count,
        "median_ms": round(float(middle), 1),
        "p95_ms": round(float(slow), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    wanted = parser.parse_args()
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        result = measure(wanted.campaigns, wanted.runs)
        transaction.set_rollback(True)
    if wanted.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:>10}: {value}")


if __name__ == "__main__":
    main()
