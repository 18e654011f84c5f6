"""Peak memory of processes as PSS: what each holds alone, plus its share of what it shares.

Unlike RSS, PSS may be summed: a page that two processes share is counted once. Linux only.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

EVERY_SECONDS = 0.05
#: PostgreSQL has many processes, and its memory is only reported, so every so many looks will do.
SERVER_EVERY = 20
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(slots=True)
class Peaks:
    """Highest sums of PSS in bytes; `server` is 0 where it cannot be read."""

    work: int = 0
    bench: int = 0
    server: int = 0


@contextmanager
def watch_memory(pid: int, postmaster: int | None) -> Iterator[Peaks]:
    """Watch the process `pid` with its descendants, this process, and the database server."""
    peaks, stop = Peaks(), threading.Event()

    def watch() -> None:
        looks = 0
        while not stop.wait(EVERY_SECONDS):
            peaks.work = max(peaks.work, tree_pss(pid))
            peaks.bench = max(peaks.bench, pss(os.getpid()))
            if postmaster and looks % SERVER_EVERY == 0:
                peaks.server = max(peaks.server, tree_pss(postmaster))
            looks += 1

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def tree_pss(pid: int) -> int:
    """PSS of a process and all its descendants, in bytes."""
    return pss(pid) + sum(tree_pss(child) for child in _children(pid))


def pss(pid: int) -> int:
    """PSS of one process in bytes; 0 if it is gone or not ours to read."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("Pss:")]
    return int(sizes[0]) * 1024 if sizes else 0


def postmaster_of(own: psycopg.Connection) -> int | None:
    """The server's first process if the server runs on this machine, else None."""
    host = own.info.host
    if not host.startswith("/") and host not in LOCAL:
        return None
    backend = own.info.backend_pid
    try:
        if Path(f"/proc/{backend}/comm").read_text().strip() != "postgres":
            return None
        return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found
