"""Fixtures every test may use: a tenant, the DSN of the test database, and scratch storage."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection

import executor.bucket
from kaireon.access.models import Tenant
from kaireon.database.base import dsn
from tests import factories
from tests.s3_server import BUCKET, KEY_ID, S3Server, s3_server


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Tests need no durability: a lost test database is made anew."""
    settings = connection.settings_dict
    settings["OPTIONS"] = settings["OPTIONS"] | {"options": "-c synchronous_commit=off"}


@pytest.fixture
def pg_dsn(transactional_db: None) -> str:
    """DSN of the test database for connections of one's own; what they commit is truncated."""
    return dsn()


@pytest.fixture
def tenant(db: None) -> Tenant:
    return factories.TenantFactory()


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, settings: LazySettings) -> Path:
    """A storage of its own for every test."""
    root = tmp_path / "storage"
    settings.STORAGE_URL = root.as_uri()
    return root


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as started:
        yield started


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An empty bucket and credentials for it; what fails is given up soon."""
    s3.ask("POST", "/moto-api/reset")
    assert s3.ask("PUT", f"/{BUCKET}")[0] == 200
    s3.reset()
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(executor.bucket, "RETRIES", {"max_retries": 1})
    return s3


@pytest.fixture
def clean_relations(transactional_db: None) -> Iterator[None]:
    """Drop what a test made in the PostgreSQL schemas that Django does not flush."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA segments CASCADE; CREATE SCHEMA segments")
        cursor.execute("DROP SCHEMA data CASCADE; CREATE SCHEMA data")
        cursor.execute(
            "SELECT format('DROP TABLE %s', oid::regclass) FROM pg_class"
            " WHERE relname ~ '^campaigns_recommendation_r[0-9]+(_[0-9]+)?$' AND relkind = 'r'"
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
