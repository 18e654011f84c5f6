"""Real beat, real worker, real Valkey: what is due gets one run, whatever happens to them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from campaigns.models import Campaign, CampaignRun, Tick, Worker
from campaigns.services.schedules import database_now
from kaireon.access.models import Tenant
from kaireon.celery import app as celery_app
from tests import factories
from tests import world as worlds
from tests.brokers import valkey
from tests.due import make_due, runs
from tests.processes import environment, wait_until

migration = import_module("campaigns.migrations.0005_pulse")

WORKER = ("worker", "-Q", "control,files,chunks", "--pool", "threads", "--concurrency", "2")
processes = pytest.mark.usefixtures("clean_relations", "pulse_every_second")


@pytest.fixture
def broker() -> Iterator[str]:
    with valkey() as server:
        yield server.url


@pytest.fixture
def entry(db: None) -> PeriodicTask:
    """The pulse, installed as the migration does it: other tests flush the table."""
    migration.install(apps, None)
    return PeriodicTask.objects.get(name="pulse")


@pytest.fixture
def pulse_every_second(transactional_db: None, entry: PeriodicTask) -> Iterator[None]:
    entry.interval.every = 1
    entry.interval.save()
    yield
    for model in (PeriodicTask, IntervalSchedule, PeriodicTasks):
        model.objects.all().delete()


@contextmanager
def celery(*words: str, broker: str, folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    env = environment(KAIREON_VAR=str(folder), REDIS_URL=broker, INLINE_FALLBACK="0")
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "kaireon", *words],
            cwd=settings.BASE_DIR,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def beat(folder: Path, broker: str, name: str = "beat"):
    pid_file = ("--pidfile", str(folder / f"{name}.pid"))
    return celery("beat", *pid_file, "--loglevel", "INFO", broker=broker, folder=folder, name=name)


def worker(folder: Path, broker: str):
    return celery(*WORKER, broker=broker, folder=folder, name="worker")


def sends(folder: Path, name: str = "beat") -> int:
    log = folder / f"{name}.log"
    return log.read_text().count("Sending due task pulse") if log.exists() else 0


def due_world() -> Campaign:
    world = worlds.build(200)
    make_due(world.campaign)
    return world.campaign


def completed(campaign: Campaign) -> bool:
    return CampaignRun.unscoped.filter(campaign=campaign, status="completed").exists()


# The entry.


def test_the_migration_installs_one_entry_for_all_campaigns(entry: PeriodicTask) -> None:
    """P9, P16: there is none for each campaign that beat could fire at the wrong time."""
    assert migration.Migration.operations[0].code is migration.install
    migration.install(apps, None)
    (only,) = PeriodicTask.objects.exclude(name="celery.backend_cleanup")
    assert (only.task, only.enabled, only.expire_seconds) == ("campaigns.tasks.pulse", True, 15)
    assert (only.interval.every, only.interval.period, only.crontab) == (15, "seconds", None)
    assert celery_app.conf.beat_schedule == {}
    migration.remove(apps, None)
    assert not PeriodicTask.objects.filter(name="pulse").exists()


def test_campaigns_make_no_entries(tenant: Tenant, entry: PeriodicTask) -> None:
    """P15, P16: beat knows no zone and is never told of a campaign."""
    before = [*PeriodicTask.objects.values()], [*PeriodicTasks.objects.values()]
    campaign = factories.runnable_campaign(tenant, schedule_timezone="Asia/Tokyo")
    make_due(campaign)
    assert ([*PeriodicTask.objects.values()], [*PeriodicTasks.objects.values()]) == before
    assert settings.CELERY_TIMEZONE == "UTC"


def test_the_entry_can_be_edited_in_the_admin(client: Client, entry: PeriodicTask) -> None:
    """P31: the admin's own log tells who has changed it."""
    admin = factories.UserFactory(username="operator", is_superuser=True)
    client.force_login(admin)
    page = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    assert b"campaigns.tasks.pulse" in client.get(page).content
    every = IntervalSchedule.objects.create(every=30, period="seconds")
    form = client.get(page).context["adminform"].form
    values = {name: value for name, value in form.initial.items() if value not in (None, "")}
    response = client.post(
        page, {**values, "regtask": entry.task, "enabled": "on", "interval": every.pk}
    )
    assert response.status_code == 302, response.context["adminform"].form.errors
    entry.refresh_from_db()
    assert (entry.interval.every, entry.enabled) == (30, True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id, object_id FROM django_admin_log")
        assert cursor.fetchall() == [(admin.pk, str(entry.pk))]


def test_members_of_a_tenant_do_not_get_at_the_entry(
    client: Client, tenant: Tenant, entry: PeriodicTask
) -> None:
    member = factories.MembershipFactory(tenant=tenant, role="admin").user
    client.force_login(member)
    page = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    assert client.get(page).status_code == 403
    assert client.post(page, {"enabled": ""}).status_code == 403
    entry.refresh_from_db()
    assert entry.enabled


# Beat and worker.


@processes
def test_what_is_due_gets_one_run_which_a_worker_executes(broker: str, tmp_path: Path) -> None:
    campaign = due_world()
    with worker(tmp_path, broker), beat(tmp_path, broker):
        wait_until(lambda: completed(campaign), seconds=120)
        seen = sends(tmp_path)
        wait_until(lambda: sends(tmp_path) > seen + 1)  # and later pulses make nothing more
    (run,) = runs(campaign)
    assert (run.triggered_by, run.audience_count) == ("schedule", 200)
    assert Worker.objects.filter(kind="pulse").exists()
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


@processes
def test_two_beats_make_one_run(broker: str, tmp_path: Path) -> None:
    """P7."""
    campaign = due_world()
    with beat(tmp_path, broker, "one"), beat(tmp_path, broker, "two"):
        wait_until(lambda: min(sends(tmp_path, "one"), sends(tmp_path, "two")) > 2, seconds=120)
        with worker(tmp_path, broker):
            wait_until(lambda: completed(campaign), seconds=120)
            assert len(runs(campaign)) == 1
            assert Tick.unscoped.count() == 1


@processes
def test_pulses_that_pile_up_without_a_worker_expire(broker: str, tmp_path: Path) -> None:
    """P10: too many messages do no harm. The worker that comes back catches up by one of them."""
    PeriodicTask.objects.update(expire_seconds=1)
    PeriodicTasks.update_changed()
    campaign = due_world()
    with beat(tmp_path, broker), redis.Redis.from_url(broker) as client:
        wait_until(lambda: client.llen("control") >= 4, seconds=120)
        assert runs(campaign) == []
        with worker(tmp_path, broker):
            wait_until(lambda: completed(campaign), seconds=120)
    assert len(runs(campaign)) == 1


@processes
def test_a_worker_without_a_beat_waits_for_one(broker: str, tmp_path: Path) -> None:
    campaign = due_world()
    with worker(tmp_path, broker):
        wait_until(lambda: Worker.objects.filter(kind="worker").exists(), seconds=120)
        assert runs(campaign) == []
        with beat(tmp_path, broker):
            wait_until(lambda: completed(campaign), seconds=120)
    assert len(runs(campaign)) == 1


@processes
def test_a_tick_of_beat_lost_with_the_broker_costs_one_interval(tmp_path: Path) -> None:
    """P8, P29: beat cannot send for a while; nothing that is due is forgotten."""
    campaign = due_world()
    with valkey() as server, beat(tmp_path, server.url) as sending:
        wait_until(lambda: sends(tmp_path) > 0, seconds=120)
        server.kill()
        log = tmp_path / "beat.log"
        wait_until(lambda: "Error" in log.read_text(), seconds=120)
        assert runs(campaign) == []
        server.start()
        with worker(tmp_path, server.url):
            wait_until(lambda: completed(campaign), seconds=120)
        assert sending.poll() is None
    assert len(runs(campaign)) == 1
    assert database_now() > runs(campaign)[0].created_at
