"""A dry run decides as a run does and leaves nothing behind; a sample says what all would get."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns.models import (
    Campaign,
    CampaignRun,
    Contact,
    ContactHold,
    HeldOut,
    Recommendation,
    RunFile,
)
from campaigns.services.deletion import delete_campaign
from campaigns.services.errors import Conflict
from campaigns.services.pulse import fire_next
from campaigns.services.retrying import retry
from campaigns.services.runs import request_dry_run, request_run
from campaigns.services.schedules import database_now
from campaigns.services.waiting import waits_for, with_waits
from executor import hashing, queue, runner
from executor.allocation import Caps
from executor.estimate import estimated, wilson
from executor.explain import explain
from executor.freeze import KEY, read_chunk
from executor.progress import claim
from executor.sampling import Sample
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.clients import api_client, error
from tests.test_api_description import DESCRIBED, check
from tests.test_policy_turns import POLICIES, publish
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

DRY_RUNS = "/api/v1/runs/{id}/dry-runs"
DRY_RUN = f"{DRY_RUNS}/{{runId}}"


def dry(campaign: Campaign, sample: int | None = None) -> CampaignRun:
    return finished(request_dry_run(campaign, sample=sample, dispatch=False))


def finished(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def results(run: CampaignRun, model: type = Recommendation) -> list[tuple[Any, ...]]:
    rows = model.objects.filter(run_id=run.pk).order_by("customer_key", "rank")
    return list(rows.values_list("customer_key", "rank", "offer_id", "channel_id", "score"))


def told(run: CampaignRun) -> dict[str, Any]:
    assert run.summary is not None
    timed = ("stages", "durationSeconds")
    return {name: value for name, value in run.summary.items() if name not in timed}


def all_contacts() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM campaigns_contact")
        number: int = cursor.fetchone()[0]
    return number


@pytest.fixture
def world() -> World:
    """With a salt that is fixed, so that a sample is always the same."""
    world = worlds.build(3000, k=2)
    Tenant.objects.filter(pk=world.tenant.pk).update(salt="pepper")
    world.tenant.refresh_from_db()
    return world


@pytest.mark.parametrize("caps", [{}, {"max_total_per_run": 900, "max_per_offer": 400}])
def test_it_decides_as_a_run_does_and_leaves_nothing(
    world: World, storage: Path, caps: dict[str, int]
) -> None:
    Campaign.unscoped.filter(pk=world.campaign.pk).update(holdout_percent=5, **caps)
    first = dry(world.campaign)
    assert all_contacts() == 0
    assert not Contact.objects.exists()
    assert not ContactHold.objects.exists()
    assert not RunFile.unscoped.exists()
    stored = {path.parent.name for path in storage.rglob("*") if path.is_file()}
    assert stored == {"input"}  # what explains it
    world.campaign.refresh_from_db()
    run = finished(request_run(world.campaign, dispatch=False))
    assert run.run_number == 1
    assert results(run) == results(first) != []
    assert results(run, HeldOut) == results(first, HeldOut) != []
    assert told(run) == told(first)
    assert all_contacts() == len(results(run))
    assert results(dry(world.campaign)) == results(first)


def test_it_appears_in_no_list_of_runs(world: World) -> None:
    client, id = api_client(world.tenant), world.campaign.public_id
    tried = dry(world.campaign)
    assert client.get("/api/v1/campaign-runs").json()["data"] == []
    assert client.get(f"/api/v1/runs/{id}/campaign-runs").json() == {"runs": [], "total": 0}
    detail = client.get(f"/api/v1/runs/{id}").json()
    assert (detail["runCount"], detail["lastRunAt"], detail["latestRun"]) == (0, None, None)
    assert (detail["runs"], detail["recommendations"], detail["resultsUrl"]) == ([], [], None)
    run = finished(request_run(world.campaign, dispatch=False))
    again = dry(world.campaign)
    assert (run.run_number, tried.run_number, again.run_number) == (1, 1, 2)
    detail = client.get(f"/api/v1/runs/{id}").json()
    assert detail["latestRun"]["id"] == run.public_id
    assert [one["id"] for one in detail["runs"]] == [run.public_id]
    found = client.get(f"/api/v1/runs/{id}/dry-runs").json()
    assert [one["id"] for one in found["runs"]] == [again.public_id, tried.public_id]
    assert found["total"] == 2


def test_over_the_api(world: World) -> None:
    client, id = api_client(world.tenant), world.campaign.public_id
    path = DRY_RUNS.replace("{id}", id)
    paths = DESCRIBED["paths"]

    def shown(described: str, address: str) -> Any:
        answer = client.get(address)
        assert answer.status_code == 200
        content = paths[described]["get"]["responses"]["200"]["content"]
        check(content["application/json"]["schema"], answer.json())
        return answer.json()

    made = client.post(path, {"sample": 1000}, format="json")
    assert made.status_code == 201
    content = paths[DRY_RUNS]["post"]["responses"]["201"]["content"]
    check(content["application/json"]["schema"], made.json())
    assert (made.json()["status"], made.json()["sample"]) == ("pending", 1000)
    run = CampaignRun.unscoped.get()
    assert shown(DRY_RUN, f"{path}/{run.public_id}")["summary"] is None
    finished(run)
    answer = shown(DRY_RUN, f"{path}/{run.public_id}")
    assert answer["summary"]["audience"] == 1000
    assert answer["summary"]["estimate"]["population"] == 3000
    assert shown(DRY_RUNS, path)["runs"] == [answer]
    rows = client.get(f"/api/v1/campaign-runs/{run.public_id}/results").json()
    assert rows["pagination"]["total"] == answer["summary"]["totalRecommendations"]
    customer = rows["data"][0]["customerId"]
    why = client.get(
        f"/api/v1/runs/{id}/campaign-runs/{run.public_id}/explain?customerId={customer}"
    ).json()
    assert why["summary"]["got"] >= 1
    assert client.post(path, format="json").json()["sample"] is None


@pytest.mark.parametrize("sample", [0, -1, "5", 1.5, True, 2**31])
def test_an_impossible_sample_is_refused(world: World, sample: Any) -> None:
    path = DRY_RUNS.replace("{id}", world.campaign.public_id)
    answer = api_client(world.tenant).post(path, {"sample": sample}, format="json")
    assert answer.status_code == 400
    assert list(error(answer)["fields"]) == ["sample"]
    assert not CampaignRun.unscoped.exists()


def test_who_may_try_out_what(world: World) -> None:
    path = DRY_RUNS.replace("{id}", world.campaign.public_id)
    assert api_client(world.tenant, "viewer").post(path).status_code == 403
    assert api_client(world.tenant, "viewer").get(path).status_code == 200
    assert api_client(factories.TenantFactory()).post(path).status_code == 404
    Campaign.unscoped.filter(pk=world.campaign.pk).update(status="paused")
    assert api_client(world.tenant).post(path).status_code == 201
    Campaign.unscoped.filter(pk=world.campaign.pk).update(status="archived")
    assert api_client(world.tenant).post(path).status_code == 409
    real = factories.RunFactory(campaign=world.campaign, run_number=1)
    assert api_client(world.tenant).get(f"{path}/{real.public_id}").status_code == 404


def test_it_neither_waits_for_runs_with_policies_nor_keeps_them_waiting(tenant: Tenant) -> None:
    flow = factories.FlowFactory(tenant=tenant, status="active")
    publish(flow, POLICIES)
    campaign = factories.CampaignFactory(tenant=tenant, flow=flow)
    fields = {"campaign": campaign, "dry_run": True}
    before = factories.RunFactory(**fields, run_number=1)
    real = factories.RunFactory(campaign=campaign, run_number=1)
    waiting = factories.RunFactory(campaign=campaign, run_number=2)
    after = factories.RunFactory(**fields, run_number=2)
    assert queue.claimable() == [before.pk, real.pk, after.pk]
    assert claim(before.pk)
    before.refresh_from_db()
    assert (before.has_policies, before.policy_turn) == (True, False)
    assert claim(real.pk)
    assert claim(waiting.pk) is None
    assert claim(after.pk)
    shown = with_waits(CampaignRun.unscoped.all()).get(pk=waiting.pk)
    assert waits_for(shown) == f"run {real.public_id} with contact policies to end"


def test_it_is_not_in_turn_with_runs_of_its_campaign(tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    factories.RunFactory(campaign=campaign, dry_run=True, run_number=1, status="running")
    real = factories.RunFactory(campaign=campaign, run_number=2, in_turn=True)
    assert real.pk in queue.claimable()
    shown = with_waits(CampaignRun.unscoped.all()).get(pk=real.pk)
    assert shown.earlier_run is None


def test_the_schedule_takes_no_notice_of_it(world: World) -> None:
    request_dry_run(world.campaign, dispatch=False)
    Campaign.unscoped.filter(pk=world.campaign.pk).update(
        schedule_type="daily", overlap_policy="skip"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE campaigns_campaign SET next_run_at = date_trunc('minute', now()),"
            " schedule_time = to_char(now() AT TIME ZONE 'UTC', 'HH24:MI')"
        )
    ticks = fire_next(database_now)
    assert ticks is not None
    assert [tick.outcome for tick in ticks] == ["run"]


def test_a_failed_one_is_retried_as_one(world: World) -> None:
    run = request_dry_run(world.campaign, sample=100, dispatch=False)
    CampaignRun.unscoped.filter(pk=run.pk).update(status="failed", error="no disk")
    run.refresh_from_db()
    again = retry(run)
    assert (again.dry_run, again.sample, again.run_number) == (True, 100, 2)


def test_it_goes_with_its_campaign(world: World) -> None:
    run = request_dry_run(world.campaign, dispatch=False)
    with pytest.raises(Conflict):
        delete_campaign(world.campaign)
    finished(run)
    delete_campaign(world.campaign)
    assert not CampaignRun.unscoped.exists()


def frozen_keys(run: CampaignRun) -> list[str]:
    storage = open_storage()
    frames = [read_chunk(storage, chunk.input_key) for chunk in run.chunks.order_by("number")]
    return pl.concat(frames)[KEY].to_list()


def test_the_sample_is_who_has_the_smallest_hash(world: World) -> None:
    keys = [f"C{number:07}" for number in range(1, 3001)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ('x' || left(md5(%s || key), 16))::bit(64)::bigint"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS t (key, n) ORDER BY n",
            [world.tenant.salt, keys],
        )
        h = np.array([row[0] for row in cursor.fetchall()], dtype=np.int64)
    order = np.argsort(h ^ np.int64(hashing.SAMPLE))
    expected = {size: sorted(keys[place] for place in order[:size]) for size in (1, 500, 1000)}
    for size, sample in expected.items():
        assert frozen_keys(dry(world.campaign, size)) == sample
    assert set(expected[500]) < set(expected[1000])
    assert frozen_keys(dry(world.campaign, 5000)) == keys


def test_a_sampled_customer_gets_what_all_would_get(world: World) -> None:
    whole = set(results(dry(world.campaign)))
    part = dry(world.campaign, 700)
    assert set(results(part)) == {row for row in whole if row[0] in set(frozen_keys(part))}


def test_the_whole_is_in_the_interval_of_the_sample(world: World) -> None:
    whole = told(dry(world.campaign))
    estimate = told(dry(world.campaign, 1000))["estimate"]
    for name in ("eligible", "customersWithRecommendations", "totalRecommendations"):
        assert estimate[name]["low"] <= whole[name] <= estimate[name]["high"]
        assert estimate[name]["high"] - estimate[name]["low"] < 0.1 * whole[name]
    for part, key in (("offers", "offerId"), ("channels", "channelId")):
        counts = {row[key]: row["count"] for row in whole[part]}
        assert {row[key] for row in estimate[part]} == counts.keys()
        for row in estimate[part]:
            assert row["low"] <= counts[row[key]] <= row["high"]
    everybody = told(dry(world.campaign, 3000))["estimate"]["totalRecommendations"]
    assert set(everybody.values()) == {whole["totalRecommendations"]}


def test_the_caps_of_a_sample_are_in_proportion(world: World) -> None:
    Campaign.unscoped.filter(pk=world.campaign.pk).update(max_total_per_run=900, max_per_offer=600)
    summary = told(dry(world.campaign, 1000))
    assert summary["totalRecommendations"] == 300
    assert {cap["limit"] for cap in summary["caps"]} == {300, 200}
    estimate = summary["estimate"]
    assert estimate["totalRecommendations"]["estimate"] == 900
    assert estimate["totalRecommendations"]["high"] == 900
    assert len(estimate["offers"]) == len(summary["offers"]) > 1
    assert all(row["high"] <= 600 for row in estimate["offers"])


def test_no_estimate_is_above_the_budget_of_an_offer(world: World) -> None:
    offer = world.offers[0]
    offer.budget = {"maxTotal": 90}
    offer.save()
    summary = told(dry(world.campaign, 1000))
    assert ("offerBudget", 30, 30) in {
        (cap["cap"], cap["limit"], cap["used"]) for cap in summary["caps"]
    }
    (row,) = [one for one in summary["estimate"]["offers"] if one["offerId"] == offer.public_id]
    assert (row["estimate"], row["high"]) == (90, 90)


def test_caps_are_scaled_to_the_nearest_and_never_vanish() -> None:
    caps = Caps(total=1000, per_offer=1, per_channel=None)
    assert Sample(10, 100).scale(caps) == Caps(100, 1, None)
    assert Sample(333, 1000).scale(Caps(total=10)) == Caps(3)
    assert Sample(100, 100).scale(caps) == caps


def test_wilson_by_the_book() -> None:
    # Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29 by method 3.
    for x, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(x, n, 10**12)
        assert [round(bound, 4) for bound in found] == [low, high]
    assert wilson(5, 10, 10) == (0.5, 0.5)
    narrow, wide = wilson(50, 100, 150), wilson(50, 100, 10**9)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_an_empty_sample_says_nothing() -> None:
    summary = {
        "audience": 0,
        "eligible": 0,
        "heldOut": 0,
        "customersWithRecommendations": 0,
        "totalRecommendations": 0,
        "offers": [],
        "channels": [],
    }
    found = estimated(summary, 0, 3, Caps(), {})
    assert found["totalRecommendations"] == {"estimate": 0, "low": 0, "high": 0}


def test_the_interval_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    population, n, share = 2000, 400, 0.07
    customers = random.random(population) < share
    truth = customers.mean()
    inside = 0
    for _ in range(2000):
        x = int(random.permutation(customers)[:n].sum())
        low, high = wilson(x, n, population)
        inside += low <= truth <= high
    assert 0.93 < inside / 2000 < 0.975


def test_the_command_waits_and_prints(world: World) -> None:
    out = StringIO()
    call_command("dry_run", world.campaign.public_id, "--sample", "1000", stdout=out)
    run = CampaignRun.unscoped.get()
    lines = out.getvalue().splitlines()
    assert lines[0] == f"Dry run 1 ({run.public_id}) of Weekly Cards"
    assert lines[1].strip() == "1,000  customers, a sample of 3,000"
    assert any(line.endswith("qualify qualify-1: adults of means") for line in lines)
    assert "Of the whole segment, with 95% confidence:" in lines
    assert any("offer Gold Card" in line and " to " in line for line in lines)
    with pytest.raises(CommandError, match="there is no campaign"):
        call_command("dry_run", "camp_x")
    with pytest.raises(CommandError, match="at least 1"):
        call_command("dry_run", world.campaign.public_id, "--sample", "0")


def test_explanations_of_a_dry_run_are_those_of_a_run(world: World) -> None:
    tried, run = dry(world.campaign), finished(request_run(world.campaign, dispatch=False))
    for customer in ("C0000001", "C0001500", "C0003000"):
        assert explain(tried, customer)["offers"] == explain(run, customer)["offers"]
