"""SIGTERM: what is in work is ended or returned within seconds, and goes on elsewhere at once."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import psycopg
import pytest
import redis
from django.db import connection

from campaigns.models import CampaignRun, RunChunk
from executor import drain as drains
from executor import runner
from executor.heartbeat import stopping
from tests import factories
from tests import world as worlds
from tests.brokers import valkey
from tests.processes import celery, environment, manage, wait_until, web_server
from tests.test_celery_worker import busy, calm_run, ended_well, speak_of

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.slow]

CUSTOMERS, CHUNK = 20_000, 1024
#: So long a lease that nobody can have waited for it.
LEASE = "600"
#: What compose.yaml grants.
SECONDS = 30


@pytest.fixture(autouse=True)
def small_chunks(settings) -> None:
    settings.KAIREON_CHUNK_ROWS = CHUNK


def in_phase(run: CampaignRun, phase: str) -> bool:
    """Has the phase begun? In a phase of chunks, one of them is in work and more are to come."""
    now = CampaignRun.unscoped.get(pk=run.pk)
    if phase == "freeze":
        return now.fencing_token > 0
    return now.phase == phase and busy(run)


def goes_on_at_once(run: CampaignRun, calm: CampaignRun) -> None:
    """No lease is left behind, so whoever looks next has all of it to do."""
    run.refresh_from_db()
    assert run.status == "running"
    assert run.lease_until is None
    assert not RunChunk.objects.filter(run=run, lease_until__isnull=False).exists()
    assert runner.execute(run.pk)
    ended_well(run, calm)
    assert not run.events.filter(kind="put back").exists()


@pytest.mark.parametrize("phase", ["freeze", "decide", "write"])
def test_a_drain_that_is_told_to_end(phase: str, tmp_path: Path) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS), max_per_offer=3000)
    log = tmp_path / "drain.log"
    with manage("drain", "--run", str(run.pk), log=log, KAIREON_LEASE_SECONDS=LEASE) as child:
        wait_until(lambda: in_phase(run, phase))
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=SECONDS) == 0, log.read_text()
    goes_on_at_once(run, calm)


@pytest.mark.parametrize("phase", ["freeze", "write"])
def test_a_worker_that_is_told_to_end(phase: str, tmp_path: Path) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS), max_per_offer=3000)
    log = tmp_path / "worker.log"
    with valkey() as broker, redis.Redis.from_url(broker.url) as client:
        changes = {"REDIS_URL": broker.url, "KAIREON_LEASE_SECONDS": LEASE}
        env = environment(KAIREON_VAR=str(tmp_path), INLINE_FALLBACK="0", **changes)
        with celery("worker", log=log, env=env) as child:
            speak_of(run, broker)
            wait_until(lambda: in_phase(run, phase))
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=SECONDS) == 0, log.read_text()
        # Other workers are told, and need not look by themselves.
        run.refresh_from_db()
        told = {"decide": "chunks", "write": "chunks"}.get(run.phase, "files")
        assert client.llen(told) > 0
    goes_on_at_once(run, calm)


def test_a_local_drain_leaves_its_lock(tmp_path: Path) -> None:
    run = worlds.build(CUSTOMERS).run()
    log = tmp_path / "drain.log"
    changes = {"KAIREON_VAR": str(tmp_path), "KAIREON_LEASE_SECONDS": LEASE}
    with manage("drain", log=log, **changes) as child:
        wait_until(lambda: in_phase(run, "write"))
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=SECONDS) == 0
    assert "told to end" in log.read_text()
    with manage("drain", log=log, **changes) as child:
        assert child.wait(timeout=120) == 0
    assert "none is waiting" in log.read_text()
    run.refresh_from_db()
    assert run.status == "completed"


def test_requests_in_flight_are_answered(tmp_path: Path, pg_dsn: str) -> None:
    """One that waits for a lock of the database when the web server is told to end."""
    world = worlds.build(20)
    key = factories.api_key(world.tenant)
    env = environment(KAIREON_VAR=str(tmp_path), INLINE_FALLBACK="0")
    with web_server(env, tmp_path / "web.log") as (address, pid):
        port = int(address.rpartition(":")[2])
        with psycopg.connect(pg_dsn) as own, socket.create_connection(("127.0.0.1", port)) as line:
            own.execute(
                "SELECT 1 FROM campaigns_campaign WHERE id = %s FOR UPDATE", [world.campaign.pk]
            )
            line.sendall(
                f"POST /api/v1/runs/{world.campaign.public_id}/campaign-runs HTTP/1.1\r\n"
                f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode()
            )
            wait_until(waits_for_a_lock)
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: "Handling signal: term" in (tmp_path / "web.log").read_text())
            own.rollback()
            line.settimeout(SECONDS)
            answer = line.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 201 ")
    made = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert made["id"] == CampaignRun.objects.of(world.tenant).get().public_id


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


def test_stopping_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that waits for others' work does not wait for it once it is told to end."""
    run = worlds.build(20).run()
    CampaignRun.unscoped.filter(pk=run.pk).update(
        status="running", lease_until="9999-01-01T00:00:00Z"
    )
    monkeypatch.setattr(drains, "PAUSE", 60)
    start = time.monotonic()
    stopping.set()
    try:
        drains.wait_for(run.pk)
    finally:
        stopping.clear()
    assert time.monotonic() - start < SECONDS
