"""Files on S3: written whole or not at all, once per run, and only where the tenant may."""

from hashlib import sha256
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings

from campaigns.models import CampaignRun, Contact, Recommendation, RunFile
from executor import finish, runner, s3
from executor.storage import open_storage
from tests import world as worlds
from tests.s3_server import BUCKET, S3Server
from tests.world import World

PATH = f"s3://{BUCKET}/cards"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAUSES", (0, 0))


@pytest.fixture
def world(clean_relations: None) -> World:
    world = worlds.build(100)
    world.tenant.s3_locations = [BUCKET]
    world.tenant.save()
    return world


def executed(world: World, **changes: Any) -> CampaignRun:
    run = world.run(**{"file_destination": "s3", "s3_path": PATH} | changes)
    assert runner.execute(run.pk)
    run.refresh_from_db()
    return run


def object_of(run: CampaignRun, kind: str = "csv") -> str:
    return f"cards/{run.campaign.public_id}/weekly-cards-run-1.{kind}"


def stored(run: CampaignRun) -> bytes:
    return open_storage().get(RunFile.objects.of(run.tenant).get(run=run).storage_key)


def undelivered(run: CampaignRun) -> str:
    """The run has everything but its object on S3; returns why."""
    assert (run.status, run.phase) == ("completed_with_errors", "done")
    kept = run.summary["totalRecommendations"]
    assert kept == stored(run).count(b"\r\n") - 1 > 0
    assert Recommendation.objects.filter(run_id=run.pk).count() == kept
    assert Contact.objects.filter(run_id=run.pk).count() == kept
    assert run.events.get(kind="completed_with_errors").message == run.error
    assert not run.events.filter(kind="delivered").exists()
    prefix = f"the file could not be written to {run.spec['file']['s3_path']}: "
    assert run.error.startswith(prefix)
    return run.error.removeprefix(prefix)


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("json", "application/json"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_the_file_is_copied(bucket: S3Server, world: World, kind: str, content_type: str) -> None:
    run = executed(world, file_format=kind)
    assert (run.status, run.error) == ("completed", "")
    status, headers, body = bucket.ask("GET", f"/{BUCKET}/{object_of(run, kind)}")
    assert (status, headers["content-type"]) == (200, content_type)
    assert body == stored(run)
    assert [event.message for event in run.events.filter(kind="delivered")] == [
        f"s3://{BUCKET}/{object_of(run, kind)}"
    ]


def test_a_download_goes_nowhere_else(bucket: S3Server, world: World) -> None:
    run = executed(world, file_destination="download", s3_path="")
    assert run.status == "completed"
    assert not bucket.requests


def test_large_files_go_in_parts(bucket: S3Server) -> None:
    data = bytes(range(256)) * (1 << 16)  # 16 MiB, two parts
    open_storage().put("large", data)
    s3.deliver(open_storage(), "large", f"{PATH}/", "large.csv", "text/csv")
    _, headers, body = bucket.ask("GET", f"/{BUCKET}/cards/large.csv")
    assert sha256(body).digest() == sha256(data).digest()
    assert headers["etag"].endswith('-2"')
    assert sorted(bucket.requests) == ["POST", "POST", "PUT", "PUT"]


def test_what_is_stored_in_a_bucket_is_copied(bucket: S3Server, settings: LazySettings) -> None:
    settings.STORAGE_URL = f"s3://{BUCKET}/inside"
    data = bytes(range(256)) * (1 << 16)
    open_storage().put("large", data)
    s3.deliver(open_storage(), "large", PATH, "large.csv", "text/csv")
    assert bucket.ask("GET", f"/{BUCKET}/cards/large.csv")[2] == data


def test_an_upload_that_breaks_off_leaves_nothing(bucket: S3Server) -> None:
    bucket.broken_part = "2"
    open_storage().put("large", bytes(16 << 20))
    with pytest.raises(s3.Undelivered, match="503"):
        s3.deliver(open_storage(), "large", PATH, "large.csv", "text/csv")
    assert bucket.ask("GET", f"/{BUCKET}/cards/large.csv")[0] == 404
    assert b"<Upload>" not in bucket.ask("GET", f"/{BUCKET}?uploads")[2]


@pytest.mark.parametrize("failures", [1, 3, 5])
def test_a_burst_of_server_errors_is_outlasted(
    bucket: S3Server, world: World, failures: int
) -> None:
    bucket.failures = failures
    run = executed(world)
    assert (run.status, run.error) == ("completed", "")
    assert bucket.ask("GET", f"/{BUCKET}/{object_of(run)}")[2] == stored(run)


def test_a_server_that_keeps_failing_costs_only_the_copy(bucket: S3Server, world: World) -> None:
    bucket.failures = 1000
    run = executed(world)
    assert "503" in undelivered(run)
    assert bucket.ask("GET", f"/{BUCKET}/{object_of(run)}")[0] == 404


def test_a_server_that_does_not_answer_costs_only_the_copy(
    bucket: S3Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "error sending request" in undelivered(executed(world))


def test_wrong_credentials_are_not_tried_again(
    bucket: S3Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert undelivered(executed(world)) == (
        "InvalidAccessKeyId: The AWS Access Key Id you provided does not exist."
    )
    assert bucket.requests == ["POST"]


def test_a_missing_bucket_is_named(bucket: S3Server, world: World) -> None:
    world.tenant.s3_locations = ["elsewhere"]
    world.tenant.save()
    run = executed(world, s3_path="s3://elsewhere/cards")
    assert undelivered(run) == "NoSuchBucket: The specified bucket does not exist"


def test_a_location_taken_away_ends_the_run_before_it_begins(
    bucket: S3Server, world: World
) -> None:
    world.tenant.s3_locations = [f"{BUCKET}/loans", "other"]
    world.tenant.save()
    run = executed(world)
    assert (run.status, run.error) == (
        "failed",
        "fileConfig.s3Path: Is outside of what this tenant may write to: "
        "s3://outbox/loans, s3://other.",
    )
    assert run.audience_count is None
    assert not bucket.requests


def test_a_location_taken_away_during_the_run_gets_nothing(
    bucket: S3Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    summarize = finish.summarize

    def take_away(*args: Any, **named: Any) -> dict[str, Any]:
        world.tenant.s3_locations = []
        world.tenant.save()
        return summarize(*args, **named)

    monkeypatch.setattr(finish, "summarize", take_away)
    assert undelivered(executed(world)) == (
        "Is outside of what this tenant may write to: no S3 at all."
    )
    assert not bucket.requests


def test_a_retry_writes_the_same_object(
    bucket: S3Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def lose_connection(*_: Any) -> None:
            raise psycopg.OperationalError("the connection is lost")

        broken.setattr(finish, "_complete", lose_connection)
        run = executed(world)
    assert run.status == "running"
    delivered = bucket.ask("GET", f"/{BUCKET}/{object_of(run)}")[2]
    CampaignRun.unscoped.filter(pk=run.pk).update(lease_until=None)
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"
    assert bucket.ask("GET", f"/{BUCKET}/{object_of(run)}")[2] == delivered == stored(run)
    assert bucket.ask("GET", f"/{BUCKET}?list-type=2")[2].count(b"<Key>") == 1


LOCATIONS = ["outbox/cards", "archive/", "deep/er/er"]


@pytest.mark.parametrize(
    "path",
    [
        "s3://outbox/cards",
        "s3://outbox/cards/",
        "s3://outbox/cards/a b/é",
        "s3://archive",
        "s3://archive/any/where",
        "s3://deep/er/er/x",
    ],
)
def test_below_a_location_all_is_allowed(path: str) -> None:
    assert s3.find_fault(path, LOCATIONS) is None


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("https://outbox/cards", "Must be s3://bucket/folder."),
        ("s3://", "Must be s3://bucket/folder."),
        ("s3:///cards", "Must be s3://bucket/folder."),
        ("s3://Outbox/cards", "Must be s3://bucket/folder."),
        ("s3://outbox@evil/cards", "Must be s3://bucket/folder."),
        ("s3://../cards", "Must be s3://bucket/folder."),
        ("s3://outbox//cards", "May have no empty folder"),
        ("s3://outbox/cards/../loans", "May have no empty folder"),
        ("s3://outbox/cards/./x", "May have no empty folder"),
        ("s3://outbox/cards/a\nb", "May have no empty folder"),
        ("s3://outbox", "Is outside"),
        ("s3://outbox/cardsharp", "Is outside"),
        ("s3://outbox2/cards", "Is outside"),
        ("s3://deep/er", "Is outside"),
    ],
)
def test_elsewhere_nothing_is(path: str, fault: str) -> None:
    assert (s3.find_fault(path, LOCATIONS) or "").startswith(fault)
    assert s3.find_fault("s3://outbox/cards", [""]) is not None
