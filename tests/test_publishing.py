"""Whatever the broker does, a trigger is answered at once and its run executes."""

import ast
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from campaigns import tasks as beaten
from campaigns.models import CampaignRun
from campaigns.services.waiting import waits_for, with_waits
from executor import messages, tasks
from tests import factories
from tests import world as worlds
from tests.brokers import Valkey, black_hole, valkey
from tests.processes import celery, environment, free_port, manage, wait_until, web_server
from tests.sources import modules
from tests.world import World

#: The issue's bound for an answer.
AT_MOST = 2.5


class Caller:
    """Somebody who starts runs over the API and looks at the clock."""

    def __init__(self, address: str, world: World) -> None:
        self._address, self._world = address, world
        self._key = factories.api_key(world.tenant)
        with urllib.request.urlopen(f"{address}/health/ready", timeout=60):  # noqa: S310
            pass  # the server has loaded its code

    def trigger(self) -> dict[str, object]:
        campaign = self._world.campaign.public_id
        return self._post(f"runs/{campaign}/campaign-runs", {}, 201)

    def execute_inline(self) -> dict[str, object]:
        campaign = self._world.campaign
        body = {
            "runId": campaign.public_id,
            "decisionFlowId": campaign.flow.public_id,
            "segmentViewName": campaign.segment.view_name,
        }
        return self._post("runs/execute-inline", body, 200)

    def at_once(self, count: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            for answer in [pool.submit(self.trigger) for _ in range(count)]:
                answer.result()

    def _post(self, path: str, body: dict[str, str], status: int) -> dict[str, object]:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._address}/api/v1/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        start = time.monotonic()
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: dict[str, object] = json.load(answer)
            assert answer.status == status
        seconds = time.monotonic() - start
        assert seconds < AT_MOST, f"{seconds:.2f} s"
        return found


def queued(broker: Valkey) -> int:
    with redis.Redis.from_url(broker.url) as client:
        return int(client.llen("files"))


@pytest.mark.usefixtures("clean_relations")
def test_a_trigger_is_answered_whatever_the_broker_does(tmp_path: Path) -> None:
    world = worlds.build(20)
    broker = Valkey(port=free_port())
    env = environment(KAIREON_VAR=str(tmp_path), REDIS_URL=broker.url)
    with web_server(env, tmp_path / "web.log") as (address, _):
        caller = Caller(address, world)
        caller.trigger()  # refused
        caller.execute_inline()
        with black_hole(broker.port):
            caller.trigger()
            caller.at_once(4)
        try:
            broker.start()
            caller.trigger()
            assert queued(broker) == 1
            broker.freeze()  # with connections in the pool
            caller.trigger()
            broker.kill()
            broker.start()  # with connections in the pool to the one before
            caller.trigger()
            wait_until(lambda: queued(broker) == 1)
            with redis.Redis.from_url(broker.url) as client:
                client.config_set("maxmemory", 1)  # full: it takes no more messages
            caller.trigger()
        finally:
            broker.kill()
    runs = CampaignRun.objects.of(world.tenant)
    wait_until(lambda: not runs.filter(status__in=CampaignRun.UNFINISHED).exists(), seconds=180)
    assert list(runs.values_list("status", flat=True)) == ["completed"] * 11


@pytest.mark.usefixtures("clean_relations")
def test_without_fallback_an_idle_worker_takes_what_the_broker_was_not_told(
    tmp_path: Path,
) -> None:
    world = worlds.build(20)
    runs = CampaignRun.objects.of(world.tenant)
    with black_hole() as port:
        url = f"redis://127.0.0.1:{port}/0"
        env = environment(KAIREON_VAR=str(tmp_path), REDIS_URL=url, INLINE_FALLBACK="0")
        with web_server(env, tmp_path / "web.log") as (address, _):
            caller = Caller(address, world)
            caller.trigger()
            caller.at_once(3)
            caller.execute_inline()
        seen = [(run.status, waits_for(run)) for run in with_waits(runs)]
        assert seen == [("pending", "worker")] * 5
        assert not (tmp_path / "drain.log").exists()
        with celery("worker", log=tmp_path / "worker.log", env=env):
            wait_until(lambda: runs.filter(status="completed").count() == 5, seconds=120)


