"""Django's entry to the engine `kaireon.database`; the name of this module is Django's choice."""

import shutil
from collections.abc import Iterable
from typing import Any

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
    return make_conninfo(**{name: params[name] for name in params.keys() - _DRIVER_ONLY})


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
        params.pop("embedded", None)
        return params

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
