"""The pulse: each instant that comes gets one tick, and a run unless the policies say no."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from django.test import Client

from campaigns.models import CampaignRun, Tick
from campaigns.services import pulse as scheduler
from executor import drain, queue, runner
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.due import (
    due_campaign,
    every,
    fire,
    next_run_at,
    runs,
    set_database_clock,
    story,
    utc,
)

NEW_YORK = "America/New_York"
TOO_LATE = "late; the campaign runs what is at most 60 min late."


def ticks_by_metrics() -> dict[str, int]:
    text = Client().get("/metrics").content.decode()
    found = re.findall(r'^kaireon_ticks_last_hour{outcome="(\w+)"} (\S+)$', text, re.MULTILINE)
    return {outcome: int(float(number)) for outcome, number in found}


# On time.


def test_what_is_due_gets_one_run_and_one_tick(tenant: Tenant) -> None:
    """P31: what became of an instant, and of which run, stands in rows of our own."""
    campaign = due_campaign(tenant, "2026-03-02T09:00", priority=70)
    changes, version = campaign.history.count(), campaign.version
    assert fire("2026-03-02T09:00:07") == {"campaigns": 1, "run": 1}
    (run,) = runs(campaign)
    assert (run.status, run.triggered_by, run.run_number) == ("pending", "schedule", 1)
    assert (run.scheduled_for, run.priority) == (utc("2026-03-02T09:00"), 70)
    assert not run.in_turn
    tick = Tick.objects.of(tenant).get()
    assert (tick.run, tick.outcome, tick.instants, tick.reason) == (run, "run", 1, "")
    assert next_run_at(campaign) == utc("2026-03-03T09:00")
    assert (campaign.history.count(), campaign.version) == (changes, version)


def test_nothing_is_due_before_its_time(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    assert fire("2026-03-02T08:59:59.999999") == {}
    assert story(campaign) == []
    assert fire("2026-03-02T09:00") == {"campaigns": 1, "run": 1}


def test_a_second_pulse_finds_nothing_left(tenant: Tenant) -> None:
    """P7, P10: a pulse that comes twice makes nothing more."""
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    fire("2026-03-02T09:00:05")
    assert fire("2026-03-02T09:00:05") == {}
    assert story(campaign) == ["03-02 09:00 run 1"]


def test_a_pulse_that_was_lost_costs_one_interval(tenant: Tenant) -> None:
    """P8: what is due stands in the database, not in a message."""
    campaign = due_campaign(tenant, "2026-03-02T09:00", misfire_policy="skip")
    fire("2026-03-02T09:00:35")
    assert story(campaign) == ["03-02 09:00 run 1"]


def test_the_longest_due_comes_first_and_the_limit_is_kept(tenant: Tenant) -> None:
    times = ["2026-03-02T09:02", "2026-03-02T09:00", "2026-03-02T09:01"]
    late, early, middle = (
        due_campaign(tenant, at, schedule_time=at[-5:], misfire_grace_minutes=5) for at in times
    )
    assert fire("2026-03-02T09:03", limit=2) == {"campaigns": 2, "run": 2}
    assert [len(runs(each)) for each in (early, middle, late)] == [1, 1, 0]
    assert fire("2026-03-02T09:03", limit=2) == {"campaigns": 1, "run": 1}


def test_the_clock_is_the_databases(tenant: Tenant) -> None:
    """Several machines share one clock. Here PostgreSQL's is five years ahead of this machine's."""
    campaign = due_campaign(tenant, "2031-05-05T09:00")
    tomorrow = due_campaign(tenant, "2031-05-06T09:00")
    set_database_clock("2031-05-05T09:00:03")
    assert scheduler.fire_due(10) == {"campaigns": 1, "run": 1}
    assert next_run_at(campaign) == utc("2031-05-06T09:00")
    assert story(tomorrow) == []


@pytest.mark.parametrize("status", ["draft", "paused", "archived"])
def test_only_active_campaigns_are_due(tenant: Tenant, status: str) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00", status=status)
    assert fire("2026-03-02T09:00:05") == {}
    assert story(campaign) == []


@pytest.mark.usefixtures("clean_relations")
def test_a_pulse_says_that_the_scheduler_lives(tenant: Tenant, settings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False
    assert Client().get("/health/ready").json()["pulse"]["status"] == "degraded"
    campaign = due_campaign(tenant, "2026-03-02T09:00", **every("0 9 2 3 *"))
    counts = scheduler.pulse()
    assert (counts.campaigns, counts.missed) == (1, campaign.ticks.count())
    assert 'kaireon_workers{kind="pulse"} 1.0' in Client().get("/metrics").content.decode()
    assert Client().get("/health/ready").json()["pulse"]["status"] == "ok"


@pytest.mark.usefixtures("clean_relations")
def test_missed_windows_are_counted_in_the_metrics(tenant: Tenant) -> None:
    """Three hours without a pulse; every minute counts, also where many share a tick."""
    due_campaign(tenant, "2026-03-02T09:00")
    due_campaign(tenant, "2026-03-02T11:00", **every("0 * * * *"))
    due_campaign(tenant, "2026-03-02T07:01", **every("* * * * *"))
    with_run = due_campaign(tenant, "2026-03-02T12:00", schedule_time="12:00")
    factories.RunFactory(campaign=with_run, status="running")
    due_campaign(tenant, "2026-03-02T12:00", schedule_timezone="Mars/Olympus")
    assert fire("2026-03-02T12:00:05")["campaigns"] == 5
    assert ticks_by_metrics() == {"run": 2, "skipped": 1, "missed": 301, "refused": 1}


# Late. Everything stood still from before 09:00 to 12:00.


@pytest.mark.parametrize(
    ("fields", "since", "expected", "following"),
    [
        pytest.param(
            {}, "2026-03-02T09:00",
            [f"03-02 09:00 missed: 3 h {TOO_LATE}"], "2026-03-03T09:00",
            id="beyond the grace",
        ),
        pytest.param(
            {"misfire_grace_minutes": 240}, "2026-03-02T09:00",
            ["03-02 09:00 run 1"], "2026-03-03T09:00",
            id="within a longer grace",
        ),
        pytest.param(
            {"schedule_time": "11:30"}, "2026-03-02T11:30",
            ["03-02 11:30 run 1"], "2026-03-03T11:30",
            id="within the grace",
        ),
        pytest.param(
            {"schedule_time": "11:30", "misfire_policy": "skip"}, "2026-03-02T11:30",
            ["03-02 11:30 missed: 30 min late; the campaign skips what is late."],
            "2026-03-03T11:30",
            id="skip",
        ),
        pytest.param(
            every("*/30 * * * *"), "2026-03-02T10:30",
            [
                f"03-02 10:30 missed: 1 h 30 min {TOO_LATE}",
                f"03-02 11:00 missed: 1 h {TOO_LATE}",
                "03-02 11:30 missed: 30 min late; the newer instant 2026-03-02 12:00 UTC took its"
                " place.",
                "03-02 12:00 run 1",
            ],
            "2026-03-02T12:30",
            id="only the newest",
        ),
        pytest.param(
            every("45 * * * *"), "2026-03-02T10:45",
            [f"03-02 10:45 missed: 1 h 15 min {TOO_LATE}", "03-02 11:45 run 1"],
            "2026-03-02T12:45",
            id="only the newest, late too",
        ),
        pytest.param(
            every("45 * * * *", misfire_policy="skip"), "2026-03-02T10:45",
            ["03-02 10:45 missed: 1 h 15 min late; the campaign skips what is late.",
             "03-02 11:45 missed: 15 min late; the campaign skips what is late."],
            "2026-03-02T12:45",
            id="skip all that are late",
        ),
        pytest.param(
            every("0 * * * *", misfire_policy="skip"), "2026-03-02T11:00",
            ["03-02 11:00 missed: 1 h late; the campaign skips what is late.", "03-02 12:00 run 1"],
            "2026-03-02T13:00",
            id="skip but for the one on time",
        ),
    ],
)  # fmt: skip
def test_three_hours_without_a_pulse(
    tenant: Tenant, fields: dict[str, object], since: str, expected: list[str], following: str
) -> None:
    """P14: lateness is the campaign's policy to judge, and every missed instant says why."""
    campaign = due_campaign(tenant, since, **fields)
    done = fire("2026-03-02T12:00:05")
    assert story(campaign) == expected
    assert next_run_at(campaign) == utc(following)
    missed = sum("missed" in line for line in expected)
    assert (done.get("missed", 0), done.get("run", 0)) == (missed, len(expected) - missed)
    assert fire("2026-03-02T12:00:20") == {}


