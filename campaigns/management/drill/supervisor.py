"""Starts the processes of a production site, and starts again whatever ends, as systemd would."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from campaigns.management.drill import processes
from campaigns.management.drill.sandbox import Sandbox, valkey_server

LOOK, STOP_SECONDS = 0.05, 40.0


@dataclass(slots=True)
class Program:
    """A process that is to live. A child of it that outlives it is killed, as systemd does."""

    name: str
    kind: str
    words: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, env: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - words of our own
                self.words,
                cwd=settings.BASE_DIR,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        self.starts += 1

    def end_group(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(slots=True)
class Supervisor:
    """All processes of the site; the PostgreSQL server is one of them."""

    sandbox: Sandbox
    programs: list[Program]
    env: dict[str, str]
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self, **changes: str) -> None:
        """Start everything; `changes` are made to the environment."""
        self._stopping.clear()
        self.env = self.sandbox.environment(os.environ, **changes)
        self._thread = threading.Thread(target=self._watch, name="supervisor")
        self._thread.start()

    def stop(self) -> None:
        """End everything in peace, but the database; kill what does not end."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        for kind in ("web", "beat", "worker", "redis"):
            living = [each for each in self.programs if each.kind == kind and each.is_alive()]
            for each in living:
                assert each.process  # noqa: S101 - it is alive
                each.process.terminate()
            end = time.monotonic() + STOP_SECONDS
            while any(each.is_alive() for each in living) and time.monotonic() < end:
                time.sleep(LOOK)
        for each in self.programs:
            each.end_group()
        processes.kill_all(self.sandbox.folder)

    def of(self, kind: str) -> list[Program]:
        return [each for each in self.programs if each.kind == kind]

    def pids(self, kind: str) -> list[int]:
        living = [each for each in self.of(kind) if each.is_alive()]
        return [each.process.pid for each in living if each.process]

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if not self.sandbox.postgres.place.is_held("server"):
                self.sandbox.start_database()
            for each in self.programs:
                if not each.is_alive():
                    each.end_group()
                    each.start(self.env, self.sandbox.folder / "logs" / f"{each.name}.log")
            self._stopping.wait(LOOK)


def site(sandbox: Sandbox, workers: int) -> Supervisor:
    """Broker, web server, workers and two beats, each started as in production."""
    for name in ("logs", "redis", sandbox.temporary.name):
        (sandbox.folder / name).mkdir(exist_ok=True)
    programs = [_redis(sandbox), _web(sandbox)]
    programs += [_worker(number, forks=number == workers > 1) for number in range(1, workers + 1)]
    programs += [_beat(sandbox, number) for number in (1, 2)]
    return Supervisor(sandbox, programs, {})


def _redis(sandbox: Sandbox) -> Program:
    words = [str(valkey_server()), "--bind", "127.0.0.1", "--port", str(sandbox.redis_port)]
    words += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
    words += ["--dir", str(sandbox.folder / "redis")]
    return Program("redis", "redis", words)


def _web(sandbox: Sandbox) -> Program:
    words = [sys.executable, "-m", "gunicorn", "kaireon.wsgi", "--no-control-socket"]
    words += ["--bind", f"127.0.0.1:{sandbox.web_port}", "--workers", "2", "--threads", "4"]
    return Program("web", "web", words)


def _worker(number: int, *, forks: bool) -> Program:
    """One of several workers forks, so that there are children to kill; the others have threads."""
    words = [sys.executable, "-m", "celery", "-A", "kaireon", "worker"]
    words += ["-Q", "control,files,chunks", "--concurrency", "2"]
    words += ["--pool", "prefork" if forks else "threads"]
    words += ["--hostname", f"worker{number}@%h", "--loglevel", "INFO"]
    return Program(f"worker-{number}", "worker", words)


def _beat(sandbox: Sandbox, number: int) -> Program:
    words = [sys.executable, "-m", "celery", "-A", "kaireon", "beat"]
    words += ["--pidfile", str(sandbox.folder / f"beat-{number}.pid"), "--loglevel", "INFO"]
    return Program(f"beat-{number}", "beat", words)
