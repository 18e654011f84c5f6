"""Whole runs with contact policies: what one gives counts for the next, whatever the order."""

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from campaigns.models import CampaignRun, Contact, FlowVersion, Recommendation, RunChunk
from campaigns.services.retrying import open_again
from campaigns.services.waiting import waits_for, with_waits
from executor import runner
from tests import factories, past
from tests import world as worlds
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")
CUSTOMERS = 64


@pytest.fixture
def world(settings: Any) -> World:
    settings.KAIREON_CHUNK_ROWS = 32
    return with_policies(worlds.build(CUSTOMERS))


def with_policies(world: World) -> World:
    config = worlds.flow_config(1)
    nodes: Any = config["nodes"]
    nodes.insert(3, {"id": "policies", "type": "contact_policy", "config": {"mode": "all"}})
    FlowVersion.objects.create(flow=world.campaign.flow, version=2, config=config)
    return world


def policy(world: World, rule_type: str, **fields: Any) -> Any:
    return factories.PolicyFactory(tenant=world.tenant, rule_type=rule_type, **fields)


def one_a_day(world: World) -> None:
    policy(world, "frequency_cap", config={"maxPerDay": 1})


def finished(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def given(run: CampaignRun) -> set[str]:
    return {*Recommendation.objects.filter(run_id=run.pk).values_list("customer_key", flat=True)}


def waits(run: CampaignRun) -> str:
    return waits_for(with_waits(CampaignRun.unscoped.filter(pk=run.pk)).get())


def test_two_runs_at_once_never_give_a_customer_two_a_day(world: World) -> None:
    """Fifty times: whoever comes next does a step or a chunk of a run, as workers would."""
    one_a_day(world)
    everybody = given(finished(plain(world)))
    for seed in range(50):
        forget()
        chance = random.Random(seed)
        runs = [world.run(), world.run()]
        said = interleaved(runs, chance)
        assert [given(run) for run in runs] == [everybody, set()], seed
        contacts = Counter(Contact.objects.values_list("customer_key", flat=True))
        assert set(contacts.values()) == {1}
        assert said == {f"run {runs[0].public_id} with contact policies to end"}


def interleaved(runs: list[CampaignRun], chance: random.Random) -> set[str]:
    """Do the runs in any order until both have ended; return what the second has waited for."""
    said = set()
    while not all(run.status == "completed" for run in runs):
        run = chance.choice(runs)
        said |= {waits(runs[1])} if runs[1].status == "pending" else set()
        if chance.random() < 0.5:
            runner.work(run.pk)
        else:
            runner.advance(run.pk)
        for one in runs:
            one.refresh_from_db()
            assert one.status in ("pending", "running", "completed"), one.error
    return said - {"worker"}


def forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE campaigns_contact")


def plain(world: World, k: int = 1) -> CampaignRun:
    """A run of the flow as it was before it had policies."""
    flow = factories.FlowFactory(tenant=world.tenant, status="active")
    FlowVersion.objects.create(flow=flow, version=1, config=worlds.flow_config(k))
    run = world.run()
    run.flow = flow
    run.save()
    return run


def test_a_cap_counts_what_came_before(world: World) -> None:
    policy(world, "frequency_cap", config={"maxPerWeek": 2})
    first, second, third = (given(finished(world.run())) for _ in range(3))
    assert first == second
    assert third == set()


def test_a_run_that_is_cancelled_has_given_nothing(world: World) -> None:
    one_a_day(world)
    first, second = world.run(), world.run()
    assert runner.advance(first.pk)
    assert runner.work(first.pk)
    CampaignRun.unscoped.filter(pk=first.pk).update(status="cancelling")
    assert not runner.advance(second.pk)
    assert runner.advance(first.pk)
    assert given(finished(second))


def test_customers_of_a_segment_are_left_out(world: World) -> None:
    members = factories.SegmentFactory(
        tenant=world.tenant,
        base_schema=world.campaign.segment.base_schema,
        view_name="seg_aaaaaaaaaaaa",
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE VIEW segments.{members.view_name} AS"
            f" SELECT * FROM {world.table} WHERE age < 40"
        )
    policy(world, "segment_exclusion", config={"excludeSegments": [members.public_id]})
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT customer_id FROM {world.table} WHERE age < 40")
        young = {key for (key,) in cursor.fetchall()}
    found = given(finished(world.run()))
    assert found
    assert not found & young


def test_a_complaint_ends_it(world: World) -> None:
    policy(world, "outcome_based", config={"outcomeType": "complaint"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '40 days'")
        at = cursor.fetchone()[0]
    answers = [{"customer_key": f"C{n:07d}", "at": at, "outcome": "complaint"} for n in (1, 2)]
    past.interactions(world.tenant, answers)
    everybody = given(finished(plain(world)))
    assert given(finished(world.run())) == everybody - {"C0000001", "C0000002"}


def test_a_policy_that_cannot_be_evaluated_withholds_its_scope(world: World) -> None:
    gone = factories.SegmentFactory(tenant=world.tenant, view_name="seg_bbbbbbbbbbbb")
    policy(world, "segment_exclusion", config={"excludeSegments": [gone.public_id]})
    run = finished(world.run())
    assert given(run) == set()
    (withheld,) = [line for line in run.summary["funnel"] if line["stage"] == "contact_policy"]
    assert "cannot be evaluated" in withheld["label"]
    assert withheld["remainingCustomers"] == 0 < withheld["removedCustomers"]


def test_a_retry_of_chunks_is_refused_once_others_have_given(world: World) -> None:
    policy(world, "frequency_cap", config={"maxPerDay": 1})
    run = world.run()
    give_up_chunk(run, 1)
    before = given(run)
    open_again(run, {1: 32})
    other = world.run()
    assert not runner.advance(other.pk)
    CampaignRun.unscoped.filter(pk=run.pk).update(status="completed_with_errors")
    assert len(given(finished(other))) > 0
    run.refresh_from_db()
    CampaignRun.unscoped.filter(pk=run.pk).update(reopened=run.reopened - 1)
    run.refresh_from_db()
    open_again(run, {1: 32})
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed_with_errors"
    assert given(run) == before
    events = run.events.filter(kind="retry failed").values_list("message", flat=True)
    assert "have had contacts of other runs since" in " ".join(events)


def test_a_retry_of_chunks_goes_on_if_nobody_else_has_given(world: World) -> None:
    policy(world, "frequency_cap", config={"maxPerDay": 1})
    run = world.run()
    give_up_chunk(run, 1)
    before = given(run)
    open_again(run, {1: 32})
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"
    assert given(run) > before
    assert given(finished(world.run())) == set()


def give_up_chunk(run: CampaignRun, number: int) -> None:
    """Execute the run, but for a chunk that is given up."""
    assert runner.advance(run.pk)
    chunks = RunChunk.objects.filter(run=run, number=number)
    chunks.update(attempts=10, not_before=Now() - timedelta(seconds=1))
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed_with_errors"


def many(world: World) -> World:
    """Customers may have three offers each."""
    config = FlowVersion.objects.get(flow=world.campaign.flow, version=2).config
    nodes = [node for node in config["nodes"] if node["type"] != "rank"]
    nodes.append({"id": "rank-3", "type": "rank", "config": {"maxCandidates": 3}})
    nodes.sort(key=lambda node: node["type"] == "response")
    FlowVersion.objects.create(
        flow=world.campaign.flow, version=3, config=config | {"nodes": nodes}
    )
    return world


def per_customer(run: CampaignRun) -> Counter[str]:
    rows = Recommendation.objects.filter(run_id=run.pk)
    return Counter(rows.values_list("customer_key", flat=True))


def test_a_run_gives_no_more_than_a_cap_leaves(world: World) -> None:
    many(world)
    free = per_customer(finished(plain(world, 3)))
    assert max(free.values()) == 3
    policy(world, "customer_total_cap", scope="global", config={"maxPerDay": 5})
    second = per_customer(finished(world.run()))
    assert second == {key: min(count, 5 - free[key]) for key, count in free.items()}
    third = per_customer(finished(world.run()))
    left = {key: min(count, 5 - count - second[key]) for key, count in free.items()}
    assert third == {key: number for key, number in left.items() if number}


@pytest.mark.parametrize(
    ("rule_type", "config"),
    [("cooldown", {"cooldownHours": 1}), ("frequency_cap", {"maxPerWeek": 1})],
)
def test_a_channel_is_used_once_in_a_run(world: World, rule_type: str, config: Any) -> None:
    many(world)
    email = world.channels[0]
    policy(world, rule_type, scope="channel", scope_key=email.pk, config=config)
    run = finished(world.run())
    rows = Recommendation.objects.filter(run_id=run.pk, channel_id=email.pk)
    assert {*Counter(rows.values_list("customer_key", flat=True)).values()} == {1}
    assert max(per_customer(run).values()) > 1  # by the other channel


def test_offers_that_exclude_each_other_are_not_given_together(world: World) -> None:
    many(world)
    gold, _, silver = world.offers
    policy(
        world,
        "mutual_exclusion",
        scope="offer",
        scope_key=gold.pk,
        config={"offerIds": [silver.public_id]},
    )
    rows = Recommendation.objects.filter(run_id=finished(world.run()).pk)
    golden, silvern = (
        {*rows.filter(offer_id=offer.pk).values_list("customer_key", flat=True)}
        for offer in (gold, silver)
    )
    assert golden
    assert silvern
    assert not golden & silvern


def test_a_run_gives_no_more_than_the_budget_of_an_offer_leaves(world: World) -> None:
    gold = world.offers[0]
    free = count_of(finished(plain(world)), gold)
    gold.budget = {"maxTotal": free + 5}
    gold.save()
    run = finished(plain(world))
    assert count_of(run, gold) == 5
    (line,) = run.summary["caps"]
    assert (line["cap"], line["limit"], line["used"], line["bound"]) == ("offerBudget", 5, 5, True)
    assert count_of(finished(plain(world)), gold) == 0


def count_of(run: CampaignRun, offer: Any) -> int:
    return Recommendation.objects.filter(run_id=run.pk, offer_id=offer.pk).count()
