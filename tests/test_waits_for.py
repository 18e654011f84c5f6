"""A run says what it waits for, always as it is now."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, RunChunk, Worker
from executor import workers
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client

URL = "/api/v1/campaign-runs"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.CampaignFactory(tenant=tenant)


def waits(client: APIClient, run: CampaignRun) -> str | None:
    """As the detail says, which every list says too."""
    found = client.get(f"{URL}/{run.public_id}").json()["waitsFor"]
    listed = {row["id"]: row["waitsFor"] for row in client.get(URL).json()["data"]}
    history = client.get(f"/api/v1/runs/{run.campaign.public_id}/campaign-runs").json()["runs"]
    assert listed[run.public_id] == found
    assert {row["id"]: row["waitsFor"] for row in history}[run.public_id] == found
    return found


def test_a_pending_run_waits_for_a_worker_only_if_there_is_none(
    client: APIClient, campaign: Campaign
) -> None:
    run = factories.RunFactory(campaign=campaign)
    assert waits(client, run) == "worker"
    workers.seen("pulse")  # which takes no runs
    assert waits(client, run) == "worker"
    workers.seen("worker")
    assert waits(client, run) is None
    Worker.objects.update(seen_at=Now() - timedelta(minutes=5))
    assert waits(client, run) == "worker"


def test_a_run_in_turn_waits_for_the_first_before_it(client: APIClient, campaign: Campaign) -> None:
    workers.seen("worker")
    factories.RunFactory(campaign=campaign, run_number=1, status="failed", error="x")
    first = factories.RunFactory(campaign=campaign, run_number=2, status="paused")
    factories.RunFactory(campaign=campaign, run_number=3, in_turn=True)
    run = factories.RunFactory(campaign=campaign, run_number=4, in_turn=True)
    factories.RunFactory(campaign__tenant=campaign.tenant, run_number=1)
    assert waits(client, run) == "run 2 of the campaign to end"
    assert waits(client, first) == "somebody to resume it"
    CampaignRun.unscoped.filter(pk=first.pk).update(status="cancelled")
    assert waits(client, run) == "run 3 of the campaign to end"
    CampaignRun.unscoped.filter(run_number=3).update(status="cancelled")
    assert waits(client, run) is None


def test_a_chunk_that_is_to_be_tried_again_is_named(client: APIClient, campaign: Campaign) -> None:
    workers.seen("worker")
    run = factories.RunFactory(campaign=campaign, status="running", phase="write")
    for number in range(3):
        run.chunks.create(number=number, customers=1)
    assert waits(client, run) is None
    chunks = RunChunk.objects.filter(run=run)
    chunks.filter(number=2).update(not_before=Now() + timedelta(minutes=1))
    chunks.filter(number=1).update(not_before=Now() - timedelta(minutes=1))
    assert waits(client, run) == "another attempt at chunk 2"
    chunks.filter(number=2).update(status="dead")
    assert waits(client, run) is None


def test_a_running_run_that_all_workers_have_left_waits_for_one(
    client: APIClient, campaign: Campaign
) -> None:
    run = factories.RunFactory(campaign=campaign, status="running", phase="write")
    run.chunks.create(number=0, customers=1)
    assert waits(client, run) == "worker"
    RunChunk.objects.update(lease_until=Now() + timedelta(minutes=1))
    assert waits(client, run) is None
    RunChunk.objects.update(lease_until=None)
    CampaignRun.unscoped.update(lease_until=Now() + timedelta(minutes=1))
    assert waits(client, run) is None


def test_a_paused_run_says_while_a_worker_still_ends_its_chunk(
    client: APIClient, campaign: Campaign
) -> None:
    run = factories.RunFactory(campaign=campaign, status="paused", phase="write")
    run.chunks.create(number=0, customers=1)
    for lease, pausing in ((timedelta(minutes=1), True), (timedelta(minutes=-1), False)):
        RunChunk.objects.update(lease_until=Now() + lease)
        found = client.get(f"{URL}/{run.public_id}").json()
        assert (found["waitsFor"], found["pausing"]) == ("somebody to resume it", pausing)


@pytest.mark.parametrize("status", ["cancelling", "failed", "cancelled"])
def test_what_ends_or_has_ended_waits_for_nothing(
    client: APIClient, campaign: Campaign, status: str
) -> None:
    run = factories.RunFactory(campaign=campaign, status=status, error="x", in_turn=True)
    assert waits(client, run) is None
