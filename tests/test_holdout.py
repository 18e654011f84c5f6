"""The holdout: the same customers in every run, who get nothing, and what they would have got."""

import pytest
from django.conf import LazySettings

from campaigns.models import Campaign, CampaignRun, Contact, HeldOut, Recommendation
from executor import ending, runner
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.clients import api_client, error
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

CUSTOMERS = 2500
Row = tuple[str, int, int, int, float]


def finished(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def held(run: CampaignRun) -> list[Row]:
    rows = HeldOut.objects.filter(run_id=run.pk).order_by("customer_key", "rank")
    return list(rows.values_list("customer_key", "rank", "offer_id", "channel_id", "score"))


def results(run: CampaignRun) -> list[Row]:
    rows = Recommendation.objects.filter(run_id=run.pk).order_by("customer_key", "rank")
    return list(rows.values_list("customer_key", "rank", "offer_id", "channel_id", "score"))


def who(rows: list[Row]) -> set[str]:
    return {row[0] for row in rows}


@pytest.fixture
def world() -> World:
    return worlds.build(CUSTOMERS, k=2)


def test_the_held_out_would_have_got_what_they_get_without_a_holdout(world: World) -> None:
    without = finished(world.run())
    run = finished(world.run(holdout_percent=10))
    assert sorted(held(run) + results(run)) == results(without)
    assert not who(held(run)) & who(results(run))
    assert 0.06 < len(who(held(run))) / len(who(results(without))) < 0.14


def test_they_are_in_no_file_and_have_no_contacts(world: World) -> None:
    run = finished(world.run(holdout_percent=10))
    assert held(run)
    text = open_storage().get(run.files.get().storage_key).decode()
    assert not [key for key in who(held(run)) if key in text]
    contacts = Contact.objects.filter(run_id=run.pk).values_list("customer_key", flat=True)
    assert set(contacts) == who(results(run))


def test_the_funnel_adds_up(world: World) -> None:
    summary = finished(world.run(holdout_percent=10, max_total_per_run=700)).summary
    held_out = next(line for line in summary["funnel"] if line["stage"] == "holdout")
    assert summary["heldOut"] == held_out["removedCustomers"] > 0
    removed = sum(line["removedCustomers"] for line in summary["funnel"])
    assert removed + summary["customersWithRecommendations"] == summary["audience"] == CUSTOMERS


def test_the_same_customers_in_every_run_and_more_when_it_grows(world: World) -> None:
    five, again, ten, all_of_them = (
        held(finished(world.run(holdout_percent=percent))) for percent in (5, 5, 10, 100)
    )
    assert five == again
    assert set(five) < set(ten) < set(all_of_them)


def test_of_the_tenant_it_is_the_same_in_every_campaign(world: World) -> None:
    Tenant.objects.filter(pk=world.tenant.pk).update(holdout_percent=10)
    fields = {name: getattr(world.campaign, name) for name in ("tenant", "flow", "segment")}
    other: Campaign = factories.CampaignFactory(**fields)
    first, second = (
        finished(factories.RunFactory(campaign=one, run_number=1))
        for one in (world.campaign, other)
    )
    assert held(first) == held(second) != []
    other.holdout_percent = 10
    other.save()
    both = who(held(finished(factories.RunFactory(campaign=other, run_number=2))))
    assert who(held(first)) < both
    Tenant.objects.filter(pk=world.tenant.pk).update(holdout_percent=0)
    own = who(held(finished(factories.RunFactory(campaign=other, run_number=3))))
    assert own | who(held(first)) == both
    assert own != who(held(finished(world.run(holdout_percent=10))))


@pytest.mark.parametrize("allocation", ["score", "first_come"])
def test_they_use_up_no_cap(world: World, allocation: str) -> None:
    caps = {"max_total_per_run": 700, "max_per_offer": 300, "allocation": allocation}
    run = finished(world.run(holdout_percent=30, **caps))
    assert run.summary["totalRecommendations"] == 700
    assert all(row["count"] <= 300 for row in run.summary["offers"])
    assert not who(held(run)) & who(results(run))
    free = finished(world.run(max_total_per_run=None, max_per_offer=None))
    assert held(free) == held(run) != []


def test_the_size_of_the_chunks_changes_nothing(world: World, settings: LazySettings) -> None:
    found = []
    for rows in (1024, 98_304):
        settings.KAIREON_CHUNK_ROWS = rows
        run = finished(world.run(holdout_percent=10, max_total_per_run=700))
        found.append((held(run), results(run), run.summary["funnel"]))
    assert found[0] == found[1]
    assert found[0][0]


def test_they_are_listed_a_page_at_a_time(world: World) -> None:
    run = finished(world.run(holdout_percent=10))
    client = api_client(world.tenant, "viewer")
    address = f"/api/v1/runs/{world.campaign.public_id}/campaign-runs/{run.public_id}/holdout"
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{address}?limit=70{cursor}").json()
        found += page["data"]
        following = page["pagination"]["nextCursor"]
        cursor = following and f"&cursor={following}"
    assert page["pagination"]["total"] == len(found) == len(held(run))
    assert [(row["customerId"], row["rank"], row["score"]) for row in found] == [
        (row[0], row[1], row[4]) for row in held(run)
    ]
    assert {row["offerName"] for row in found} <= {offer.name for offer in world.offers}


def test_of_a_run_that_has_not_completed_nothing_is_listed(world: World) -> None:
    run = finished(world.run(holdout_percent=10))
    CampaignRun.unscoped.filter(pk=run.pk).update(status="failed", error="no disk")
    address = f"/api/v1/runs/{world.campaign.public_id}/campaign-runs/{run.public_id}/holdout"
    assert api_client(world.tenant).get(address).json()["data"] == []
    ending.clean_up(run.pk)
    assert held(run) == []


def test_a_run_of_another_campaign_or_tenant_is_not_found(world: World) -> None:
    run = finished(world.run())
    own = world.campaign
    other = factories.CampaignFactory(tenant=world.tenant, flow=own.flow, segment=own.segment)
    for client, campaign in (
        (api_client(world.tenant), other),
        (api_client(factories.TenantFactory()), world.campaign),
    ):
        address = f"/api/v1/runs/{campaign.public_id}/campaign-runs/{run.public_id}/holdout"
        answer = client.get(address)
        assert (answer.status_code, error(answer)["code"]) == (404, "not_found")
