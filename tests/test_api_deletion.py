"""Deleting a campaign over the API: what goes, what stays, and what is in the way."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, Contact, RunChunk, RunEvent, RunFile
from campaigns.services import cancellation, deletion
from executor import manifest, runner
from executor.chunks import TakenChunk
from executor.job import Job
from executor.manifest import Phase
from executor.progress import Lease, LeaseLost, claim
from executor.stages import write_chunk
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.clients import api_client, error
from tests.processes import wait_until

URL = "/api/v1/runs"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.runnable_campaign(tenant, name="Weekly")


def delete(client: APIClient, campaign: Campaign, query: str = ""):
    return client.delete(f"{URL}/{campaign.public_id}{query}")


def tables(run: CampaignRun) -> int:
    """How many tables hold results of the run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"campaigns_recommendation_r{run.pk}"])
        return cursor.fetchone() != (None,)


def stored(storage: Path, run: CampaignRun) -> list[str]:
    folder = storage / "runs" / str(run.pk)
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("clean_relations")
def test_nothing_of_the_runs_is_left_but_contacts_and_history(storage: Path) -> None:
    world = worlds.build(50)
    runs = [world.run(), world.run()]
    for run in runs:
        assert runner.execute(run.pk)
    other = factories.CampaignFactory(tenant=world.tenant, flow=world.campaign.flow)
    kept = factories.RunFactory(campaign=other, status="failed", error="x")
    contacts = Contact.objects.filter(campaign_id=world.campaign.pk).count()
    assert contacts
    assert all(tables(run) and stored(storage, run) for run in runs)

    response = delete(api_client(world.tenant, "admin"), world.campaign)

    assert (response.status_code, response.content) == (204, b"")
    assert not any(tables(run) or stored(storage, run) for run in runs)
    assert list(CampaignRun.unscoped.all()) == [kept]
    assert not any(model.objects.exists() for model in (RunChunk, RunEvent))
    assert not RunFile.unscoped.exists()
    assert list(Campaign.unscoped.all()) == [other]
    assert Contact.objects.filter(campaign_id=world.campaign.pk).count() == contacts
    deleted = Campaign.history.get(id=world.campaign.pk, history_type="-")
    assert (deleted.name, deleted.changed_by) == ("Weekly Cards", "API key test")


def test_deleted_campaign_is_404(client: APIClient, campaign: Campaign) -> None:
    assert delete(client, campaign).status_code == 204
    assert delete(client, campaign).status_code == 404
    assert client.get(f"{URL}/{campaign.public_id}").status_code == 404


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_delete_needs_an_admin(campaign: Campaign, role: str) -> None:
    response = delete(api_client(campaign.tenant, role), campaign)
    assert response.status_code == 403
    assert Campaign.unscoped.get() == campaign


def test_campaign_of_another_tenant_is_404(client: APIClient) -> None:
    campaign = factories.CampaignFactory()
    assert delete(client, campaign, "?force=true").status_code == 404
    assert Campaign.unscoped.get() == campaign


def test_id_of_a_run_deletes_nothing(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign)
    assert client.delete(f"{URL}/{run.public_id}").status_code == 404
    assert CampaignRun.unscoped.get() == run


@pytest.mark.parametrize("query", ["", "?force=false"])
@pytest.mark.parametrize("status", ["pending", "running", "paused", "cancelling"])
def test_run_in_progress_is_409_and_named(
    client: APIClient, campaign: Campaign, status: str, query: str
) -> None:
    factories.RunFactory(campaign=campaign, run_number=1, status="failed", error="x")
    run = factories.RunFactory(campaign=campaign, run_number=2, status=status)
    response = delete(client, campaign, query)
    assert response.status_code == 409
    assert error(response)["message"].startswith(f"Run 2 ({run.public_id}) is {status}:")
    assert list(CampaignRun.unscoped.values_list("status", flat=True)) == [status, "failed"]


@pytest.mark.parametrize("query", ["force=", "force=1", "force=True", "force=yes", "all=true"])
def test_force_is_true_or_false(client: APIClient, campaign: Campaign, query: str) -> None:
    response = delete(client, campaign, f"?{query}")
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [query.partition("=")[0]]
    assert Campaign.unscoped.get() == campaign


