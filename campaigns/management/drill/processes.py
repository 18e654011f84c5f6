"""The processes of the sandbox as /proc shows them: every one carries the sandbox's folder."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    words: tuple[str, ...]


def found(folder: Path) -> Iterator[Process]:
    """Living processes with the sandbox's KAIREON_VAR in their environment, but not ourselves."""
    mark = b"KAIREON_VAR=" + os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError, IndexError):  # gone meanwhile, or not ours to read
            if mark not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if state != "Z":
                yield Process(int(entry.name), int(parent), tuple(map(os.fsdecode, words)))


def children(folder: Path, parent: int) -> list[int]:
    return sorted(each.pid for each in found(folder) if each.parent == parent)


def drains(folder: Path) -> list[int]:
    """Local drains: what a web server or a pulse starts while the broker is away."""
    return sorted(
        each.pid
        for each in found(folder)
        if "drain" in each.words and not each.words[0].endswith("sh")
    )


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False if the process was gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(folder: Path) -> None:
    """Kill whatever of the sandbox still lives."""
    while left := list(found(folder)):
        for each in left:
            send(each.pid, signal.SIGKILL)
