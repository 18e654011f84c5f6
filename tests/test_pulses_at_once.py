"""Many pulses at once, and a pulse that is held up or cut off in the middle."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connection

from campaigns.models import Campaign, CampaignRun, Tick
from campaigns.services.campaigns import update_campaign
from campaigns.services.pulse import fire_due, pulse
from campaigns.services.schedules import database_now
from kaireon.access.models import Tenant
from tests import factories
from tests.due import due_campaign, every, fire, next_run_at, runs, story, utc
from tests.processes import manage, wait_until

pytestmark = pytest.mark.usefixtures("clean_relations")

PULSES, CAMPAIGNS = 10, 1000


def make_due(tenant: Tenant, at: datetime) -> list[Campaign]:
    """So many campaigns, due once a day; every third has had a run already."""
    flow, segment = factories.published_flow(tenant), factories.segment_with_view(tenant)
    made = Campaign.unscoped.bulk_create(
        Campaign(
            tenant=tenant,
            name=f"Due {number}",
            flow=flow,
            segment=segment,
            status="active",
            schedule_type="daily",
            schedule_time=f"{at:%H:%M}",
            next_run_at=at,
        )
        for number in range(CAMPAIGNS)
    )
    CampaignRun.unscoped.bulk_create(
        CampaignRun(tenant=tenant, campaign=one, run_number=1, status="failed", error="It broke.")
        for one in made[::3]
    )
    return made


@contextmanager
def held(dsn: str, table: str, mode: str) -> Iterator[Callable[[], list[int]]]:
    """Lock a table while the block lasts. Yields who waits for locks: the sessions' numbers."""
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as watcher:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.execute(f"LOCK TABLE {table} IN {mode} MODE")

        def waiting() -> list[int]:
            found = watcher.execute("SELECT pid FROM pg_locks WHERE NOT granted ORDER BY waitstart")
            return [pid for (pid,) in found]

        yield waiting


def in_thread(pool: ThreadPoolExecutor, call: Callable[[], object]) -> Future[object]:
    def run() -> object:
        try:
            return call()
        finally:
            connection.close()

    return pool.submit(run)


def check_each_ran_once(made: list[Campaign], at: datetime) -> None:
    scheduled = CampaignRun.unscoped.filter(scheduled_for=at)
    numbers = dict(scheduled.values_list("campaign_id", "run_number"))
    assert scheduled.count() == CAMPAIGNS
    assert numbers == {one.pk: 2 if place % 3 == 0 else 1 for place, one in enumerate(made)}
    assert CampaignRun.unscoped.count() == CAMPAIGNS + len(made[::3])
    ticks = Tick.unscoped.filter(scheduled_for=at, outcome="run")
    assert {*ticks.values_list("campaign_id", "run_id")} == {
        *scheduled.values_list("campaign_id", "pk")
    }
    assert Tick.unscoped.count() == CAMPAIGNS
    waits = Campaign.unscoped.values_list("next_run_at", flat=True)
    assert {*waits} == {at + timedelta(days=1)}


def last_minute() -> datetime:
    """Late enough that the next minute brings nothing more, early enough to be run."""
    return database_now().replace(second=0, microsecond=0) - timedelta(minutes=1)


def test_ten_pulses_at_once_make_one_run_of_each_instant(
    tenant: Tenant, pg_dsn: str, settings
) -> None:
    """P7, P28: no leader is needed; a thousand campaigns are due."""
    settings.KAIREON_INLINE_FALLBACK = False
    at = last_minute()
    made = make_due(tenant, at)
    with ThreadPoolExecutor(PULSES) as pool:
        with held(pg_dsn, "campaigns_campaign", "ACCESS EXCLUSIVE") as waiting:
            pulses = [in_thread(pool, pulse) for _ in range(PULSES)]
            wait_until(lambda: len(waiting()) == PULSES)
        counts = [each.result() for each in pulses]
    assert sum(count.campaigns for count in counts) == CAMPAIGNS
    assert sum(count.run for count in counts) == CAMPAIGNS
    assert sum(count.campaigns > 0 for count in counts) > 1
    check_each_ran_once(made, at)


