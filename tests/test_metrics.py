"""/metrics: who may read it, and that each figure is that of the rows."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from campaigns.models import Campaign, CampaignRun, DeadLetter, RunChunk, Tick, Worker
from executor import workers
from kaireon import vitals
from kaireon.access.models import Tenant
from tests import factories
from tests.sources import ROOT


def scrape(**headers: str) -> dict[tuple[str, ...], float]:
    """Every series: (name, value of each label...) -> figure."""
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response["Cache-Control"]
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_outside_production_anybody_may_read(transactional_db: None) -> None:
    assert scrape()["kaireon_database_up",] == 1


def test_in_production_nobody_may_read_without_a_token(db: None, settings) -> None:
    settings.PRODUCTION = True
    assert Client().get("/metrics").status_code == 404


@pytest.mark.parametrize("production", [True, False])
def test_a_token_that_is_set_must_be_given(
    production: bool, settings, transactional_db: None
) -> None:
    settings.PRODUCTION = production
    settings.KAIREON_METRICS_TOKEN = "s3cret"
    for given in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
        assert Client().get("/metrics", headers=given).status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer é"}).status_code == 404
    assert scrape(Authorization="Bearer s3cret")["kaireon_database_up",] == 1


def test_only_reading_is_allowed(db: None) -> None:
    assert Client().post("/metrics").status_code == 405


def test_every_family_is_there_before_anything_has_happened(transactional_db: None) -> None:
    found = scrape()
    assert set(found.values()) == {0.0, 1.0}
    assert [name for name, value in found.items() if value] == [("kaireon_database_up",)]
    assert ("kaireon_runs", "pending") in found
    assert ("kaireon_dlq_depth", "campaign_chunks") in found
    assert ("kaireon_workers", "worker") in found


def a_day_in_the_life(tenant: Tenant) -> None:
    """Rows of every kind whose figures can be worked out by hand."""
    now = timezone.now()
    campaign = factories.CampaignFactory(tenant=tenant, status="active")
    ended = {"started_at": now - timedelta(minutes=10), "summary": {}}

    def run(**fields: object) -> CampaignRun:
        return factories.RunFactory(campaign=campaign, **fields)

    run(created_at=now - timedelta(seconds=300))
    run(created_at=now - timedelta(seconds=200), in_turn=True)  # waits for the one before
    run(status="paused")
    for minutes, customers in ((5, 1000), (3, 2000)):
        at = now - timedelta(minutes=minutes)
        run(status="completed", completed_at=at, audience_count=customers, **ended)
    run(status="failed", error="x", completed_at=now, audience_count=7, **ended)
    long_ago = now - timedelta(hours=2)
    run(status="completed", completed_at=long_ago, audience_count=9, summary={})
    working = run(status="running", phase="write", started_at=now - timedelta(seconds=100))
    stamps = [{}, {}, {"lease_until": now + timedelta(minutes=1)}]
    stamps += [{"not_before": now + timedelta(minutes=1)}, {"status": "written"}]
    for number, fields in enumerate(stamps):
        RunChunk.objects.create(run=working, number=number, customers=1, input_key="k", **fields)
    letter = {"tenant": tenant, "run": working, "attempts": 5, "error": "x"}
    for number in range(3):
        DeadLetter.unscoped.create(topic="campaign_chunks", chunk=number, **letter)
    DeadLetter.unscoped.create(topic="campaign_runs", **letter)
    Tick.unscoped.create(
        tenant=tenant, campaign=campaign, scheduled_for=now, outcome="missed", reason="late",
        instants=12,
    )  # fmt: skip
    Tick.unscoped.create(tenant=tenant, campaign=campaign, scheduled_for=long_ago, outcome="run")
    Campaign.unscoped.filter(pk=campaign.pk).update(next_run_at=now - timedelta(seconds=40))
    for name, kind, age, done in (
        ("a", "worker", 5, 11),
        ("b", "worker", 600, 99),
        ("p", "pulse", 30, 0),
    ):
        Worker.objects.create(name=name, kind=kind, seen_at=now - timedelta(seconds=age), done=done)


def test_each_figure_is_that_of_the_rows(transactional_db: None) -> None:
    a_day_in_the_life(factories.TenantFactory())
    found = scrape()

    def of(name: str) -> dict[str, float]:
        return {key[1]: value for key, value in found.items() if key[0] == f"kaireon_{name}"}

    def about(name: str, least: float) -> bool:
        return least <= found[(f"kaireon_{name}",)] < least + 60

    assert of("runs") == {"pending": 2, "running": 1, "paused": 1, "cancelling": 0}
    assert about("oldest_pending_run_seconds", 300)
    assert of("runs_ended_last_hour") == {
        "completed": 2,
        "completed_with_errors": 0,
        "failed": 1,
        "cancelled": 0,
    }
    assert found["kaireon_run_customers_last_hour",] == 3007
    assert about("run_longest_seconds_last_hour", 600)
    assert of("chunks") == {"to_do": 2, "leased": 1, "retry": 1}
    assert about("oldest_runnable_chunk_seconds", 100)
    assert of("dlq_depth") == {"campaign_chunks": 3, "campaign_runs": 1}
    assert of("ticks_last_hour") == {"run": 1, "skipped": 0, "missed": 12, "refused": 0}
    assert about("scheduler_lag_seconds", 40)
    assert about("last_pulse_age_seconds", 30)
    assert of("workers") == {"worker": 1, "drain": 0, "pulse": 1}
    assert found["kaireon_worker_steps_total", "worker", "a"] == 11
    assert ("kaireon_worker_steps_total", "worker", "b") not in found  # it is gone


def test_more_rows_need_no_more_statements(
    tenant: Tenant, django_assert_num_queries, db: None
) -> None:
    class Own:
        """Django's connection, as `vitals` uses psycopg's."""

        def execute(self, statement: bytes):
            cursor = connection.cursor()
            cursor.execute(statement.decode().replace("%", "%%"))
            return cursor

    for _ in range(2):
        with django_assert_num_queries(8):
            vitals.read(Own())
        a_day_in_the_life(tenant)
        tenant = factories.TenantFactory()
        Worker.objects.all().delete()


def test_a_worker_that_works_is_counted(transactional_db: None) -> None:
    workers.seen("drain")
    workers.worked("drain")
    workers.worked("drain")
    found = scrape()
    assert found["kaireon_workers", "drain"] == 1
    assert found["kaireon_worker_steps_total", "drain", workers.name("drain")] == 2


def test_every_family_is_documented(transactional_db: None) -> None:
    workers.seen("pulse")
    text = (ROOT / "docs/operations.md").read_text()
    names = {name for name, *_ in scrape()}
    assert not {name for name in names if f"`{name}" not in text}