@pytest.mark.parametrize(
    ("fields", "late", "runs_it"),
    [
        ({"misfire_policy": "skip"}, timedelta(seconds=60), True),
        ({"misfire_policy": "skip"}, timedelta(seconds=60, microseconds=1), False),
        ({"misfire_grace_minutes": 60}, timedelta(minutes=60), True),
        ({"misfire_grace_minutes": 60}, timedelta(minutes=60, microseconds=1), False),
        ({"misfire_grace_minutes": 0}, timedelta(seconds=60), True),
        ({"misfire_grace_minutes": 0}, timedelta(seconds=61), False),
        ({"misfire_grace_minutes": 10080}, timedelta(hours=23, minutes=59), True),
    ],
)
def test_how_late_is_too_late(
    tenant: Tenant, fields: dict[str, object], late: timedelta, runs_it: bool
) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00", **fields)
    fire((utc("2026-03-02T09:00") + late).replace(tzinfo=None).isoformat())
    assert [tick.outcome for tick in campaign.ticks.all()] == ["run" if runs_it else "missed"]
    assert len(runs(campaign)) == runs_it


def test_after_a_pause_of_the_scheduler_the_regular_instant_is_next(tenant: Tenant) -> None:
    """P9: back at 12:30, nothing fires at 07:00 tomorrow, nor on Tuesday what is Monday's."""
    daily = due_campaign(tenant, "2026-03-02T09:00")
    weekly = due_campaign(
        tenant, "2026-03-02T09:00", schedule_type="weekly", schedule_day_of_week=1
    )
    fire("2026-03-02T12:30")
    assert next_run_at(daily) == utc("2026-03-03T09:00")
    assert next_run_at(weekly) == utc("2026-03-09T09:00")
    assert fire("2026-03-03T07:00") == {}


