"""A storage that is away costs no run, whatever it is doing: it is waited for."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from campaigns.models import (
    Campaign,
    CampaignRun,
    Contact,
    ContactHold,
    DeadLetter,
    Recommendation,
    RunChunk,
    RunFile,
)
from campaigns.services.cancellation import begin_cancelling
from executor import chunks, ending, finish, runner, s3, tasks
from executor.errors import Unavailable
from executor.storage import open_storage
from tests import world as worlds
from tests.clients import api_client, error
from tests.s3_server import BUCKET, S3Server
from tests.world import World

WAITS = "retry after the storage cannot be used: "
MANY = 1_000_000


@pytest.fixture
def world(clean_relations: None, bucket: S3Server, settings: LazySettings) -> World:
    """Three chunks of customers, and a bucket as the storage."""
    settings.STORAGE_URL = f"s3://{BUCKET}"
    settings.KAIREON_CHUNK_ROWS = 1024
    return worlds.build(2500)


def finished(run: CampaignRun) -> RunFile:
    """Have the run finished from where it is, its leases and pauses over."""
    due()
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error, run.waits_for) == ("completed", "", "")
    kept = run.summary["totalRecommendations"]
    assert Recommendation.objects.filter(run_id=run.pk).count() == kept > 0
    assert not DeadLetter.objects.of(run.tenant).exists()
    return RunFile.objects.of(run.tenant).get(run=run)


def due() -> None:
    CampaignRun.unscoped.update(lease_until=None)
    RunChunk.objects.update(not_before=None)


@pytest.fixture
def undisturbed(world: World) -> str:
    return finished(world.run()).sha256


def away(bucket: S3Server, run: CampaignRun, step: Callable[[int], object]) -> None:
    """Take more steps than any work may fail, while the bucket cannot be used."""
    bucket.failures = MANY
    for _ in range(ending.MAX_RETRIES + chunks.MAX_FAULTS + chunks.MAX_ATTEMPTS):
        due()
        step(run.pk)
        run.refresh_from_db()
        assert run.status == "running"
    assert run.waits_for.endswith("the storage cannot be used: 503 Service Unavailable")
    bucket.failures = 0


def test_the_freeze_waits(world: World, bucket: S3Server, undisturbed: str) -> None:
    run = world.run()
    away(bucket, run, runner.advance)
    assert run.phase == "freeze"
    assert run.waits_for.startswith(WAITS)
    assert not RunChunk.objects.filter(run=run).exists()
    assert finished(run).sha256 == undisturbed


def test_chunks_wait(world: World, bucket: S3Server, undisturbed: str) -> None:
    run = world.run()
    runner.advance(run.pk)
    before = list(RunChunk.objects.filter(run=run).values("status", "attempts", "faults"))
    away(bucket, run, runner.work)
    assert run.phase == "write"
    assert list(RunChunk.objects.filter(run=run).values("status", "attempts", "faults")) == before
    assert finished(run).sha256 == undisturbed


def test_a_chunk_that_waits_is_left_alone_for_a_while(world: World, bucket: S3Server) -> None:
    run = world.run()
    runner.advance(run.pk)
    bucket.failures = MANY
    assert [runner.work(run.pk) for _ in range(4)] == [run.pk] * 3 + [None]
    assert tasks.queue.takeable() == []


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_the_file_waits(world: World, bucket: S3Server, kind: str) -> None:
    undisturbed = finished(world.run(file_format=kind)).sha256
    run = world.run(file_format=kind)
    runner.advance(run.pk)
    while runner.work(run.pk):
        pass
    away(bucket, run, runner.advance)
    assert run.phase == "finish"
    assert not RunFile.objects.of(run.tenant).filter(run=run).exists()
    assert finished(run).sha256 == undisturbed


def test_waiting_becomes_rarer(world: World, bucket: S3Server) -> None:
    run = world.run()
    bucket.failures = MANY
    for age, least, most in ((0, 0, 12), (400, 28, 50), (86_400, 48, 70)):
        due()
        CampaignRun.unscoped.filter(pk=run.pk).update(
            started_at=timezone.now() - timedelta(seconds=age)
        )
        runner.advance(run.pk)
        run.refresh_from_db()
        assert run.lease_until
        assert least <= (run.lease_until - timezone.now()).total_seconds() <= most


def test_what_a_finished_run_leaves_is_no_fault(
    world: World, bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = finish._complete

    def break_then(*args: object) -> None:
        complete(*args)
        bucket.failures = MANY

    monkeypatch.setattr(finish, "_complete", break_then)
    run = world.run()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error, run.waits_for) == ("completed", "", "")
    assert run.events.last().kind == "completed"


def test_a_run_can_be_cancelled(world: World, bucket: S3Server) -> None:
    run = world.run()
    runner.advance(run.pk)
    assert runner.work(run.pk)
    bucket.failures = MANY
    begin_cancelling(run.pk)
    due()
    assert runner.advance(run.pk)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert ContactHold.objects.filter(run_id=run.pk).exists()
    tasks.dispatch()
    assert ContactHold.objects.filter(run_id=run.pk).exists()
    bucket.failures = 0
    tasks.dispatch()
    assert not ContactHold.objects.filter(run_id=run.pk).exists()
    assert not Contact.objects.filter(run_id=run.pk).exists()
    part = RunChunk.objects.filter(run=run).exclude(part_key="").get()
    with pytest.raises(FileNotFoundError):
        open_storage().get(part.part_key)


def test_a_download_says_so(world: World, bucket: S3Server) -> None:
    run = world.run()
    finished(run)
    client = api_client(world.tenant)
    bucket.failures = MANY
    response = client.get(f"/api/v1/campaign-runs/{run.public_id}/file")
    assert response.status_code == 503
    assert error(response) == {
        "code": "unavailable",
        "message": "What is stored of runs cannot be reached for now; try again in a while.",
        "status": 503,
    }
    bucket.failures = 0
    assert client.get(f"/api/v1/campaign-runs/{run.public_id}/file").status_code == 200


def test_a_deletion_is_finished_later(world: World, bucket: S3Server) -> None:
    run = world.run()
    finished(run)
    client = api_client(world.tenant, "admin")
    url = f"/api/v1/runs/{world.campaign.public_id}"
    bucket.failures = MANY
    assert client.delete(url).status_code == 503
    assert Campaign.objects.of(world.tenant).exists()
    bucket.failures = 0
    assert client.delete(url).status_code == 204
    assert not Campaign.objects.of(world.tenant).exists()
    assert b"<Key>" not in bucket.ask("GET", f"/{BUCKET}?list-type=2")[2]


def test_a_server_that_does_not_answer(
    bucket: S3Server, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGE_URL = f"s3://{BUCKET}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="error sending request"):
        open_storage().get("key")


def test_wrong_credentials(
    bucket: S3Server, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGE_URL = f"s3://{BUCKET}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    with pytest.raises(Unavailable, match="InvalidAccessKeyId: The AWS Access Key Id"):
        open_storage().get("key")


def test_a_copy_waits_for_what_it_copies(
    bucket: S3Server, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGE_URL = f"s3://{BUCKET}"
    with monkeypatch.context() as gone:
        gone.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        store = open_storage()
    with pytest.raises(Unavailable):
        s3.deliver(store, "key", f"s3://{BUCKET}/cards", "file.csv", "text/csv")
    assert b"<Key>" not in bucket.ask("GET", f"/{BUCKET}?list-type=2")[2]
    assert b"<Upload>" not in bucket.ask("GET", f"/{BUCKET}?uploads")[2]


def test_a_missing_bucket(bucket: S3Server, settings: LazySettings) -> None:
    settings.STORAGE_URL = "s3://elsewhere"
    store = open_storage()
    for use in (
        lambda: store.get("key"),
        lambda: store.put("key", b""),
        lambda: store.delete_under("runs/1"),
        lambda: next(store.stream("key")),
    ):
        with pytest.raises(Unavailable, match="NoSuchBucket"):
            use()
    with pytest.raises(Unavailable, match="NoSuchBucket"), store.create("key") as out:
        out.write(bytes(20 << 20))


def test_a_folder_that_cannot_be_made(tmp_path: Path, settings: LazySettings) -> None:
    (tmp_path / "file").touch()
    settings.STORAGE_URL = (tmp_path / "file").as_uri()
    with pytest.raises(Unavailable, match="File exists"):
        open_storage()
