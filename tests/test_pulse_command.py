"""`manage.py pulse` as a real process: it goes on whatever happens, and ends when told to."""

import re
import signal
import subprocess
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns.models import Campaign, CampaignRun, Worker
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.due import due_campaign, every, make_due, runs, story
from tests.processes import manage, wait_until

pytestmark = pytest.mark.usefixtures("clean_relations")


def looks(log: Path) -> bool:
    return "the scheduler looks every" in log.read_text()


def due_now(tenant: Tenant) -> Campaign:
    campaign = factories.runnable_campaign(tenant)
    make_due(campaign)
    return campaign


def test_once_looks_once_and_tells(tenant: Tenant, settings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False
    campaign = due_campaign(tenant, "2026-03-02T09:00", **every("0 9 2 3 *", misfire_policy="skip"))
    out = StringIO()
    call_command("pulse", "--once", stdout=out)
    missed = campaign.ticks.count()
    assert out.getvalue() == (
        f"1 campaigns due: 0 runs, 0 skipped, {missed} missed, 0 refused; 0 dispatched\n"
    )


@pytest.mark.parametrize(
    ("every", "fault"),
    [("0", "from 0.1 to 3600"), ("x", "a number of seconds"), ("nan", "from"), ("4000", "from")],
)
def test_a_pace_that_makes_no_sense_is_refused(every: str, fault: str) -> None:
    with pytest.raises(CommandError, match=fault):
        call_command("pulse", "--every", every)
    assert Worker.objects.count() == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_in_peace(tmp_path: Path, told: signal.Signals, tenant: Tenant) -> None:
    log = tmp_path / "log"
    with manage("pulse", "--every", "3600", log=log, INLINE_FALLBACK="0") as child:
        wait_until(lambda: Worker.objects.filter(kind="pulse").exists())
        child.send_signal(told)
        assert child.wait(timeout=30) == 0  # not after an hour
    assert "the scheduler ends" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_told_to_end_it_ends_what_it_has_begun(tmp_path: Path, pg_dsn: str, tenant: Tenant) -> None:
    campaign = due_now(tenant)
    log = tmp_path / "log"
    with psycopg.connect(pg_dsn) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.execute("LOCK TABLE campaigns_campaignrun IN SHARE MODE")
        with manage("pulse", "--every", "3600", log=log, INLINE_FALLBACK="0") as child:
            wait_until(lambda: waiting_for_a_lock() == 1)
            child.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=0.5)
            holder.rollback()
            assert child.wait(timeout=30) == 0
    assert len(runs(campaign)) == 1


def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


def test_it_looks_again_and_again(tmp_path: Path, tenant: Tenant) -> None:
    log = tmp_path / "log"
    with manage("pulse", "--every", "0.2", log=log, INLINE_FALLBACK="0"):
        wait_until(lambda: looks(log))
        campaign = due_now(tenant)
        wait_until(lambda: len(runs(campaign)) == 1)


def test_a_lost_database_connection_does_not_end_it(
    tmp_path: Path, tenant: Tenant, pg_dsn: str
) -> None:
    log = tmp_path / "log"
    with manage("pulse", "--every", "0.2", log=log, INLINE_FALLBACK="0") as child:
        wait_until(lambda: Worker.objects.filter(kind="pulse").exists())
        with psycopg.connect(pg_dsn, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                [connection.connection.info.backend_pid],
            )
        campaign = due_now(tenant)
        wait_until(lambda: len(runs(campaign)) == 1)
        assert child.poll() is None


def test_a_pulse_that_fails_is_logged_and_the_next_one_does_better(
    tmp_path: Path, tenant: Tenant
) -> None:
    """A table is away for a while, as in the middle of an upgrade."""
    log = tmp_path / "log"
    campaign = due_now(tenant)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE campaigns_tick RENAME TO away")
    try:
        with manage("pulse", "--every", "0.2", log=log, INLINE_FALLBACK="0"):
            wait_until(lambda: "this pulse failed" in log.read_text())
            assert runs(campaign) == []
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO campaigns_tick")
            wait_until(lambda: len(runs(campaign)) == 1)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE IF EXISTS away RENAME TO campaigns_tick")
    assert re.search('relation "campaigns_tick" does not exist', log.read_text())
    assert "run 1" in story(campaign)[-1]


def test_without_a_broker_what_is_due_is_executed(tmp_path: Path) -> None:
    world = worlds.build(200)
    make_due(world.campaign)
    with manage("pulse", "--every", "1", log=tmp_path / "log", KAIREON_VAR=str(tmp_path)):
        finished = CampaignRun.objects.of(world.tenant).filter(status="completed")
        wait_until(finished.exists, seconds=120)
    (run,) = runs(world.campaign)
    assert (run.status, run.triggered_by, run.audience_count) == ("completed", "schedule", 200)