@pytest.mark.parametrize("lease", [None, LONG_AGO])
def test_force_ends_what_nobody_works_on_at_once(
    client: APIClient, campaign: Campaign, lease: datetime | None
) -> None:
    for number, status in enumerate(("pending", "running", "cancelling")):
        factories.RunFactory(
            campaign=campaign, run_number=number + 1, status=status, lease_until=lease
        )
    assert delete(client, campaign, "?force=true").status_code == 204
    assert not Campaign.unscoped.exists()
    assert not CampaignRun.unscoped.exists()


def delete_aside(campaign: Campaign, client: APIClient) -> tuple[threading.Thread, list[int]]:
    """Delete with force in another thread, which has a connection of its own."""
    codes: list[int] = []

    def work() -> None:
        codes.append(delete(client, campaign, "?force=true").status_code)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, codes


@pytest.mark.usefixtures("clean_relations")
def test_force_waits_for_the_worker_to_stop(
    storage: Path, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KAIREON_LEASE_SECONDS = 2
    settings.KAIREON_CHUNK_ROWS = 1024
    world = worlds.build(3000)
    run = world.run()
    begun, go = threading.Event(), threading.Event()

    def write(job: Job, chunk: TakenChunk) -> None:
        if chunk.number == 1:
            begun.set()
            go.wait(20)
        write_chunk(job, chunk)

    monkeypatch.setitem(runner.CHUNK_STEPS, "write", write)
    worker = threading.Thread(target=lambda: (runner.execute(run.pk), connection.close()))
    worker.start()
    assert begun.wait(20)
    thread, codes = delete_aside(world.campaign, api_client(world.tenant, "admin"))
    wait_until(lambda: CampaignRun.unscoped.get(pk=run.pk).status == "cancelling")
    go.set()
    worker.join()
    thread.join()
    assert codes == [204]
    assert not CampaignRun.unscoped.exists()
    assert not tables(run)
    assert not stored(storage, run)
    assert not Contact.objects.filter(run_id=run.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_worker_that_does_not_stop_can_write_no_more(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellation, "PATIENCE", 0.0)
    run = factories.RunFactory(campaign=campaign)
    lease = claim(run.pk)
    assert isinstance(lease, Lease)
    cancellation.begin_cancelling(run.pk)
    cancellation.end_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.fencing_token) == ("cancelled", lease.token + 1)
    with pytest.raises(LeaseLost):
        manifest.enter(lease, Phase("write"))


@pytest.fixture
def finished(campaign: Campaign) -> CampaignRun:
    ended = {"status": "completed", "completed_at": LONG_AGO, "summary": {}}
    run = factories.RunFactory(campaign=campaign, run_number=1, **ended)
    factories.recommend(run, [("c1", 1, 1, 1, 0.5)])
    return run


@pytest.mark.usefixtures("clean_relations")
def test_a_reader_of_results_is_waited_for(
    client: APIClient, campaign: Campaign, finished: CampaignRun, pg_dsn: str
) -> None:
    with psycopg.connect(pg_dsn) as reader:
        reader.execute(f"SELECT FROM campaigns_recommendation_r{finished.pk}")
        thread, codes = delete_aside(campaign, client)
        with psycopg.connect(pg_dsn, autocommit=True) as other:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: other.execute(waiting).fetchone() != (0,))
        reader.rollback()
        thread.join()
    assert codes == [204]
    assert not tables(finished)


@pytest.mark.usefixtures("clean_relations")
def test_results_that_stay_in_use_are_409_and_deleted_the_next_time(
    client: APIClient,
    campaign: Campaign,
    finished: CampaignRun,
    pg_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletion, "PATIENCE", 0.0)
    monkeypatch.setattr(deletion, "LOCK_TIMEOUT", "10ms")
    factories.add_file(finished, b"x")
    with psycopg.connect(pg_dsn) as reader:
        reader.execute(f"SELECT FROM campaigns_recommendation_r{finished.pk}")
        response = delete(client, campaign)
        assert response.status_code == 409
        assert f"Run 1 ({finished.public_id})".lower() in error(response)["message"].lower()
    assert CampaignRun.unscoped.get() == finished
    assert tables(finished)
    assert client.get(f"/api/v1/campaign-runs/{finished.public_id}/file").status_code == 200
    assert delete(client, campaign).status_code == 204
    assert not tables(finished)


def test_deleting_takes_few_queries_for_each_run(
    client: APIClient, campaign: Campaign, django_assert_max_num_queries
) -> None:
    for number in range(10):
        factories.RunFactory(campaign=campaign, run_number=number + 1, status="failed", error="x")
    with django_assert_max_num_queries(30 + 10 * 12):
        assert delete(client, campaign).status_code == 204
