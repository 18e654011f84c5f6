"""Where an embedded cluster lies, and the locks that tell who uses and who serves it.

Standard library only. A lock is a file of the state directory held with flock, which the kernel
drops however its holder ends; a pid file, which lies after a crash, is never believed alone.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import IO

from kaireon.embedded_binaries import SHARED, Account, EmbeddedError, run, server_account

PORT = "5432"  # only part of the socket's name: the server never listens on TCP


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster lies; `data` is not `asked` when the server's account cannot go there."""

    asked: Path
    data: Path
    #: Locks and log, and the socket if the path is not too long for one.
    state: Path
    sockets: Path
    account: Account
    #: Whether the cluster lies below /var/tmp instead.
    moved: bool

    @property
    def socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{PORT}"

    def open(self, name: str) -> IO[str]:
        """Open a file of the state directory, owned by the server's account."""
        # O_NOFOLLOW: that account must not be able to lead root to another file.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        file = os.fdopen(os.open(self.state / name, flags, 0o600), "a")
        if self.account.switch:
            os.fchown(file.fileno(), self.account.uid, self.account.gid)
        return file

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """Exclude everybody else, threads included, from starting and stopping this server."""
        with self.open("lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:  # not left to close(): a child forked meanwhile has the file open, too
                fcntl.flock(file, fcntl.LOCK_UN)

    def postmaster(self) -> int:
        """The pid of the living server, or 0."""
        try:
            pid = int(self._pid_file()[0])
            if not Path("/proc/self").exists():
                return pid
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            return 0
        return pid if os.fsencode(self.data) in argv else 0

    def says_ready(self) -> bool:
        """Whether the server, if it lives, has noted that it takes connections."""
        return [line.strip() for line in self._pid_file()[7:8]] == ["ready"]

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def is_held(self, name: str) -> bool:
        """Whether a living process holds this lock exclusively."""
        with self.open(name) as file:
            if not try_lock(file, fcntl.LOCK_SH):
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
            return False


def locate(data_dir: str | Path) -> Place:
    """Decide where the cluster asked for in data_dir lies; creates only the parent directory.

    As root the server runs under another account. Where that account cannot enter the parent, the
    cluster goes below /var/tmp, and a symbolic link in its stead says so.
    """
    asked = Path(data_dir).absolute()
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked = asked.parent.resolve() / asked.name
    data, account = asked.resolve(), server_account(asked)
    elsewhere = SHARED / f"kaireon-{_digest(asked)}" / asked.name
    moved = account.switch and (data == elsewhere or not _can_enter(account, data.parent))
    if moved:
        data = elsewhere
    state = data.with_name(data.name + ".run")
    sockets = state
    # A socket's path holds 107 bytes on Linux and 103 on macOS; libpq and PostgreSQL split at ",".
    if len(os.fsencode(state)) > 85 or re.search(r"""[,"'\\]""", str(state)):
        sockets = Path("/tmp") / f"kaireon-{_digest(data)}"  # noqa: S108 - owner-checked
    return Place(asked, data, state, sockets, account, moved)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _can_enter(account: Account, directory: Path) -> bool:
    return run(account, "/bin/sh", "-c", 'cd "$0"', directory).returncode == 0


def try_lock(file: IO[str], how: int) -> bool:
    """Take a flock if that needs no waiting."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_private(directory: Path, account: Account) -> None:
    """Create a directory for the account alone; refuse one that somebody else made."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not S_ISDIR(found.st_mode) or found.st_uid not in {account.uid, os.geteuid()}:
        raise EmbeddedError(
            f"{directory} belongs to account {found.st_uid}, not {account.uid}: "
            "run as that account, remove it, or set DATABASE_URL"
        )
    if account.switch:
        os.chown(directory, account.uid, account.gid, follow_symlinks=False)
