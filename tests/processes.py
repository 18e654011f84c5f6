"""Real processes of the project on the test database."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

QUEUES = "control,files,chunks"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child that works on the test database and this test's storage."""
    params = connection.get_connection_params()
    address = {name: str(params[name]) for name in ("host", "port") if params.get(name)}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in address.items())
    user = quote(params.get("user", ""), safe="")
    password = f":{quote(params['password'], safe='')}" if params.get("password") else ""
    kept = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return kept | {
        "DATABASE_URL": f"postgresql://{user}{password}@/{params['dbname']}?{query}",
        "STORAGE_URL": settings.STORAGE_URL,
        "KAIREON_CHUNK_ROWS": str(settings.KAIREON_CHUNK_ROWS),
        "KAIREON_LEASE_SECONDS": "1",
        **changes,
    }


@contextmanager
def _process(
    words: Sequence[str], log: Path, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Python with these words, killed at the end of the block."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, *words],
            cwd=settings.BASE_DIR,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def manage(
    *words: str, log: Path, **changes: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """`manage.py WORDS` in a process of its own, killed at the end of the block."""
    return _process([str(settings.BASE_DIR / "manage.py"), *words], log, environment(**changes))


def celery(
    role: str, *words: str, log: Path, env: dict[str, str], app: str = "kaireon"
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Celery's worker (with two threads) or beat, killed at the end of the block."""
    if role == "worker":
        words = ("--pool", "threads", "--concurrency", "2", "--queues", QUEUES, *words)
    return _process(["-m", "celery", "-A", app, role, "--loglevel", "INFO", *words], log, env)


def wait_until(true: Callable[[], bool], *, seconds: float = 60) -> None:
    """Look often until it is so; fail when it does not become so in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)


@contextmanager
def web_server(env: dict[str, str], log: Path) -> Iterator[tuple[str, int]]:
    """gunicorn on a free port. Yields its address and process id."""
    port = free_port()
    with log.open("ab") as output:
        command = ("-m", "gunicorn", "kaireon.wsgi", "--bind", f"127.0.0.1:{port}")
        server = subprocess.Popen(
            [sys.executable, *command, "--workers", "1", "--threads", "4"],
            cwd=settings.BASE_DIR,
            env=env,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: _answers(port))
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(timeout=30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def trigger(address: str, campaign: str, key: str) -> dict[str, object]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{address}/api/v1/runs/{campaign}/campaign-runs",
        data=b"{}",
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        assert answer.status == 201
        return json.load(answer)
