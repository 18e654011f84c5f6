"""`manage.py bench` on a small tenant: it measures everything, decides alike, and cleans up."""

import io
import json
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from benchmarks.comparison import compare
from benchmarks.data import Size, campaign_of, open_tenant
from benchmarks.python_loop import run_loop
from benchmarks.report import print_report
from benchmarks.runs import Subject, remove_runs
from campaigns.models import CampaignRun, Contact, RunChunk
from executor import runner
from executor.planning import decider_of
from executor.spec import RunSpec
from executor.storage import open_storage
from kaireon.access.models import Tenant
from kaireon.database.base import dsn
from tests import processes, world
from tests.customer_tables import execute
from tests.factories import RunFactory

pytestmark = pytest.mark.usefixtures("clean_relations")

SMALL = Size(customers=3000, offers=6, channels=2)
MEASURED = {
    "floor_seconds",
    "run_seconds",
    "ratio",
    "sql_seconds",
    "generated_sql_seconds",
    "sql_outputs_seconds",
    "python_loop_seconds",
    "peak_rss_bytes",
    "customers_per_second",
}


def bench(*more: str) -> str:
    out = io.StringIO()
    sizes = ("--customers", "3000", "--offers", "6", "--channels", "2")
    call_command("bench", *sizes, *more, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def run_in_process(tenant: Tenant, top: int) -> CampaignRun:
    run: CampaignRun = RunFactory(campaign=campaign_of(tenant, top))
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def result_tables() -> list[Any]:
    return execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND relname ~ '^(campaigns_recommendation_r|bench_)'"
    )


def table_of(result: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_report(result, console)
    return console.file.getvalue()


def test_measures_everything_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # The runs are executed by child processes, which must find the test's database.
    for name, value in processes.environment().items():
        monkeypatch.setenv(name, value)
    other = world.build(50)
    others_run = other.run()
    assert runner.execute(others_run.pk)
    result = json.loads(bench("--json"))
    for part in (result, result["top3"]):
        assert all(part[name] > 0 for name in MEASURED)
        assert set(part["stages"]) == {"freeze", "write", "finish"}
        assert 0.93 < part["eligible"] / 3000 < 0.97
    assert result["customers"] == 3000
    assert result["recommendations"] == result["eligible"]
    assert f"{result['ratio']:.2f}" in table_of(result)
    # What is left is the made-up data, and all that others had.
    assert list(CampaignRun.unscoped.values_list("pk", flat=True)) == [others_run.pk]
    assert result_tables() == [(f"campaigns_recommendation_r{others_run.pk}",)]
    assert set(Contact.objects.values_list("tenant_id", flat=True)) == {other.tenant.pk}


def test_customers_follow_from_their_number_and_the_channels() -> None:
    sizes = [Size(500, offers, 2) for offers in (6, 7)]
    for size in sizes:
        open_tenant(size)
    first, second = (execute(f"SELECT * FROM data.{size.table} ORDER BY 1") for size in sizes)
    assert first == second
    assert [row[0] for row in first[:2]] == ["C000000001", "C000000002"]


def test_an_open_tenant_is_not_built_again() -> None:
    tenant = open_tenant(SMALL)
    assert open_tenant(SMALL) == tenant
    assert Tenant.objects.filter(slug="bench-3000-6-2").count() == 1


def test_removing_runs_leaves_the_database_as_before_the_first() -> None:
    tenant = open_tenant(SMALL)
    run = run_in_process(tenant, top=3)
    (chunk,) = RunChunk.objects.filter(run=run)
    with psycopg.connect(dsn(), autocommit=True) as own:
        remove_runs(own, tenant)
    assert result_tables() == []
    assert execute(
        "SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits"
        " WHERE inhparent = 'campaigns_contact'::regclass"
    ) == [(0,)]
    with pytest.raises(FileNotFoundError):
        open_storage().get(chunk.input_key)


def test_the_loop_counts_the_same_funnel(pg_dsn: str) -> None:
    run = run_in_process(open_tenant(SMALL), 3)
    spec = RunSpec.from_json(run.spec)
    plan = decider_of(spec, open_storage()).plan
    subject = Subject(run.pk, plan, spec.view, spec.key_column)
    with psycopg.connect(pg_dsn, autocommit=True) as own, psycopg.connect(pg_dsn) as reader:
        loop = run_loop(reader, own, subject, table="bench_scratch", sample=SMALL.customers)
        own.execute("DROP TABLE bench_scratch")
    assert loop.customers == SMALL.customers
    *steps, worthless = run.chunks.get().counts["removed"]
    assert (loop.funnel, worthless) == (steps, [0, 0])


def test_results_that_differ_are_not_equal() -> None:
    run = run_in_process(open_tenant(SMALL), top=1)
    execute(f"CREATE TABLE bench_copy AS SELECT * FROM campaigns_recommendation_r{run.pk}")
    with psycopg.connect(dsn(), autocommit=True) as own:
        assert compare(own, run.pk, "bench_copy").is_equal
        own.execute("UPDATE bench_copy SET score = 1.0001 * score WHERE chunk = 0")
        assert not compare(own, run.pk, "bench_copy").is_equal
        own.execute("DELETE FROM bench_copy WHERE customer_key < 'C000000100'")
        assert not compare(own, run.pk, "bench_copy").is_equal
        own.execute("DROP TABLE bench_copy")


def test_refuses_a_size_of_nothing() -> None:
    with pytest.raises(CommandError, match="must be at least 1"):
        call_command("bench", "--customers", "0")


def test_refuses_to_work_twice_at_once() -> None:
    with psycopg.connect(dsn(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtext(%s))", [SMALL.slug])
        with pytest.raises(CommandError, match="another bench of bench-3000-6-2 is at work"):
            bench()
