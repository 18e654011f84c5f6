"""Settings from the environment: what is missing or wrong is named, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaireon.checks import storage_is_shared
from tests.sources import ROOT

PRODUCTION = {
    "KAIREON_ENV": "production",
    "SECRET_KEY": "a-long-random-text-" * 4,
    "API_KEY_PEPPER": "pepper-" * 10,
    "ALLOWED_HOSTS": "kaireon.example.com",
    "DATABASE_URL": "postgresql://kaireon@db.example.com:5432/kaireon",
}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing in the environment but what is given."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refusal(**environment: str) -> str:
    """What the settings say when they refuse this environment."""
    result = python("-W", "ignore", "-c", "import kaireon.settings", **environment)
    assert result.returncode == 1
    return result.stderr.strip().splitlines()[-1].partition("ImproperlyConfigured: ")[2]


def test_development_needs_nothing_set() -> None:
    result = python("manage.py", "check")
    assert result.stdout == "System check identified no issues (0 silenced).\n"


def test_production_passes_the_deployment_checks() -> None:
    result = python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (result.returncode, result.stdout) == (
        0,
        "System check identified no issues (0 silenced).\n",
    ), result.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY_PEPPER"])
@pytest.mark.parametrize("value", [None, ""])
def test_production_refuses_to_start_without_a_secret(name: str, value: str | None) -> None:
    environment = {key: text for key, text in PRODUCTION.items() if key != name}
    environment |= {} if value is None else {name: value}
    assert refusal(**environment) == (
        f"{name} is not set. Set it to a long random text, for example the output of: "
        'python -c "import secrets; print(secrets.token_urlsafe(64))"'
    )


def test_production_refuses_to_answer_any_host() -> None:
    assert refusal(**PRODUCTION | {"ALLOWED_HOSTS": ""}) == (
        "ALLOWED_HOSTS is not set. Set it to the host names this site answers, "
        "separated by commas: ALLOWED_HOSTS=kaireon.example.com"
    )


def test_environment_is_one_of_two() -> None:
    assert refusal(KAIREON_ENV="prod") == (
        "KAIREON_ENV is 'prod'; set it to 'development' or 'production'."
    )


@pytest.mark.parametrize(
    "url", ["mysql://db.example.com/kaireon", "sqlite:///db.sqlite3", "kaireon"]
)
def test_database_is_postgresql(url: str) -> None:
    assert refusal(DATABASE_URL=url) == (
        "DATABASE_URL must name a PostgreSQL server: postgresql://user:password@host:5432/name"
    )


@pytest.mark.parametrize("url", ["/var/storage", "file://", "s3://", "s3:///x", "gs://bucket"])
def test_storage_is_a_folder_or_a_bucket(url: str) -> None:
    assert refusal(STORAGE_URL=url) == ("STORAGE_URL must be file:///folder or s3://bucket/folder.")


@pytest.mark.parametrize("rows", ["0", "1000", "-1024"])
def test_chunks_are_whole_blocks(rows: str) -> None:
    assert refusal(KAIREON_CHUNK_ROWS=rows) == (
        "KAIREON_CHUNK_ROWS must be a multiple of 1024, such as 98304."
    )


def test_some_requests_are_allowed() -> None:
    assert refusal(KAIREON_REQUESTS_PER_MINUTE="0") == (
        "KAIREON_REQUESTS_PER_MINUTE must be 1 or more, such as 2000."
    )


def test_some_time_is_allowed_for_statements() -> None:
    assert refusal(KAIREON_STATEMENT_SECONDS="0") == (
        "KAIREON_STATEMENT_SECONDS must be 1 or more, such as 60."
    )


def test_log_format_is_one_of_two() -> None:
    assert refusal(LOG_FORMAT="xml") == "LOG_FORMAT is 'xml'; set it to 'console' or 'json'."


def test_a_set_database_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    url = "postgresql://kaireon@127.0.0.1:1/kaireon"
    data = tmp_path / "pg"
    result = python("manage.py", "migrate", DATABASE_URL=url, KAIREON_PG_DATA=str(data))
    assert result.returncode == 1
    assert 'connection to server at "127.0.0.1", port 1 failed' in result.stderr
    assert not data.exists()


def test_a_broker_with_a_folder_for_storage_warns_of_one_machine(settings) -> None:
    assert storage_is_shared() == []
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    (warning,) = storage_is_shared()
    assert (warning.id, warning.msg) == (
        "kaireon.W001",
        "One machine only: REDIS_URL allows workers on other machines, "
        "but STORAGE_URL is a folder.",
    )
    settings.STORAGE_URL = "s3://bucket/folder"
    assert storage_is_shared() == []