def test_very_many_missed_instants_share_a_tick(tenant: Tenant) -> None:
    """Every minute, and nobody looked for five days: 7,201 instants."""
    campaign = due_campaign(tenant, "2026-03-02T09:00", **every("* * * * *"))
    assert fire("2026-03-07T09:00:05") == {"campaigns": 1, "missed": 7200, "run": 1}
    shared, *others = campaign.ticks.order_by("scheduled_for")
    assert (shared.instants, shared.scheduled_for) == (7001, utc("2026-03-02T09:00"))
    assert shared.reason == f"The first of 7001: 5 d {TOO_LATE}"
    assert len(others) == scheduler.MAX_TICKS
    assert {tick.instants for tick in others} == {1}
    assert others[0].scheduled_for == utc("2026-03-07T05:41")
    assert [run.scheduled_for for run in runs(campaign)] == [utc("2026-03-07T09:00")]


# Overlap.


@pytest.mark.parametrize("status", ["pending", "running", "paused", "cancelling"])
def test_a_campaign_skips_while_a_run_is_unfinished(tenant: Tenant, status: str) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    earlier = factories.RunFactory(campaign=campaign, run_number=1, status=status)
    assert fire("2026-03-02T09:00:05") == {"campaigns": 1, "skipped": 1}
    assert story(campaign) == [f"03-02 09:00 skipped: Run 1 ({earlier.public_id}) was {status}."]
    assert runs(campaign) == [earlier]
    assert next_run_at(campaign) == utc("2026-03-03T09:00")


@pytest.mark.parametrize("policy", ["skip", "queue", "allow"])
@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_run_that_has_ended_is_in_nobodys_way(tenant: Tenant, status: str, policy: str) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00", overlap_policy=policy)
    factories.RunFactory(campaign=campaign, run_number=7, status=status, error="It broke.")
    fire("2026-03-02T09:00:05")
    assert story(campaign) == ["03-02 09:00 run 8"]
    assert not runs(campaign)[-1].in_turn


