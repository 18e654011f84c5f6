"""kill -9 at any moment loses nothing and doubles nothing."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.db.models import Sum

from campaigns.models import CampaignRun, Contact, Recommendation, RunChunk, RunFile, Worker
from campaigns.services.schedules import database_now
from executor import idle, runner
from executor.heartbeat import stopping
from tests import world as worlds
from tests.processes import manage, wait_until

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.slow]

CUSTOMERS, CHUNK = 20_000, 1024


@contextmanager
def customers_changing(dsn: str, table: str) -> Iterator[None]:
    """Another session that updates, inserts and deletes customers all the while."""
    stop = threading.Event()

    def change() -> None:
        dice = random.Random(5)
        with psycopg.connect(dsn, autocommit=True) as other:
            while not stop.is_set():
                number = dice.randrange(CUSTOMERS)
                key = f"C{number:07d}"
                other.execute(f"UPDATE {table} SET balance = -1 WHERE customer_id = %s", [key])
                other.execute(f"DELETE FROM {table} WHERE customer_id = %s", [f"C{number + 1:07d}"])
                other.execute(
                    f"INSERT INTO {table} (customer_id, age) VALUES (%s, 50)"
                    " ON CONFLICT DO NOTHING",
                    [f"X{number}"],
                )

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def drop_connections(dsn: str) -> None:
    """End all sessions of the database but the test's own."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
            " current_database() AND pid NOT IN (pg_backend_pid(), %s)",
            [connection.connection.info.backend_pid],
        )


def progress(run: CampaignRun) -> int:
    """Steps the run's chunks have taken so far."""
    chunks = RunChunk.objects.filter(run=run)
    return chunks.exclude(status="frozen").count() + chunks.filter(status="written").count()


def takings(run: CampaignRun) -> int:
    """How often somebody has taken the run's next step, or one of its chunks."""
    taken = RunChunk.objects.filter(run=run).aggregate(sum=Sum("fencing_token"))["sum"] or 0
    return CampaignRun.unscoped.get(pk=run.pk).fencing_token + taken


def killed_until_done(run: CampaignRun, kills: int, log: Path) -> None:
    """Start drain again and again, kill each at a random point of progress; let the last end."""
    steps = 2 * -(-CUSTOMERS // CHUNK)
    for point in sorted(random.Random(11).sample(range(steps), kills)):
        before = takings(run)
        with manage("drain", "--run", str(run.pk), log=log) as child:
            wait_until(lambda at=before: takings(run) > at)
            wait_until(lambda at=point: progress(run) >= at)
            child.kill()
    with manage("drain", "--run", str(run.pk), log=log) as child:
        assert child.wait(timeout=120) == 0, log.read_text()


def test_a_lost_database_connection_is_retried(settings, tmp_path: Path, pg_dsn: str) -> None:
    settings.KAIREON_CHUNK_ROWS = CHUNK
    world = worlds.build(CUSTOMERS)
    calm, cut = world.run(), world.run()
    assert runner.execute(calm.pk)
    with manage("drain", "--run", str(cut.pk), log=tmp_path / "log") as child:
        wait_until(lambda: progress(cut) >= 2)
        drop_connections(pg_dsn)
        assert child.wait(timeout=120) == 0, (tmp_path / "log").read_text()
    files = RunFile.objects.of(world.tenant)
    assert files.get(run=cut).sha256 == files.get(run=calm).sha256
    assert RunChunk.objects.filter(run=cut, fencing_token__gt=1).exists()


def test_an_idle_worker_goes_on_looking_after_its_connection_was_lost(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "PAUSE", 0.05)
    thread = threading.Thread(target=idle.repeat, args=(idle.show_life,))
    thread.start()
    try:
        wait_until(Worker.objects.filter(kind="worker").exists)
        drop_connections(pg_dsn)
        wait_until(Worker.objects.filter(seen_at__gt=database_now()).exists)
    finally:
        stopping.set()
        thread.join()
        stopping.clear()


@pytest.mark.parametrize("caps", [{}, {"max_per_offer": 3000}], ids=["uncapped", "capped"])
def test_kill_9_at_ten_moments_gives_the_same_bytes(
    caps: dict[str, int], settings, tmp_path: Path, pg_dsn: str
) -> None:
    settings.KAIREON_CHUNK_ROWS = CHUNK
    world = worlds.build(CUSTOMERS, k=2)
    calm, killed = world.run(**caps), world.run(**caps)
    assert runner.execute(calm.pk)
    calm_file = RunFile.objects.of(world.tenant).get(run=calm)
    log = tmp_path / "log"
    with manage("drain", "--run", str(killed.pk), log=log) as child:
        wait_until(lambda: RunChunk.objects.filter(run=killed).exists())
        child.kill()
    with customers_changing(pg_dsn, world.table):
        killed_until_done(killed, 10, log)
    killed.refresh_from_db()
    assert takings(killed) > takings(calm)
    file = RunFile.objects.of(world.tenant).get(run=killed)
    assert (file.sha256, file.row_count) == (calm_file.sha256, calm_file.row_count)
    for model in (Recommendation, Contact):
        assert model.objects.filter(run_id=killed.pk).count() == file.row_count
