"""A private PostgreSQL: started on demand, shared by processes, stopped with its last user.

Standard library only, so that it works before Django. Every user holds the lock `users` shared,
the server's processes hold `server`, and one watcher, which stops the server, holds `reaper`.
"""

import atexit
import fcntl
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from kaireon.embedded_binaries import Binaries, EmbeddedError, detach, find_binaries, run
from kaireon.embedded_place import PORT, Place, locate, make_private, try_lock
from kaireon.embedded_socket import USER, ask, is_ready, refusal

logger = logging.getLogger(__name__)

READY_SECONDS = 120.0  # crash recovery, or a killed postmaster's last backend, takes its time
STOP_SECONDS = 300.0  # the shutdown checkpoint writes everything that is still in memory
LOG_BYTES = 16 * 1024 * 1024
SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "100",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}
# Loses committed rows when the machine or the server dies: for tests only.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One cluster as this process sees it."""

    def __init__(self, data_dir: str | Path, settings: Mapping[str, str] | None = None) -> None:
        """Take the data directory, and settings for the case that this process is the starter."""
        self.place = locate(data_dir)
        self.settings = {**SETTINGS, **(settings or {})}
        self._users: int | None = None
        self._databases = {USER}

    def params(self, dbname: str = USER) -> dict[str, str]:
        """Connection parameters for psycopg and libpq."""
        return {"host": str(self.place.sockets), "port": PORT, "user": USER, "dbname": dbname}

    def binaries(self) -> Binaries:
        """The programs that fit this cluster."""
        made_by = self.place.data / "PG_VERSION"
        pinned = int(made_by.read_text()) if made_by.exists() else None
        return find_binaries(self.place.account, pinned)

    def start(self) -> Self:
        """Become a user and return once the server takes connections; 1 ms if it does already.

        Raises EmbeddedError or OSError when that is impossible.
        """
        self._make_directories()
        try:
            with self.place.mutex():
                self._become_user()
                self.watch()  # before there is a server, so that it has a watcher if we die now
                if not (self.place.data / "PG_VERSION").exists():
                    self._init()
                self._launch()
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Stop being a user; the server ends when nobody is left."""
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def stop(self) -> None:
        """Stop the server under everybody's feet; the next start() brings it back."""
        with self.place.mutex():
            _stop(self.place)
        self.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists; processes doing so at once do not collide."""
        if name in self._databases:
            return
        literal, identifier = name.replace("'", "''"), name.replace('"', '""')
        query = f"SELECT 1 FROM pg_database WHERE datname = '{literal}'"  # noqa: S608 - quoted
        with self.place.mutex():
            if b"D" not in {kind for kind, _ in ask(self.place.socket, query)}:
                answer = ask(self.place.socket, f'CREATE DATABASE "{identifier}"')
                if error := refusal(answer):
                    raise EmbeddedError(f"cannot create database {name!r}: {error['M']}")
        self._databases.add(name)

    def watch(self) -> None:
        """Start the watcher unless one lives. The caller holds the mutex."""
        place, root = self.place, Path(__file__).parents[1]
        with place.open("reaper") as lock, place.open("log") as log:
            if try_lock(lock, fcntl.LOCK_EX):
                arguments = ["--reap", str(place.asked), str(lock.fileno())]
                command = [sys.executable, "-E", "-s", "-S", "-m", "kaireon.embedded", *arguments]
                detach(command, None, lock=lock.fileno(), log=log.fileno(), cwd=root)

    def _make_directories(self) -> None:
        place = self.place
        if place.moved:
            make_private(place.data.parent, place.account)
            self._leave_note()
        for directory in (place.state, place.sockets):
            make_private(directory, place.account)

    def _leave_note(self) -> None:
        """Say on both sides, once, that the cluster lies elsewhere."""
        asked, data = self.place.asked, self.place.data
        if asked.is_symlink():
            return
        why = f"account {self.place.account.uid} of PostgreSQL cannot enter {asked.parent}"
        (data.parent / "README").write_text(f"The database of {asked}: {why}.\n")
        with suppress(FileExistsError):
            asked.symlink_to(data)
        logger.warning("%s: the database lies in %s", why, data)

    def _become_user(self) -> None:
        with self.place.open("users") as file:
            if self._users is not None:
                if os.path.sameopenfile(self._users, file.fileno()):
                    return
                self.release()  # the state directory was deleted while we used it
            fcntl.flock(file, fcntl.LOCK_SH)
            self._users = os.dup(file.fileno())

    def _init(self) -> None:
        """Make the cluster beside its place and move it there: whole or not at all."""
        data, account = self.place.data, self.place.account
        if data.exists() and any(data.iterdir()):
            raise EmbeddedError(f"{data} is neither empty nor a PostgreSQL cluster")
        for remains in data.parent.glob(f"{data.name}.init-*"):
            shutil.rmtree(remains, ignore_errors=True)
        programs = self.binaries()
        partial = Path(tempfile.mkdtemp(prefix=f"{data.name}.init-", dir=data.parent))
        make_private(partial, account)
        options = ["-U", USER, "-E", "UTF8", "--auth-local=trust", "--auth-host=reject"]
        if programs.major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        else:
            options += ["--locale=C.UTF-8"]
        if self.settings.get("fsync") == "off":
            options += ["--no-sync"]
        made = run(account, programs.bindir / "initdb", "-D", partial, *options)
        if made.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {made.stderr or made.stdout}")
        partial.rename(data)

    def _launch(self) -> None:
        for _ in range(3):
            if self._becomes_ready():
                return
            self._spawn()
        if not self._becomes_ready():
            log = (self.place.state / "log").read_text(errors="replace")[-2000:]
            raise EmbeddedError(f"PostgreSQL on {self.place.data} does not start:\n{log}")

    def _becomes_ready(self) -> bool:
        """Wait for the server to take connections; False when there is none."""
        end = time.monotonic() + READY_SECONDS
        while self.place.is_held("server"):
            if self.place.says_ready() and is_ready(self.place.socket):
                return True
            if time.monotonic() > end:
                raise EmbeddedError(f"PostgreSQL is not ready: see {self.place.state / 'log'}")
            time.sleep(0.02)
        return False

    def _spawn(self) -> None:
        place = self.place
        self._rotate_log()
        # No earlier server lives, as `server` is free. The pid in its files may by now be
        # anybody's, or a zombie's, and would keep PostgreSQL from starting.
        for stale in (place.data / "postmaster.pid", *place.sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)
        settings = {
            **self.settings,
            "listen_addresses": "",
            "port": PORT,
            "unix_socket_directories": str(place.sockets),
            "unix_socket_permissions": "0700",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(self.binaries().bindir / "postgres"), "-D", str(place.data), *options]
        with place.open("server") as lock, place.open("log") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            root = Path("/")
            detach(command, place.account, lock=lock.fileno(), log=log.fileno(), cwd=root)

    def _rotate_log(self) -> None:
        log = self.place.state / "log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name("log.1"))


def _stop(place: Place) -> None:
    """Ask for a fast shutdown until no process of the server is left. Under the mutex."""
    end = time.monotonic() + STOP_SECONDS
    while place.is_held("server") and time.monotonic() < end:
        if pid := place.postmaster():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        time.sleep(0.02)


def reap(place: Place, lock: int) -> None:
    """Wait until nobody uses the server, stop it, and only then let go of the watcher's lock."""
    while True:
        with place.open("users") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
        with place.mutex(), place.open("users") as users:
            if try_lock(users, fcntl.LOCK_EX):
                _stop(place)
                os.close(lock)
                return


