"""Celery workers execute runs, and whatever happens to them or the broker changes no result."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from campaigns.models import CampaignRun, Contact, Recommendation, RunChunk, RunFile, Worker
from executor import runner
from kaireon.celery import app
from tests import factories
from tests import world as worlds
from tests.brokers import Valkey, valkey
from tests.processes import celery, environment, trigger, wait_until, web_server
from tests.world import World

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.slow]

CUSTOMERS, CHUNK = 20_000, 1024


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
def env(broker: Valkey, settings, tmp_path: Path) -> dict[str, str]:
    settings.KAIREON_CHUNK_ROWS = CHUNK
    return environment(KAIREON_VAR=str(tmp_path), REDIS_URL=broker.url, INLINE_FALLBACK="0")


def speak_of(run: CampaignRun, broker: Valkey) -> None:
    """What the web server does, without one: send the message that there is a run."""
    with app.connection_for_write(broker.url) as line:
        app.send_task("executor.tasks.advance_run", (run.pk,), connection=line, queue="files")


def decided(run: CampaignRun) -> int:
    return RunChunk.objects.filter(run=run).exclude(status="frozen").count()


def busy(run: CampaignRun) -> bool:
    """Is a chunk in work, with others to come?"""
    left = RunChunk.objects.filter(run=run, status__in=("frozen", "decided"))
    return left.filter(lease_until__isnull=False).exists() and left.count() > 4


def ended_well(run: CampaignRun, calm: CampaignRun) -> None:
    """Completed, each customer once, and the same bytes as the run that nobody disturbed."""
    wait_until(lambda: CampaignRun.unscoped.get(pk=run.pk).status == "completed", seconds=120)
    files = RunFile.objects.of(run.tenant)
    file, calm_file = files.get(run=run), files.get(run=calm)
    assert (file.sha256, file.row_count) == (calm_file.sha256, calm_file.row_count)
    for model in (Recommendation, Contact):
        rows = model.objects.filter(run_id=run.pk)
        assert rows.count() == rows.values("customer_key").distinct().count() == file.row_count


def calm_run(world: World, **caps: int) -> tuple[CampaignRun, CampaignRun]:
    """A run that has been executed without disturbance, and one like it that waits."""
    calm, run = world.run(**caps), world.run(**caps)
    assert runner.execute(calm.pk)
    return calm, run


def received(log: Path) -> Counter[str]:
    """How often each message was received, by its id."""
    return Counter(re.findall(r"Task \S+\[([0-9a-f-]{36})\] received", log.read_text()))


def test_a_worker_executes_what_the_web_server_was_asked_for(
    env: dict[str, str], tmp_path: Path
) -> None:
    world = worlds.build(200)
    with celery("worker", log=tmp_path / "worker.log", env=env):
        with web_server(env, tmp_path / "web.log") as (address, _):
            for _ in range(3):
                key = factories.api_key(world.tenant)
                trigger(address, world.campaign.public_id, key)
        runs = CampaignRun.objects.of(world.tenant)
        wait_until(lambda: runs.filter(status="completed").count() == 3, seconds=120)
        (worker,) = Worker.objects.filter(kind="worker")
        assert worker.done >= 6  # a freeze, a chunk and a finish, of each
    assert sum(received(tmp_path / "worker.log").values()) >= 6


def test_a_broker_that_loses_everything_costs_only_time(
    env: dict[str, str], broker: Valkey, tmp_path: Path
) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS), max_per_offer=3000)
    with (
        celery("worker", log=tmp_path / "worker.log", env=env),
        redis.Redis.from_url(broker.url) as client,
    ):
        speak_of(run, broker)
        wait_until(lambda: busy(run))
        client.flushall()
        wait_until(lambda: decided(run) > 10)
        client.flushall()
        ended_well(run, calm)


def test_a_broker_that_starts_again_is_used_again(
    env: dict[str, str], broker: Valkey, tmp_path: Path
) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS))
    log = tmp_path / "worker.log"
    with celery("worker", log=log, env=env):
        speak_of(run, broker)
        wait_until(lambda: busy(run))
        broker.kill()
        ended_well(run, calm)  # by the idle look, which needs no broker
        broker.start()
        before = sum(received(log).values())
        small = worlds.build(20, table="ds_second").run()
        speak_of(small, broker)
        wait_until(lambda: sum(received(log).values()) > before)
        wait_until(lambda: CampaignRun.unscoped.get(pk=small.pk).status == "completed")


def test_a_chunk_of_a_worker_that_was_killed_is_taken_again(
    env: dict[str, str], broker: Valkey, tmp_path: Path
) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS), max_per_offer=3000)
    with celery("worker", log=tmp_path / "b.log", env=env):
        with celery("worker", log=tmp_path / "a.log", env=env) as killed:
            speak_of(run, broker)
            wait_until(lambda: killed.poll() is None and busy(run))
            killed.kill()
        ended_well(run, calm)


def test_a_message_that_comes_twice_and_a_worker_back_from_the_dead_write_nothing(
    env: dict[str, str], broker: Valkey, tmp_path: Path
) -> None:
    calm, run = calm_run(worlds.build(CUSTOMERS), max_per_offer=3000)
    logs = tmp_path / "a.log", tmp_path / "b.log"
    with celery("worker", log=logs[0], env=env, app="tests.impatient") as frozen:
        speak_of(run, broker)
        wait_until(lambda: busy(run))
        frozen.send_signal(signal.SIGSTOP)
        with celery("worker", log=logs[1], env=env, app="tests.impatient"):
            ended_well(run, calm)
            wait_until(lambda: bool(received(logs[0]).keys() & received(logs[1]).keys()))
            frozen.send_signal(signal.SIGCONT)
            done = received(logs[0]).total()
            speak_of(run, broker)
            speak_of(run, broker)
            wait_until(lambda: sum(map(ends, logs)) >= done + 2)
    ended_well(run, calm)


def ends(log: Path) -> int:
    return log.read_text().count("succeeded in")
