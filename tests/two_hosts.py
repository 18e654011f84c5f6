"""Hosts of a test's own: network and mount namespaces that share no file and no network but a cable
each to this machine, on which only forwarded ports answer.
"""

import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Whether this machine lets us make such hosts.
ALLOWED = os.geteuid() == 0 and all(shutil.which(tool) for tool in ("ip", "unshare", "mount"))


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    #: This machine, as the host sees it.
    gateway: str
    cable: str

    def words(self, hidden: Iterable[Path], *command: str) -> list[str]:
        """The command, run on the host, where the folders `hidden` are empty and its own."""
        folders = {folder for folder in hidden if not {*hidden} & {*folder.parents}}
        mounts = "".join(f"mount -t tmpfs tmpfs {shlex.quote(str(one))}; " for one in folders)
        script = f'set -e; {mounts}ip link set lo up; exec "$@"'
        inside = ("unshare", "--mount", "sh", "-c", script, "sh", *command)
        return ["ip", "netns", "exec", self.name, *inside]

    def cut_off(self) -> None:
        ip("link", "set", self.cable, "down")

    def connect(self) -> None:
        ip("link", "set", self.cable, "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts with a cable each; gone at the end of the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(_host(number)) for number in range(count)]


@contextmanager
def _host(number: int) -> Iterator[Host]:
    name = f"krn{os.getpid()}{'ab'[number]}"
    network = _free_network()
    here, there = f"{network}.1", f"{network}.2"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", f"{name}h")
        ip("link", "set", f"{name}h", "up")
        ip("netns", "exec", name, "ip", "addr", "add", f"{there}/30", "dev", "eth0")
        ip("netns", "exec", name, "ip", "link", "set", "eth0", "up")
        yield Host(name, here, f"{name}h")
    finally:
        ip("netns", "del", name)


def _free_network() -> str:
    """One that no host left behind by a killed test has: its cable would get our packets."""
    used = subprocess.run(["ip", "-brief", "address"], check=True, capture_output=True).stdout
    return next(one for one in (f"10.213.{n}" for n in range(256)) if f" {one}." not in str(used))


@contextmanager
def forwarded(address: str, port: int, target: str | tuple[str, int]) -> Iterator[None]:
    """Have the port on the address lead to a local server: a socket's path, or (host, port)."""
    with socket.create_server((address, port)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, target), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, target: str | tuple[str, int]) -> None:
    with suppress(OSError):  # the listener was shut down
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=_connect, args=(caller, target), daemon=True).start()


def _connect(caller: socket.socket, target: str | tuple[str, int]) -> None:
    family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
    with caller, socket.socket(family) as server, suppress(OSError):
        server.connect(target)
        back = threading.Thread(target=_pass_on, args=(server, caller), daemon=True)
        back.start()
        _pass_on(caller, server)
        back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