_served: dict[str, EmbeddedPostgres] = {}
_guard = threading.Lock()


def serve(data_dir: str, dbname: str, *, recheck: bool = False) -> EmbeddedPostgres:
    """This process's server of data_dir, started once, with the database.

    Costs nothing when repeated, unless recheck asks to look whether the server still lives and to
    start it again. Raises EmbeddedError or OSError.
    """
    with _guard:
        server = _served.get(data_dir)
        if server is None:
            server = EmbeddedPostgres(data_dir).start()
            _served[data_dir] = server
            atexit.register(_renew_watch, server)
        elif recheck:
            server.start()
        try:
            server.ensure_database(dbname)
        except OSError:  # the server was lost since
            server.start().ensure_database(dbname)
        return server


def _renew_watch(server: EmbeddedPostgres) -> None:
    """At our end: somebody has to stop the server, even if its watcher was killed."""
    with suppress(OSError), server.place.mutex():
        server.watch()


def _renew_guard() -> None:
    """A forked child must not wait for a thread that it does not have."""
    global _guard
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_renew_guard)

if __name__ == "__main__":
    if sys.argv[1:2] != ["--reap"]:
        sys.exit("usage: python -m kaireon.embedded --reap DIR LOCK")
    os.chdir("/")
    reap(locate(sys.argv[2]), int(sys.argv[3]))
