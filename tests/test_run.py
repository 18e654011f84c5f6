"""A run from table to file, against what an obvious loop over the customers decides."""

import csv
import io
from decimal import Decimal
from math import exp, log
from pathlib import Path

import pytest
from django.db import connection

from campaigns.models import CampaignRun, Contact, Recommendation, RunFile
from executor import ahead, runner
from executor.finish import publish
from executor.job import Job
from executor.progress import Lease
from executor.storage import open_storage
from tests import world as worlds
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")


def obvious(world: World, k: int) -> list[tuple[str, int, str, str, float]]:
    """(customer, rank, offer, channel, score) by a loop, straight from the rules in words."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {worlds.COLUMNS} FROM {world.table} ORDER BY customer_id")
        customers = cursor.fetchall()
    rows = []
    for key, age, balance, email, sms, p_cards, p_loans in customers:
        channel = "Email" if email else "Text message" if sms else None
        scored = []
        for offer in world.offers if channel else []:
            if offer is world.offers[0] and not (age >= 25 and balance > 1000):
                continue
            propensity = p_cards if offer.product_type == "cards" else p_loans
            propensity = 0.5 if propensity is None else propensity
            value = exp(0.4 * log(propensity) + 0.3 * log(0.5) + 0.1 * log(offer.priority / 100))
            scored.append((float(f"{value:.6g}"), offer.priority, offer.name))
        best = sorted(scored, key=lambda item: (-item[0], -item[1]))[:k]
        rows += [(key, n, name, channel, score) for n, (score, _, name) in enumerate(best, 1)]
    return rows


def finished(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def file_rows(run: CampaignRun) -> list[dict[str, str]]:
    file = RunFile.objects.of(run.tenant).get(run=run)
    text = open_storage().get(file.storage_key).decode()
    assert text.count("\r\n") == file.row_count + 1
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("k", [1, 3])
def test_file_results_and_contacts_are_what_the_loop_decides(k: int) -> None:
    world = worlds.build(500, k=k)
    run = finished(
        world.run(file_columns=["customer_id", "rank", "offer_name", "channel", "score"])
    )
    expected = obvious(world, k)
    rows = file_rows(run)
    assert [tuple(row.values())[:4] for row in rows] == [
        (key, str(rank), offer, channel) for key, rank, offer, channel, _ in expected
    ]
    for row, (*_, score) in zip(rows, expected, strict=True):
        assert abs(Decimal(row["score"]) - Decimal(repr(score))) < Decimal("0.0000015")
    stored = Recommendation.objects.filter(run_id=run.pk).values_list("customer_key", "rank")
    assert list(stored) == [(key, rank) for key, rank, *_ in expected]
    contacts = Contact.objects.filter(run_id=run.pk, campaign_id=world.campaign.pk)
    assert contacts.count() == len(expected)


def test_summary_adds_up() -> None:
    world = worlds.build(500, k=3)
    run = finished(world.run())
    expected = obvious(world, 3)
    summary = run.summary
    served = len({row[0] for row in expected})
    assert summary["audience"] == 500
    assert summary["customersWithRecommendations"] == served
    assert summary["totalRecommendations"] == len(expected)
    assert summary["averagePerCustomer"] == round(len(expected) / served, 4)
    assert sum(line["removedCustomers"] for line in summary["funnel"]) + served == 500
    assert [(line["stage"], line["label"]) for line in summary["funnel"]] == [
        ("qualify", "consent Email"),
        ("qualify", "consent Text message"),
        ("qualify", "adults of means"),
        ("score", "every candidate scored zero"),
        ("caps", "volume caps were full"),
    ]
    counts = {row["offerId"]: row["count"] for row in summary["offers"]}
    assert counts == {
        offer.public_id: sum(row[2] == offer.name for row in expected) for offer in world.offers
    }
    assert sum(row["count"] for row in summary["channels"]) == len(expected)
    assert summary["durationSeconds"] > 0
    assert set(summary["stages"]) == {"freeze", "write", "finish"}


@pytest.mark.parametrize("allocation", ["score", "first_come"])
def test_caps_hold_and_use_what_there_is(allocation: str) -> None:
    world = worlds.build(500)
    run = finished(world.run(allocation=allocation, max_per_offer=60, max_total_per_run=150))
    summary = run.summary
    assert summary["totalRecommendations"] == 150
    assert all(row["count"] <= 60 for row in summary["offers"])
    caps = {(cap["cap"], cap["offerId"]): cap for cap in summary["caps"]}
    assert caps["maxTotalPerRun", None]["used"] == 150
    assert caps["maxTotalPerRun", None]["bound"] is True
    assert Recommendation.objects.filter(run_id=run.pk).count() == 150
    assert summary["funnel"][-1]["removedCustomers"] == summary["eligible"] - 150


def test_first_come_serves_customers_in_key_order() -> None:
    world = worlds.build(500)
    run = finished(world.run(allocation="first_come", max_total_per_run=20))
    assert [row["customer_id"] for row in file_rows(run)] == [
        row[0] for row in obvious(world, 1)[:20]
    ]


def test_score_serves_the_highest_scores() -> None:
    world = worlds.build(500)
    run = finished(world.run(allocation="score", max_total_per_run=20))
    best = sorted((row[4] for row in obvious(world, 1)), reverse=True)[:20]
    got = sorted((float(row["score"]) for row in file_rows(run)), reverse=True)
    assert got == pytest.approx(best, abs=1.5e-6)


def test_loose_caps_change_nothing() -> None:
    world = worlds.build(500)
    free = file_rows(finished(world.run()))
    run = finished(world.run(max_per_offer=480))
    assert file_rows(run) == free
    assert [cap["bound"] for cap in run.summary["caps"]] == [False] * 3


@pytest.mark.parametrize(
    "caps", [{}, {"max_per_offer": 700}, {"max_per_offer": 700, "allocation": "first_come"}]
)
def test_chunk_size_does_not_matter(caps: dict[str, object], settings) -> None:
    world = worlds.build(5000, k=2)
    hashes = set()
    for rows in (1024, 98_304):
        settings.KAIREON_CHUNK_ROWS = rows
        run = finished(world.run(**caps))
        assert run.chunks.count() == (5 if rows == 1024 else 1)
        hashes.add(RunFile.objects.of(world.tenant).get(run=run).sha256)
    assert len(hashes) == 1


@pytest.mark.parametrize("caps", [{}, {"max_per_offer": 700}], ids=["uncapped", "capped"])
def test_what_the_freeze_had_no_time_to_decide_is_decided_later(
    caps: dict[str, object], settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    world = worlds.build(5000, k=2)
    hashes = set()
    for waiting in (0, 1, 5):
        monkeypatch.setattr(ahead, "WAITING", waiting)
        run = finished(world.run(**caps))
        hashes.add(RunFile.objects.of(world.tenant).get(run=run).sha256)
    assert len(hashes) == 1


def test_a_fault_while_deciding_ahead_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = worlds.build(10).run()
    monkeypatch.setattr(ahead, "spool", lambda *_: 1 / 0)
    assert failed(run) == "internal error: division by zero"
    assert run.chunks.count() == 0


def test_an_empty_segment_completes_with_an_empty_file() -> None:
    world = worlds.build(0)
    run = finished(world.run())
    assert file_rows(run) == []
    assert run.summary["audience"] == run.summary["totalRecommendations"] == 0


def test_integer_keys_are_written_as_text() -> None:
    world = worlds.build(30)
    with connection.cursor() as cursor:
        view = f"segments.{world.campaign.segment.view_name}"
        cursor.execute(f"DROP VIEW {view}; ALTER TABLE {world.table} ADD row_number bigserial")
        cursor.execute(f"CREATE VIEW {view} AS SELECT * FROM {world.table}")
    world.campaign.segment.base_schema.key_column = "row_number"
    world.campaign.segment.base_schema.save()
    run = finished(world.run())
    keys = [row["customer_id"] for row in file_rows(run)]
    assert keys == sorted(keys)
    assert set(keys) <= {str(number) for number in range(1, 31)}


def failed(run: CampaignRun) -> str:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "failed"
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"campaigns_recommendation_r{run.pk}"])
        assert cursor.fetchone() == (None,)
    assert not Contact.objects.filter(run_id=run.pk).exists()
    return run.error


def _set_key(world: World, value: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {world.table} DROP CONSTRAINT ds_world_pkey")
        cursor.execute(f"ALTER TABLE {world.table} ALTER customer_id DROP NOT NULL")
        cursor.execute(
            f"UPDATE {world.table} SET customer_id = %s WHERE customer_id = 'C0000009'", [value]
        )


def test_refuses_a_repeated_key() -> None:
    world = worlds.build(20)
    _set_key(world, "C0000008")
    assert failed(world.run()) == (
        'the customer key "C0000008" stands more than once in the segment'
    )


def test_refuses_a_null_key() -> None:
    world = worlds.build(20)
    _set_key(world, None)
    assert failed(world.run()) == "1 customers of the segment have no key (it is null)"


def test_fails_without_a_batch_channel() -> None:
    world = worlds.build(20)
    for channel in world.channels:
        channel.delivery_mode = "api"
        channel.save()
    assert "no batch channel" in failed(world.run())


def test_a_finished_run_is_not_executed_again() -> None:
    world = worlds.build(20)
    run = finished(world.run())
    assert not runner.execute(run.pk)


def test_history_stays_true_after_edits() -> None:
    world = worlds.build(50)
    run = finished(world.run())
    world.offers[0].name = "Renamed"
    world.offers[0].save()
    run.refresh_from_db()
    assert run.spec["catalog"]["offers"][0]["name"] == "Gold Card"
    assert run.spec["flow_version"] == 1


def test_a_run_that_is_cancelled_in_its_last_stage_ends_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before any heartbeat could tell: the refused write itself finds out why."""
    run = worlds.build(10).run()

    def finish(lease: Lease, job: Job) -> None:
        CampaignRun.unscoped.filter(pk=run.pk).update(status="cancelling")
        publish(lease, job)

    monkeypatch.setitem(runner.STEPS, "finish", finish)
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("cancelled", "")
    assert not Contact.objects.filter(run_id=run.pk).exists()
    assert not RunFile.objects.of(run.tenant).exists()


@pytest.mark.parametrize("caps", [{}, {"max_per_offer": 300}], ids=["uncapped", "capped"])
def test_a_run_that_has_ended_leaves_its_frozen_customers_and_its_file(
    caps: dict[str, int], settings, storage: Path
) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    world = worlds.build(3000)
    run = world.run(**caps)
    of_a_lost_attempt = f"runs/{run.pk}/0/input/000000.parquet"
    open_storage().put(of_a_lost_attempt, b"")
    finished(run)
    named = set(run.chunks.values_list("input_key", flat=True))
    named.add(RunFile.objects.of(world.tenant).get(run=run).storage_key)
    stored = (path for path in storage.rglob("*") if path.is_file())
    assert {path.relative_to(storage).as_posix() for path in stored} == named
