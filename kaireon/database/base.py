"""Django's entry to the engine `kaireon.database`; the name of this module is Django's choice."""

import os
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.postgresql import base as postgresql
from django.db.backends.postgresql.client import DatabaseClient as PostgresClient
from psycopg import OperationalError
from psycopg.conninfo import make_conninfo

from kaireon.embedded import EmbeddedPostgres, serve
from kaireon.embedded_binaries import MIN_MAJOR, EmbeddedError

# Arguments of psycopg.connect() that libpq does not know.
_DRIVER_ONLY = {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}

# A server behind a cable that was pulled is given up after 20 s, not after the kernel's two hours;
# a transaction that somebody forgot ends after a minute, so that its locks do. DATABASE_URL may
# say otherwise. Sessions are named for pg_stat_activity.
_LINK = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "fallback_application_name": "kaireon",
}
_SESSION = "-c idle_in_transaction_session_timeout=60s"


def check_version(found: int, minimum: int = MIN_MAJOR) -> None:
    """Refuse a server older than the major `minimum`; `found` as libpq tells it, e.g. 150018.

    Raises ImproperlyConfigured naming both versions.
    """
    major, minor = divmod(found, 10_000)
    if major < minimum:
        raise ImproperlyConfigured(
            f"PostgreSQL {minimum} or newer is needed, but this server is {major}.{minor}. "
            "Upgrade it, or set DATABASE_URL to a newer one, or unset it for the embedded one."
        )


def dsn(alias: str = "default") -> str:
    """The libpq connection string of a database, for connections that are not Django's.

    Starts the embedded server, also if it was lost. The string may contain the password.
    """
    connection = connections[alias]
    with connection.wrap_database_errors:
        if isinstance(connection, DatabaseWrapper):
            connection.serve_embedded(recheck=True)
        params = connection.get_connection_params()
    return _conninfo(params)


def _conninfo(params: dict[str, Any]) -> str:
    return make_conninfo(**{name: params[name] for name in params.keys() - _DRIVER_ONLY})


def limit_statements(seconds: int) -> None:
    """End every statement of this process that takes longer than `seconds`.

    For processes that answer requests; it holds for all connections made from now on, those made
    from dsn() too. A transaction that needs longer sets its own `statement_timeout`.
    """
    options = connections["default"].settings_dict["OPTIONS"]
    given = options.get("options", "")
    options["options"] = f"{given} -c statement_timeout={seconds}s".lstrip()
    options["application_name"] = "kaireon web"


@contextmanager
def probing(seconds: float) -> Iterator[psycopg.Connection]:
    """A new connection in autocommit mode that is cut after `seconds`, whatever the server does.

    A statement may take 2 s. Even a server that is frozen lets the caller go: connecting takes 2 s
    at most, and cutting the socket from this side needs no answer. Raises psycopg.Error.
    """
    params = connections["default"].get_connection_params()
    options = f"{params.get('options', '')} -c statement_timeout=2s".lstrip()
    dsn = _conninfo(params | {"connect_timeout": 2, "options": options})
    with (
        psycopg.connect(dsn, autocommit=True) as own,
        socket.socket(fileno=os.dup(own.fileno())) as line,
    ):
        timer = threading.Timer(seconds, _cut, [line])
        timer.start()
        try:
            yield own
        finally:
            timer.cancel()
            timer.join()


def _cut(line: socket.socket) -> None:
    with suppress(OSError):  # the server was first
        line.shutdown(socket.SHUT_RDWR)


class DatabaseClient(PostgresClient):
    """psql, from the embedded binaries if need be."""

    connection: "DatabaseWrapper"

    def runshell(self, parameters: Iterable[str]) -> None:
        server = self.connection.serve_embedded(recheck=True)
        if server and shutil.which(self.executable_name) is None:
            type(self).executable_name = str(server.binaries().bindir / "psql")
        super().runshell(parameters)


class DatabaseWrapper(postgresql.DatabaseWrapper):
    """A PostgreSQL connection whose server may be the embedded one."""

    client_class = DatabaseClient
    minimum_version = MIN_MAJOR

    def serve_embedded(self, *, recheck: bool = False) -> EmbeddedPostgres | None:
        """Start the embedded server, if the settings ask for it, and fill in its address.

        The settings are filled in place: Django's threads and test runners share them.
        Raises psycopg.OperationalError when the server cannot be started.
        """
        data_dir = self.settings_dict["OPTIONS"].get("embedded")
        if not data_dir:
            return None
        dbname = self.settings_dict["NAME"] or "postgres"
        try:
            server = serve(str(data_dir), dbname, recheck=recheck)
        except (EmbeddedError, OSError) as error:
            raise OperationalError(f"embedded PostgreSQL in {data_dir}: {error}") from error
        address = server.params()
        self.settings_dict.update(
            HOST=address["host"], PORT=address["port"], USER=address["user"], PASSWORD=""
        )
        return server

    def get_connection_params(self) -> dict[str, Any]:
        self.serve_embedded()
        params: dict[str, Any] = super().get_connection_params()
        if params.pop("embedded", None):
            return params
        given = params.get("options", "")
        return {**_LINK, **params, "options": f"{_SESSION} {given}".rstrip()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except OperationalError:
            if not self.serve_embedded(recheck=True):
                raise
        return super().get_new_connection(conn_params)

    def check_database_version_supported(self) -> None:
        try:
            check_version(self.pg_version, self.minimum_version)
        except ImproperlyConfigured:
            self.close()  # Django would go on with the open connection
            raise
