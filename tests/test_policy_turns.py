"""Runs of a tenant that apply contact policies go one at a time; all others go when they can."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from campaigns.models import Campaign, CampaignRun, FlowVersion
from campaigns.services.cancellation import cancel_run
from campaigns.services.pausing import pause_run, resume_run
from campaigns.services.retrying import open_again
from executor import job, queue
from executor.errors import Retryable
from executor.progress import claim
from kaireon import vitals
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client

POLICIES = {"nodes": [{"id": "p", "type": "contact_policy"}]}
NONE = {"nodes": [{"id": "q", "type": "qualify"}]}


def campaign(tenant: Tenant, config: Any = POLICIES, **fields: Any) -> Campaign:
    flow = factories.FlowFactory(tenant=tenant, status="active")
    publish(flow, config)
    return factories.CampaignFactory(tenant=tenant, flow=flow, **fields)


def publish(flow: Any, config: Any) -> None:
    version = FlowVersion.objects.filter(flow=flow).count() + 1
    FlowVersion.objects.create(flow=flow, version=version, config=config)


def a_run(tenant: Tenant, config: Any = POLICIES, **fields: Any) -> CampaignRun:
    return factories.RunFactory(campaign=campaign(tenant, config), **fields)


def end(run: CampaignRun, status: str = "cancelled") -> None:
    CampaignRun.unscoped.filter(pk=run.pk).update(status=status, lease_until=None, error="x")


def waits(run: CampaignRun) -> str | None:
    answer = api_client(run.tenant).get(f"/api/v1/campaign-runs/{run.public_id}").json()
    assert isinstance(answer["waitsFor"], str | None)
    return answer["waitsFor"]


def for_(run: CampaignRun) -> str:
    return f"run {run.public_id} with contact policies to end"


def test_the_next_waits_until_the_one_before_has_ended(tenant: Tenant) -> None:
    first, second, third = (a_run(tenant) for _ in range(3))
    assert claim(second.pk) is None
    assert queue.claimable() == [first.pk]
    assert claim(first.pk)
    assert queue.claimable() == []
    for phase in ("freeze", "decide", "allocate", "write", "finish"):
        CampaignRun.unscoped.filter(pk=first.pk).update(phase=phase)
        assert claim(second.pk) is None
        assert waits(second) == waits(third) == for_(first)
    end(first)
    assert queue.claimable() == [second.pk]
    assert waits(third) == for_(second)
    assert claim(third.pk) is None
    assert claim(second.pk)


@pytest.mark.parametrize("status", ["failed", "cancelled", "completed_with_errors"])
def test_every_end_lets_the_next_go(tenant: Tenant, status: str) -> None:
    first, second = a_run(tenant), a_run(tenant)
    assert claim(first.pk)
    CampaignRun.unscoped.filter(pk=first.pk).update(
        status=status, error="x", completed_at=Now(), summary={}
    )
    assert claim(second.pk)


def test_the_more_urgent_goes_first_and_then_the_older(tenant: Tenant) -> None:
    older, newer, urgent = a_run(tenant), a_run(tenant), a_run(tenant, priority=90)
    order = [urgent, older, newer]
    for at, run in enumerate(order):
        assert [one.pk for one in order if claim(one.pk)] == [run.pk]
        assert {waits(one) for one in order[at + 1 :]} <= {for_(run)}
        end(run)


def test_runs_without_policies_and_of_others_never_wait(tenant: Tenant) -> None:
    first = a_run(tenant)
    assert claim(first.pk)
    plain, other = a_run(tenant, NONE), a_run(factories.TenantFactory())
    assert set(queue.claimable()) == {plain.pk, other.pk}
    assert waits(plain) == waits(other) == "worker"
    assert claim(plain.pk)
    assert claim(other.pk)
    plain.refresh_from_db()
    assert (plain.has_policies, plain.policy_turn) == (False, False)


@pytest.mark.parametrize(
    ("config", "applies"),
    [
        (POLICIES, True),
        (NONE, False),
        ({}, False),
        ({"nodes": []}, False),
        ({"nodes": [{"type": "call_flow", "config": {"flowKey": "x"}}]}, True),
        ({"nodes": [{"type": "conditional", "config": {"then": POLICIES["nodes"]}}]}, True),
        ({"nodes": [{"type": "filter", "config": {"value": "contact_policy"}}]}, False),
    ],
)
def test_a_flow_applies_policies_wherever_the_node_is(
    tenant: Tenant, config: Any, applies: bool
) -> None:
    run = a_run(tenant, config)
    assert claim(run.pk)
    run.refresh_from_db()
    assert (run.has_policies, run.policy_turn) == (applies, applies)
    assert job.applies_policies(config) is applies


def test_the_newest_version_of_the_flow_that_is_run_counts(tenant: Tenant) -> None:
    first = a_run(tenant)
    assert claim(first.pk)
    run = a_run(tenant, NONE)
    assert waits(run) == "worker"
    publish(run.campaign.flow, POLICIES)
    assert waits(run) == for_(first)
    other = factories.FlowFactory(tenant=tenant)
    publish(other, NONE)
    CampaignRun.unscoped.filter(pk=run.pk).update(flow=other)
    assert waits(run) == "worker"


def test_a_flow_published_between_claim_and_spec_is_noticed(
    tenant: Tenant, clean_relations: None
) -> None:
    segment = factories.segment_with_view(tenant)
    run = factories.RunFactory(campaign=campaign(tenant, NONE, segment=segment))
    lease = claim(run.pk)
    assert lease is not None
    publish(run.campaign.flow, POLICIES)
    with pytest.raises(Retryable, match="published with contact policies"):
        job.begin(lease)
    first = a_run(tenant)
    CampaignRun.unscoped.filter(pk=run.pk).update(lease_until=None)
    CampaignRun.unscoped.filter(pk=first.pk).update(created_at=Now() - timedelta(days=1))
    assert claim(run.pk) is None
    assert waits(run) == for_(first)


def test_a_paused_run_that_has_begun_keeps_its_turn_and_is_named(tenant: Tenant) -> None:
    first, second = a_run(tenant), a_run(tenant)
    lease = claim(first.pk)
    assert lease is not None
    pause_run(first)
    lease.release()
    assert waits(second) == f"{for_(first)}, which is paused"
    assert claim(second.pk) is None
    cancel_run(first)
    assert queue.claimable() == [first.pk]  # to be ended
    assert claim(second.pk) is None
    end(first)
    assert claim(second.pk)


def test_a_run_paused_before_it_began_gives_way(tenant: Tenant) -> None:
    first, second = a_run(tenant), a_run(tenant)
    pause_run(first)
    assert waits(second) == "worker"
    assert claim(second.pk)
    resume_run(first)
    assert waits(first) == for_(second)


def test_a_lost_worker_leaves_the_turn_to_its_run(tenant: Tenant) -> None:
    first, second = a_run(tenant), a_run(tenant)
    assert claim(first.pk)
    CampaignRun.unscoped.filter(pk=first.pk).update(lease_until=Now() - timedelta(seconds=1))
    assert claim(second.pk) is None
    assert claim(first.pk)


def test_a_run_behind_another_of_its_campaign_is_nobodys_turn(tenant: Tenant) -> None:
    """Else the two would wait for each other."""
    first = a_run(tenant)
    urgent = factories.RunFactory(
        campaign=first.campaign, run_number=first.run_number + 1, in_turn=True, priority=99
    )
    assert claim(urgent.pk) is None
    assert claim(first.pk)
    end(first)
    assert claim(urgent.pk)


def test_a_run_that_is_opened_again_waits_for_its_turn_anew(tenant: Tenant) -> None:
    first, second = a_run(tenant), a_run(tenant)
    assert claim(first.pk)
    CampaignRun.unscoped.filter(pk=first.pk).update(spec={}, lease_until=None)
    end(first)
    assert claim(second.pk)
    first.refresh_from_db()
    first.chunks.create(number=0, customers=1)
    open_again(first, {0: 1})
    assert claim(first.pk) is None
    assert waits(first) == for_(second)
    end(second)
    assert claim(first.pk)


def test_waiting_for_a_turn_is_no_fault_of_the_workers(tenant: Tenant) -> None:
    first, second = a_run(tenant), a_run(tenant)
    assert claim(first.pk)
    CampaignRun.unscoped.filter(pk=second.pk).update(created_at=Now() - timedelta(hours=1))
    with connection.cursor() as cursor:
        cursor.execute(vitals.UNDISPATCHED)
        assert cursor.fetchone() == (None,)
    end(first)
    with connection.cursor() as cursor:
        cursor.execute(vitals.UNDISPATCHED)
        assert cursor.fetchone()[0] > 3000


@pytest.mark.usefixtures("transactional_db")
def test_workers_that_claim_at_once_never_both_get_a_turn() -> None:
    tenant = factories.TenantFactory()
    chance = random.Random(4)
    for _ in range(20):
        keys = [a_run(tenant).pk for _ in range(4)]
        chance.shuffle(keys)
        with ThreadPoolExecutor(4) as pool:
            leases = [lease for lease in pool.map(in_thread(claim), keys) if lease]
        assert len(leases) <= 1
        assert claim(min(keys)) or leases
        CampaignRun.unscoped.update(status="cancelled", lease_until=None)


def in_thread(work: Callable[[int], Any]) -> Callable[[int], Any]:
    def call(key: int) -> Any:
        try:
            return work(key)
        finally:
            connection.close()

    return call
