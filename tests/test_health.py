"""The probes: what each answers in each state, how soon, and what it keeps to itself."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.test import Client
from django.utils import timezone

from campaigns.models import RunChunk, Worker
from executor import workers
from kaireon.database.base import probing
from kaireon.embedded import FAST, EmbeddedPostgres
from tests import factories
from tests.brokers import Valkey, black_hole, valkey
from tests.processes import environment, web_server

#: Connecting and all answers of the database, as kaireon.health promises, and a busy machine.
AT_MOST = 6


def ready(code: int = 200) -> dict:
    response = Client().get("/health/ready")
    assert response.status_code == code
    assert "no-store" in response["Cache-Control"]
    found: dict = response.json()
    assert found["reasons"] == [
        part["reason"] for part in found.values() if isinstance(part, dict) and "reason" in part
    ]
    return found


def degraded(part: str) -> str:
    """Why this part, and it alone, is degraded."""
    found = ready()
    assert found["status"] == "degraded"
    (reason,) = found["reasons"]
    assert found[part]["reason"] == reason
    return reason


@pytest.fixture
def well(transactional_db: None, settings) -> Iterator[Valkey]:
    """A broker, a pulse and a worker that has just been seen."""
    with valkey() as broker:
        settings.REDIS_URL = broker.url
        workers.seen("pulse")
        workers.seen("worker")
        yield broker


def aged(kind: str, seconds: float, **fields: object) -> None:
    at = timezone.now() - timedelta(seconds=seconds)
    Worker.objects.filter(kind=kind).update(seen_at=at, **fields)


def test_alive_needs_neither_database_nor_broker(settings, django_assert_num_queries) -> None:
    """Without the mark `django_db`, any statement would fail the test."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = Client().get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_only_read(path: str) -> None:
    assert Client().post(path).status_code == 405


def test_all_is_well(well: Valkey) -> None:
    found = ready()
    assert (found["status"], found["reasons"]) == ("ok", [])
    parts = ["database", "broker", "pulse", "runs", "chunks", "workers"]
    assert [found[part]["status"] for part in parts] == ["ok"] * 6
    assert found["workers"]["seen"] == {"worker": 1, "drain": 0, "pulse": 1}
    assert found["runs"]["oldestUndispatchedSeconds"] == 0
    assert found["pulse"]["lastPulseAt"].endswith("Z")


def test_without_a_broker_neither_it_nor_workers_are_missed(transactional_db: None) -> None:
    workers.seen("pulse")
    found = ready()
    assert found["status"] == "ok"
    assert "broker" not in found


def test_a_broker_that_is_down_or_frozen_degrades(well: Valkey, settings) -> None:
    told = "The broker does not answer; runs are taken up without it, some seconds later."
    start = time.monotonic()
    well.freeze()
    assert degraded("broker") == told
    well.kill()
    assert degraded("broker") == told
    with black_hole() as port:
        settings.REDIS_URL = f"redis://:s3cret@127.0.0.1:{port}/0"
        assert degraded("broker") == told
        assert "s3cret" not in json.dumps(ready())
        assert str(port) not in json.dumps(ready())
    assert time.monotonic() - start < 3 * AT_MOST


def test_a_broker_that_evicts_degrades(transactional_db: None, settings) -> None:
    workers.seen("pulse")
    workers.seen("worker")
    with valkey("--maxmemory-policy", "volatile-lru") as broker:
        settings.REDIS_URL = broker.url
        assert degraded("broker") == (
            "The broker's maxmemory-policy is volatile-lru; it must be noeviction."
        )


def test_a_pulse_that_stopped_degrades(well: Valkey) -> None:
    aged("pulse", 100)
    assert ready()["status"] == "ok"
    aged("pulse", 130)
    assert degraded("pulse") == "The scheduler's pulse is 130 s old."
    Worker.objects.filter(kind="pulse").delete()
    assert degraded("pulse") == "The scheduler's pulse has not been seen for a day."
    assert ready()["pulse"]["lastPulseAt"] is None


def test_a_run_that_nobody_takes_up_degrades(well: Valkey) -> None:
    run = factories.RunFactory(created_at=timezone.now() - timedelta(seconds=30))
    assert ready()["status"] == "ok"
    run.created_at -= timedelta(seconds=60)
    run.save()
    assert degraded("runs") == "A run has been waiting for 90 s for somebody to take it up."
    assert 90 <= ready()["runs"]["oldestUndispatchedSeconds"] < 150
    run.lease_until = timezone.now() + timedelta(minutes=1)  # put back for a while
    run.save()
    assert ready()["status"] == "ok"


def test_chunks_that_nobody_does_degrade(well: Valkey) -> None:
    at = timezone.now() - timedelta(seconds=90)
    run = factories.RunFactory(status="running", phase="write", started_at=at)
    chunk = RunChunk.objects.create(run=run, number=0, customers=1, input_key="k")
    assert degraded("chunks") == "Chunks wait, and none has been ended for 90 s."
    aged("worker", 1, worked_at=timezone.now())  # others come first
    assert ready()["status"] == "ok"
    aged("worker", 1, worked_at=at)
    assert ready()["status"] == "degraded"
    chunk.lease_until = timezone.now() + timedelta(minutes=1)  # somebody does it
    chunk.save()
    assert ready()["status"] == "ok"


def test_no_worker_degrades(well: Valkey) -> None:
    aged("worker", 70)
    assert degraded("workers") == "No worker has been seen for 60 s."


def test_statements_that_take_long_are_cut_from_this_side(transactional_db: None) -> None:
    start = time.monotonic()
    sleep = "SET statement_timeout = 0; SELECT pg_sleep(60)"
    with probing(0.5) as own, pytest.raises(psycopg.OperationalError):
        own.execute(sleep)
    assert time.monotonic() - start < AT_MOST


def ask(address: str, path: str) -> tuple[int, dict, float]:
    """Code, answer, and how long it took."""
    start = time.monotonic()
    try:
        with urllib.request.urlopen(f"{address}{path}", timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer), time.monotonic() - start
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused), time.monotonic() - start


AWAY = "The database does not answer."


def test_a_database_that_is_frozen_or_down_makes_it_unready(db: None, tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", FAST) as server:
        params = server.params()
        url = f"postgresql://{params['user']}@/postgres?host={quote(params['host'], safe='')}"
        url += f"&port={params['port']}"
        env = environment(KAIREON_VAR=str(tmp_path), DATABASE_URL=url)
        with web_server(env, tmp_path / "web.log") as (address, _):
            code, found, _ = ask(address, "/health/ready")
            assert (code, found["status"], found["database"]["status"]) == (200, "degraded", "ok")
            assert found["reasons"] == ["The state of the work cannot be read; see the log."]
            postmaster = server.place.postmaster()
            os.kill(postmaster, signal.SIGSTOP)
            try:
                unready(address)
            finally:
                os.kill(postmaster, signal.SIGCONT)
            assert ask(address, "/health/ready")[0] == 200
            server.stop()
            unready(address)
    assert "Traceback" in (tmp_path / "web.log").read_text()  # why, for those who may know


def unready(address: str) -> None:
    code, found, seconds = ask(address, "/health/ready")
    part = {"status": "unavailable", "reason": AWAY}
    assert (code, found) == (503, {"status": "unavailable", "reasons": [AWAY], "database": part})
    assert seconds < AT_MOST
    code, found, _ = ask(address, "/health/live")
    assert (code, found) == (200, {"status": "ok"})
