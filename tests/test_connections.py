"""Limits on what a connection to PostgreSQL may wait for, as PostgreSQL and libpq see them."""

import json
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from tests.processes import environment

TELL = """
import json, os
import django
django.setup()
if os.environ.get("WEB"):
    import kaireon.wsgi
import psycopg
from django.db import connection
from kaireon.database.base import dsn
names = ("statement_timeout", "idle_in_transaction_session_timeout", "application_name")
link = ("connect_timeout", "keepalives", "keepalives_idle", "tcp_user_timeout")
def tell(raw):
    told = {name: raw.execute("SHOW " + name).fetchone()[0] for name in names}
    return told | {name: raw.info.get_parameters().get(name) for name in link}
connection.ensure_connection()
with psycopg.connect(dsn(), autocommit=True) as own:
    print(json.dumps([tell(connection.connection), tell(own)]))
"""


def connections(tmp_path: Path, **changes: str) -> tuple[dict[str, str], dict[str, str]]:
    """Django's connection in a new process, and one of dsn(): what each is limited to."""
    env = environment(
        KAIREON_VAR=str(tmp_path), DJANGO_SETTINGS_MODULE="kaireon.settings", **changes
    )
    done = subprocess.run(
        [sys.executable, "-c", TELL],
        cwd=settings.BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    djangos, own = json.loads(done.stdout)
    return djangos, own


LINK = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "1min",
}


def test_workers_and_commands_may_take_their_time(db: None, tmp_path: Path) -> None:
    for found in connections(tmp_path):
        assert found == LINK | {"statement_timeout": "0", "application_name": "kaireon"}


def test_a_web_process_ends_statements_that_take_too_long(db: None, tmp_path: Path) -> None:
    for found in connections(tmp_path, WEB="1", KAIREON_STATEMENT_SECONDS="7"):
        assert found == LINK | {"statement_timeout": "7s", "application_name": "kaireon web"}


def test_the_address_may_say_otherwise(db: None, tmp_path: Path) -> None:
    url = environment()["DATABASE_URL"] + "&tcp_user_timeout=3000&options=-c%20lock_timeout%3D9s"
    for found in connections(tmp_path, DATABASE_URL=url):
        limits = {"statement_timeout": "0", "application_name": "kaireon"}
        assert found == LINK | limits | {"tcp_user_timeout": "3000"}