def test_another_campaigns_run_is_in_nobodys_way(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    factories.RunFactory(campaign=factories.CampaignFactory(tenant=tenant), status="running")
    fire("2026-03-02T09:00:05")
    assert story(campaign) == ["03-02 09:00 run 1"]


def test_allow_makes_runs_that_may_go_on_at_once(tenant: Tenant) -> None:
    campaign = due_campaign(
        tenant, "2026-03-02T09:00", **every("* * * * *", overlap_policy="allow")
    )
    for minute in range(3):
        fire(f"2026-03-02T09:0{minute}:05")
    assert story(campaign) == [f"03-02 09:0{minute} run {minute + 1}" for minute in range(3)]
    assert queue.claimable() == [run.pk for run in runs(campaign)]


def test_queue_makes_runs_that_wait_for_the_earlier_ones(tenant: Tenant) -> None:
    campaign = due_campaign(
        tenant, "2026-03-02T09:00", **every("* * * * *", overlap_policy="queue")
    )
    for minute in range(4):
        fire(f"2026-03-02T09:0{minute}:05")
    first, second, third, fourth = runs(campaign)
    assert [run.in_turn for run in runs(campaign)] == [False, True, True, True]
    for status in ("pending", "running", "paused", "cancelling"):
        CampaignRun.unscoped.filter(pk=first.pk).update(status=status)
        assert not {second.pk, third.pk, fourth.pk} & {*queue.claimable()}
    CampaignRun.unscoped.filter(pk=first.pk).update(status="failed", error="It broke.")
    assert queue.claimable() == [second.pk]
    CampaignRun.unscoped.filter(pk=second.pk).update(status="cancelled")
    CampaignRun.unscoped.filter(pk=third.pk).update(status="cancelled")
    assert queue.claimable() == [fourth.pk]


@pytest.mark.usefixtures("clean_relations")
def test_many_queued_runs_are_executed_one_after_the_other() -> None:
    campaign = worlds.build(20).campaign
    fields = every("* * * * *", overlap_policy="queue", next_run_at=utc("2026-03-02T09:00"))
    for name, value in fields.items():
        setattr(campaign, name, value)
    campaign.save()
    for minute in range(8):
        fire(f"2026-03-02T09:0{minute}:05")
    assert runner.step() == runs(campaign)[0].pk
    drain.drain()
    ended = runs(campaign)
    assert [(run.run_number, run.status) for run in ended] == [
        (number, "completed") for number in range(1, 9)
    ]
    assert all(earlier.completed_at <= later.started_at for earlier, later in pairwise(ended))


# Where clocks change. New York: 2026-03-08 02:00 -> 03:00, 2026-11-01 02:00 -> 01:00.


@pytest.mark.parametrize(
    ("fields", "pulses", "expected", "following"),
    [
        pytest.param(
            {"schedule_time": "02:30"},
            ["2026-03-08T06:59:59", "2026-03-08T07:00:05", "2026-03-08T07:30:05"],
            ["03-08 07:00 run 1"], "2026-03-09T06:30",
            id="a time left out fires after the jump",
        ),
        pytest.param(
            {"schedule_time": "01:30"},
            ["2026-11-01T05:30:05", "2026-11-01T06:30:05"],
            ["11-01 05:30 run 1"], "2026-11-02T06:30",
            id="a time shown twice fires once",
        ),
        pytest.param(
            every("30 * * * *", overlap_policy="allow"),
            ["2026-11-01T05:30:05", "2026-11-01T06:30:05", "2026-11-01T07:30:05"],
            ["11-01 05:30 run 1", "11-01 06:30 run 2", "11-01 07:30 run 3"], "2026-11-01T08:30",
            id="hourly is not skipped",
        ),
        pytest.param(
            every("30 * * * *", misfire_grace_minutes=0),
            ["2026-11-01T07:30:05"],
            ["11-01 05:30 missed: 2 h late; the campaign runs what is at most 0 min late.",
             "11-01 06:30 missed: 1 h late; the campaign runs what is at most 0 min late.",
             "11-01 07:30 run 1"], "2026-11-01T08:30",
            id="caught up over the change",
        ),
    ],
)  # fmt: skip
def test_where_clocks_change(
    tenant: Tenant,
    fields: dict[str, object],
    pulses: list[str],
    expected: list[str],
    following: str,
) -> None:
    """P13, by the pulse."""
    since = "2026-03-08T07:00" if "03-08" in expected[0] else "2026-11-01T05:30"
    campaign = due_campaign(tenant, since, schedule_timezone=NEW_YORK, **fields)
    for now in pulses:
        fire(now)
    assert story(campaign) == expected
    assert next_run_at(campaign) == utc(following)