@pytest.mark.usefixtures("clean_relations")
def test_the_pulse_speaks_of_a_run_that_was_committed_and_never_sent(tmp_path: Path) -> None:
    run = worlds.build(20).run()
    with valkey() as broker, redis.Redis.from_url(broker.url) as client:
        env = {"KAIREON_VAR": str(tmp_path), "REDIS_URL": broker.url, "INLINE_FALLBACK": "0"}
        with manage("pulse", "--once", log=tmp_path / "pulse.log", **env) as pulse:
            assert pulse.wait(timeout=120) == 0, (tmp_path / "pulse.log").read_text()
        (message,) = client.lrange("files", 0, -1)
        assert client.llen("chunks") == 0
    assert "1 dispatched" in (tmp_path / "pulse.log").read_text()
    sent = json.loads(message)
    assert sent["headers"]["task"] == "executor.tasks.advance_run"
    assert sent["headers"]["argsrepr"] == f"({run.pk},)"
    assert sent["headers"]["expires"]  # one that is taken up late is not needed any more
    assert sent["headers"]["eta"] is None


def test_sending_that_takes_long_is_left_alone() -> None:
    stuck, done = threading.Event(), threading.Event()

    def look_up_a_name() -> None:
        stuck.wait(60)
        done.set()

    start = time.monotonic()
    assert messages.send(look_up_a_name) == 0
    assert time.monotonic() - start < AT_MOST
    stuck.set()
    assert done.wait(60)  # it ends by itself


def test_when_all_threads_are_stuck_nobody_waits_for_one() -> None:
    stuck = threading.Event()
    with ThreadPoolExecutor(messages.MOST_STUCK) as pool:
        start = time.monotonic()
        sent = [pool.submit(messages.send, lambda: stuck.wait(60)) for _ in range(40)]
        assert [one.result() for one in sent] == [0] * 40
        assert messages.send(lambda: None) == 0
        assert time.monotonic() - start < 2 * AT_MOST
    stuck.set()
    wait_until(lambda: messages.send(lambda: None) == 1)


def test_many_slow_messages_are_cut_short_together() -> None:
    start = time.monotonic()
    sent = messages.send(lambda: time.sleep(0.2), times=1000)
    assert time.monotonic() - start < AT_MOST
    assert 1 <= sent < 1000


def test_a_connection_that_was_dropped_is_tried_once_more() -> None:
    calls: list[int] = []

    def publish() -> None:
        calls.append(1)
        if len(calls) % 2:
            raise ConnectionResetError

    assert messages.send(publish, times=3) == 3
    assert len(calls) == 6


def test_any_error_of_the_broker_is_only_told() -> None:
    def publish() -> None:
        raise redis.exceptions.OutOfMemoryError("command not allowed when used memory > maxmemory")

    assert messages.send(publish, times=5) == 0


CANVAS = {"chord", "chain", "group", "chunks", "starmap", "AsyncResult", "GroupResult"}
WAITING = {"countdown", "eta", "link", "link_error"}


def test_messages_carry_an_id_and_nothing_depends_on_them(settings) -> None:
    """No results, chords, delays or revocations: all of that is in the database."""
    found = []
    for module in modules():
        found += [f"{module.file}: {name}" for _, name in module.imports if "celery.canvas" in name]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("celery"):
                found += [module.at(node) for alias in node.names if alias.name in CANVAS]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found += [module.at(node)] * ast.unparse(node.func).endswith("control.revoke")
                words = {word.arg for word in node.keywords}
                found += [module.at(node)] * bool(WAITING & words and "apply" in node.func.attr)
    assert not found
    assert settings.CELERY_TASK_IGNORE_RESULT
    assert not hasattr(settings, "CELERY_RESULT_BACKEND")


def test_redis_decides_nothing() -> None:
    """No locks, leaders or counters there but those of the throttle, which may be lost."""
    users = {
        m.file for m in modules() if any(name.split(".")[0] == "redis" for _, name in m.imports)
    }
    assert users == {
        "kaireon/access/throttle.py",
        "kaireon/broker.py",
        "kaireon/checks.py",
        "kaireon/health.py",
        "campaigns/management/drill/faults.py",  # it breaks the broker of its sandbox
    }


def test_workers_and_beat_try_for_ever_to_reach_a_broker(settings) -> None:
    assert settings.CELERY_BROKER_CONNECTION_MAX_RETRIES is None
    assert settings.CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP
    # What is in work goes on without the broker: its lease is in the database.
    assert not settings.CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS


def test_every_task_takes_a_number_or_nothing() -> None:
    for task in (tasks.advance_run, tasks.work_chunk, beaten.pulse):
        given = {name: kind for name, kind in task.run.__annotations__.items() if name != "return"}
        assert given in ({"run_key": int}, {})
        assert task.acks_late
        assert task.ignore_result
        assert task.app.conf.worker_prefetch_multiplier == 1
        assert task.app.conf.result_backend is None
