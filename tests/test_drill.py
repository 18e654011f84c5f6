"""`manage.py drill`: it survives its faults in a sandbox, and its checks find what is broken."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError

from campaigns.management.drill import checks, clock, files, processes, replay, retake
from campaigns.management.drill.retake import Retaken
from campaigns.management.drill.sandbox import Sandbox, new_folder
from campaigns.models import Campaign, CampaignRun, ContactHold, DeadLetter, RunFile, Tick
from campaigns.services.schedules import database_now, schedule_of
from executor import runner
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import world as worlds
from tests.customer_tables import execute
from tests.processes import environment, wait_until

pytestmark = pytest.mark.usefixtures("clean_relations")


def drill(*words: str, folder: Path) -> "subprocess.Popen[str]":
    """The command in a process of its own, given a database that it must leave alone."""
    return subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "drill", *words],
        env=environment(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(table: str) -> dict[str, int]:
    """First column -> the first number behind it."""
    found = re.findall(r"^│ (.+?) +│ +([0-9,]+) ", table, re.MULTILINE)
    return {name: int(value.replace(",", "")) for name, value in found}


@pytest.mark.slow
def test_ten_kills_are_survived_in_a_sandbox(tmp_path: Path) -> None:
    words = ("--kills", "10", "--customers", "20000", "--chunk-rows", "1024", "--workers", "2")
    with drill(*words, "--only", "kills", folder=tmp_path) as child:
        out, err = child.communicate(timeout=900)
    assert child.returncode == 0, out + err
    table = lines_of(out)
    killed = {name: times for name, times in table.items() if name.startswith("kill -9")}
    assert sum(times for name, times in killed.items() if "PostgreSQL" not in name) == 10
    assert table["byte-identical to a calm run"] >= 1
    assert table["runs"] >= 8
    assert "BROKEN" not in out
    assert list(tmp_path.iterdir()) == []
    assert not Tenant.objects.exists()


@pytest.mark.slow
def test_told_to_end_it_leaves_nothing(tmp_path: Path) -> None:
    with drill("--customers", "1000", folder=tmp_path) as child:
        wait_until(lambda: any(tmp_path.glob("*/logs/web.log")), seconds=300)
        (folder,) = tmp_path.iterdir()
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=300)
    assert child.returncode != 0
    assert list(processes.found(folder)) == []
    assert list(tmp_path.iterdir()) == []


def test_refuses_any_database_but_its_own(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="works in its own sandbox only"):
        Sandbox.at(tmp_path, 1, 2).check()


def test_refuses_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(CommandError, match="not an empty folder"):
        new_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_of_the_callers_settings_gets_into_the_sandbox(tmp_path: Path) -> None:
    given = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://mine",
        "REDIS_URL": "redis://mine",
        "STORAGE_URL": "s3://mine",
        "KAIREON_ENV": "production",
        "PGHOST": "mine",
    }
    env = Sandbox.at(tmp_path, 1, 2).environment(given, KAIREON_LEASE_SECONDS="3")
    assert "mine" not in " ".join(env.values())
    assert env.keys() == {
        *("PATH", "DATABASE_URL", "REDIS_URL", "STORAGE_URL"),
        *("KAIREON_VAR", "TMPDIR", "KAIREON_LEASE_SECONDS"),
    }


def ended_run(**fields: Any) -> CampaignRun:
    run = worlds.build(300).run(file_columns=list(files.LINES), **fields)
    assert runner.execute(run.pk)
    return again(run)


def again(run: CampaignRun) -> CampaignRun:
    return CampaignRun.unscoped.select_related("campaign").get(pk=run.pk)


def broken(run: CampaignRun) -> dict[str, list[str]]:
    found = checks.check([again(run)]) + files.check([again(run)])
    return {finding.name: finding.broken for finding in found if finding.broken}


def change(statement: str) -> Callable[[CampaignRun], object]:
    return lambda run: execute(statement.format(run=run.pk, tenant=run.tenant_id))


def change_file(run: CampaignRun) -> None:
    file = RunFile.objects.of(run.tenant).get(run=run)
    data = open_storage().get(file.storage_key)
    open_storage().put(file.storage_key, data.replace(b"C0000007", b"C0000008"))


def change_frozen(run: CampaignRun) -> None:
    key = run.chunks.get().input_key
    open_storage().put(key, open_storage().get(key) + b"\0")


RESULTS = "campaigns_recommendation_r{run}"
FAULTS: dict[str, tuple[Callable[[CampaignRun], object], str]] = {
    "every run has completed": (
        change("UPDATE campaigns_campaignrun SET status = 'running' WHERE id = {run}"),
        "is running",
    ),
    "each customer and rank once": (
        change(f"UPDATE {RESULTS} SET rank = 2 WHERE customer_key = 'C0000007'"),
        "customer C0000007",
    ),
    "contacts are the results": (
        change("DELETE FROM campaigns_contact WHERE customer_key = 'C0000007'"),
        "differ for customer C0000007",
    ),
    "the funnel adds up": (
        change("UPDATE campaigns_campaignrun SET audience_count = 301 WHERE id = {run}"),
        "301 customers",
    ),
    "every chunk is written once": (
        change("UPDATE campaigns_runchunk SET lease_until = now() WHERE run_id = {run}"),
        "still leased",
    ),
    "no lease, hold or dead letter": (
        lambda run: ContactHold.objects.create(run_id=run.pk, at=database_now()),
        "held back",
    ),
    "no table is left over": (
        change("CREATE TABLE campaigns_recommendation_r{run}_1 ()"),
        "belongs to no run",
    ),
    "frozen customers are whole": (change_frozen, "not what was frozen"),
    "file, its digest and results agree": (change_file, "differ for customer C000000"),
}


def test_the_checks_find_nothing_in_a_run_that_went_well() -> None:
    assert broken(ended_run()) == {}


@pytest.mark.parametrize("name", FAULTS)
def test_the_checks_find(name: str) -> None:
    run = ended_run()
    doctor, told = FAULTS[name]
    doctor(run)
    assert any(told in fault for fault in broken(run)[name])
    execute(f"DROP TABLE IF EXISTS campaigns_recommendation_r{run.pk}_1")


def test_a_dead_letter_is_found() -> None:
    run = ended_run()
    letter = DeadLetter(tenant=run.tenant, topic="campaign_chunks", run=run, chunk=0, attempts=5)
    letter.save()
    assert "dead letter" in broken(run)["no lease, hold or dead letter"][0]


def test_a_tick_that_is_missing_is_found() -> None:
    run = ended_run(schedule_cron="* * * * *")
    minute = database_now().replace(second=0, microsecond=0)
    at = [minute - timedelta(minutes=2), minute]
    for scheduled_for, outcome in zip(at, ("missed", "run"), strict=True):
        Tick.unscoped.create(
            tenant=run.tenant,
            campaign=run.campaign,
            scheduled_for=scheduled_for,
            outcome=outcome,
            reason="late",
        )
    CampaignRun.unscoped.filter(pk=run.pk).update(scheduled_for=minute)
    (fault,) = broken(run)["one tick and run per instant"]
    assert "lacks instants" in fault


def test_a_run_that_nobody_asked_for_is_found() -> None:
    run = ended_run()
    assert checks.answered_once([run], {"a": run.pk}).broken == []
    assert "nobody" in checks.answered_once([run], {}).broken[0]
    assert "2 Idempotency-Keys" in checks.answered_once([run], {"a": run.pk, "b": run.pk}).broken[0]
    assert "gone" in checks.answered_once([run], {"a": run.pk, "b": run.pk + 1}).broken[0]


@pytest.mark.parametrize("caps", [{}, {"max_per_offer": 30}], ids=["uncapped", "capped"])
def test_a_run_that_came_to_something_else_is_found(caps: dict[str, int]) -> None:
    run = ended_run(**caps)
    calm = {run.campaign_id: replay.outcome(run)}
    assert replay.compare_with_calm([run], calm).broken == []
    assert replay.compare_with_replay([run]).broken == []
    execute(
        f"UPDATE campaigns_recommendation_r{run.pk} SET offer_id = offer_id + 1"
        " WHERE customer_key = (SELECT min(customer_key) FROM campaigns_recommendation"
        f" WHERE run_id = {run.pk})"
    )
    assert len(replay.compare_with_calm([run], calm).broken) == 1
    assert len(replay.compare_with_replay([run]).broken) == 1


def test_what_a_run_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CLEARED_SECONDS", 0.0)
    run = ended_run()
    assert files.cleared([run]).broken == []
    open_storage().put(f"runs/{run.pk}/c9/part/000000", b"")
    assert len(files.cleared([run]).broken) == 1


def test_a_chunk_that_is_retaken_late_is_found() -> None:
    found = retake.finding([Retaken(1, 2, 29.9), Retaken(3, 4, 30.1)])
    assert found.broken == ["run 3, chunk 4 was retaken after 30.1 s"]


@pytest.mark.parametrize("season", [0, 1], ids=["spring", "autumn"])
def test_the_clock_is_stepped_over_dst(season: int) -> None:
    world = worlds.build(10)
    step = clock.changes("America/New_York")[season]
    assert abs(step.by) == timedelta(hours=1)
    found = clock.step_over(world.campaign, [step], Random(3))
    assert found.broken == []
    assert found.looked_at > 40
    hourly = Campaign.objects.of(world.tenant).get(schedule_cron="10,40 * * * *")
    assert schedule_of(hourly).zone == "America/New_York"
    Tick.unscoped.filter(campaign=hourly).order_by("pk")[5].delete()
    (fault,) = clock.faults(hourly, step.at - clock.AROUND, step.at + clock.AROUND)
    assert "15 ticks of 16 instants" in fault
