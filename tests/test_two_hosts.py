"""Workers on two hosts that share only PostgreSQL, the broker and S3 complete one run together."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from campaigns.models import CampaignRun, Recommendation, RunChunk, RunFile, Worker
from executor import runner
from tests import world as worlds
from tests.brokers import valkey
from tests.processes import QUEUES, environment, manage, wait_until
from tests.s3_server import KEY_ID, S3Server, s3_server
from tests.two_hosts import ALLOWED, Host, forwarded, hosts

pytestmark = [
    pytest.mark.usefixtures("clean_relations"),
    pytest.mark.slow,
    pytest.mark.skipif(not ALLOWED, reason="needs root, ip, unshare and mount"),
]

BUCKET = "spool"
CUSTOMERS, CHUNK = 40_960, 1024
POSTGRES, REDIS, S3 = 5432, 6379, 9000


@pytest.fixture
def bucket(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The storage of this machine and of all hosts."""
    with s3_server() as server:
        assert server.ask("PUT", f"/{BUCKET}")[0] == 200
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        settings.STORAGE_URL = f"s3://{BUCKET}/kaireon"
        yield server


@contextmanager
def worker(host: Host, log: Path) -> Iterator[None]:
    """A Celery worker on the host, which knows this machine by its gateway alone."""
    params = connection.get_connection_params()
    user = f"{params['user']}:{params.get('password') or 'unused'}"
    env = environment(
        KAIREON_VAR=str(settings.VAR_DIR),
        KAIREON_LEASE_SECONDS="3",
        DATABASE_URL=f"postgresql://{user}@{host.gateway}:{POSTGRES}/{params['dbname']}",
        REDIS_URL=f"redis://{host.gateway}:{REDIS}/0",
        AWS_ENDPOINT_URL=f"http://{host.gateway}:{S3}",
        POLARS_MAX_THREADS="1",
    )
    command = (sys.executable, "-m", "celery", "-A", "kaireon", "worker", "--queues", QUEUES)
    command += ("--pool", "threads", "--concurrency", "2", "--hostname", f"worker@{host.name}")
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    hidden = [settings.VAR_DIR, log.parent.parent]
    if str(params["host"]).startswith("/"):
        hidden.append(Path(params["host"]))
    with log.open("wb") as output:
        process = subprocess.Popen(
            host.words(hidden, *command),
            cwd=settings.BASE_DIR,
            env=env,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    except AssertionError as error:
        error.add_note(f"{host.name} said:\n{log.read_text()[-4000:]}")
        raise
    finally:
        process.kill()
        process.wait()


def postgres() -> str | tuple[str, int]:
    """Where the server of the tests listens."""
    params = connection.get_connection_params()
    if str(params["host"]).startswith("/"):
        return f"{params['host']}/.s.PGSQL.{params.get('port') or 5432}"
    return params["host"], int(params.get("port") or 5432)


def speak(broker: str, folder: Path) -> None:
    """Have the workers told of the runs that wait."""
    log = folder / "pulse.log"
    with manage("pulse", "--once", log=log, REDIS_URL=broker, INLINE_FALLBACK="0") as child:
        assert child.wait(timeout=120) == 0, log.read_text()


def steps() -> list[int]:
    """What each worker has ended so far."""
    return list(Worker.objects.filter(kind="worker").order_by("pk").values_list("done", flat=True))


def test_two_hosts_complete_a_run_together(settings, bucket: S3Server, tmp_path: Path) -> None:
    settings.KAIREON_CHUNK_ROWS = CHUNK
    world = worlds.build(CUSTOMERS, k=2)
    calm, cut, later = (world.run(max_per_offer=5000) for _ in range(3))
    assert runner.execute(calm.pk)
    with ExitStack() as stack:
        broker = stack.enter_context(valkey())
        made = stack.enter_context(hosts(2))
        for host in made:
            for listens, target in (
                (POSTGRES, postgres()),
                (REDIS, ("127.0.0.1", broker.port)),
                (S3, ("127.0.0.1", bucket.port)),
            ):
                stack.enter_context(forwarded(host.gateway, listens, target))
            stack.enter_context(worker(host, tmp_path / f"{host.name}.log"))
        wait_until(lambda: len(steps()) == 2, seconds=120)
        speak(broker.url, tmp_path)
        wait_until(lambda: min(steps()) >= 3, seconds=120)
        made[0].cut_off()
        # What the lost host had in work is taken over; it comes back while the others work on.
        retaken = RunChunk.objects.filter(run__in=[cut, later], attempts__gt=1)
        wait_until(retaken.exists, seconds=120)
        made[0].connect()
        unfinished = CampaignRun.unscoped.filter(pk__in=[cut.pk, later.pk]).exclude(
            status="completed"
        )
        wait_until(lambda: not unfinished.exists(), seconds=180)
        before, more = steps(), list[CampaignRun]()

        def both_work() -> bool:
            """One may do a whole run before the other has looked; then there is another run."""
            if all(now > then for now, then in zip(steps(), before, strict=True)):
                return True
            more.append(world.run(max_per_offer=5000))
            speak(broker.url, tmp_path)
            own = CampaignRun.unscoped.filter(pk=more[-1].pk, status="completed")
            wait_until(own.exists, seconds=180)
            return False

        wait_until(both_work, seconds=180)
    files = RunFile.objects.of(world.tenant)
    expected = files.get(run=calm)
    for run in (cut, later, *more):
        found = files.get(run=run)
        assert (found.sha256, found.row_count) == (expected.sha256, expected.row_count)
        assert Recommendation.objects.filter(run_id=run.pk).count() == expected.row_count