@pytest.mark.slow
def test_ten_processes_at_once_make_one_run_of_each_instant(
    tenant: Tenant, pg_dsn: str, tmp_path: Path
) -> None:
    at = last_minute()
    made = make_due(tenant, at)
    logs = [tmp_path / f"{number}.log" for number in range(PULSES)]
    with ExitStack() as stack:
        with held(pg_dsn, "campaigns_campaign", "ACCESS EXCLUSIVE") as waiting:
            children = [
                stack.enter_context(manage("pulse", "--once", log=log, INLINE_FALLBACK="0"))
                for log in logs
            ]
            wait_until(lambda: len(waiting()) == PULSES, seconds=240)
        assert [child.wait(timeout=120) for child in children] == [0] * PULSES
    told = [int(log.read_text().split(" campaigns due:")[0].split()[-1]) for log in logs]
    assert sum(told) == CAMPAIGNS
    check_each_ran_once(made, at)


# Held up in the middle: the campaign's row is locked, its run cannot be inserted yet.


def test_a_campaign_that_a_pulse_holds_is_left_to_it(tenant: Tenant, pg_dsn: str) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    other = due_campaign(tenant, "2026-03-02T10:00", schedule_time="10:00")
    with ThreadPoolExecutor(1) as pool:
        with held(pg_dsn, "campaigns_campaignrun", "SHARE") as waiting:
            first = in_thread(pool, lambda: fire("2026-03-02T09:00:05"))
            wait_until(lambda: len(waiting()) == 1)
            assert fire("2026-03-02T09:00:05") == {}
        assert first.result() == {"campaigns": 1, "run": 1}
    assert fire("2026-03-02T10:00:05") == {"campaigns": 1, "run": 1}
    assert [len(runs(each)) for each in (campaign, other)] == [1, 1]


def test_a_change_waits_for_the_pulse_and_loses_nothing(tenant: Tenant, pg_dsn: str) -> None:
    """The run is made by the old values; then the campaign waits by the new ones."""
    at = last_minute()
    campaign = due_campaign(tenant, "2026-03-02T09:00", schedule_time=f"{at:%H:%M}", priority=11)
    Campaign.unscoped.filter(pk=campaign.pk).update(next_run_at=at)
    new_time = (at + timedelta(hours=3)).strftime("%H:%M")
    with ThreadPoolExecutor(2) as pool:
        with held(pg_dsn, "campaigns_campaignrun", "SHARE") as waiting:
            pulsing = in_thread(pool, lambda: fire_due(10))
            wait_until(lambda: len(waiting()) == 1)
            fields = {"schedule_time": new_time, "priority": 22}
            changing = in_thread(pool, lambda: update_campaign(campaign, fields))
            wait_until(lambda: len(waiting()) == 2)
        assert pulsing.result() == {"campaigns": 1, "run": 1}
        changing.result()
    (run,) = runs(campaign)
    assert (run.scheduled_for, run.priority) == (at, 11)
    waits_for = next_run_at(campaign)
    assert waits_for is not None
    assert (f"{waits_for:%H:%M}", campaign.priority) == (new_time, 22)


def test_a_campaign_that_somebody_changes_is_left_to_the_next_pulse(
    tenant: Tenant, pg_dsn: str
) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    other = due_campaign(tenant, "2026-03-02T09:00")
    with psycopg.connect(pg_dsn) as editor:
        lock = f"SELECT FROM campaigns_campaign WHERE id = {campaign.pk} FOR NO KEY UPDATE"
        editor.execute(lock)
        assert fire("2026-03-02T09:00:05") == {"campaigns": 1, "run": 1}
        assert [len(runs(each)) for each in (campaign, other)] == [0, 1]
    assert fire("2026-03-02T09:00:20") == {"campaigns": 1, "run": 1}
    assert story(campaign) == ["03-02 09:00 run 1"]


def test_a_database_lost_in_the_middle_leaves_nothing_behind(tenant: Tenant, pg_dsn: str) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00", **every("*/30 * * * *"))
    with (
        ThreadPoolExecutor(1) as pool,
        held(pg_dsn, "campaigns_campaignrun", "SHARE") as waiting,
        psycopg.connect(pg_dsn, autocommit=True) as other,
    ):
        pulsing = in_thread(pool, lambda: fire("2026-03-02T10:00:05"))
        wait_until(lambda: len(waiting()) == 1)
        other.execute("SELECT pg_terminate_backend(%s)", waiting())
        with pytest.raises(OperationalError):
            pulsing.result()
    assert (story(campaign), runs(campaign)) == ([], [])
    assert next_run_at(campaign) == utc("2026-03-02T09:00")
    assert fire("2026-03-02T10:00:20") == {"campaigns": 1, "missed": 2, "run": 1}
    assert story(campaign)[-1] == "03-02 10:00 run 1"
