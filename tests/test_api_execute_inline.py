"""execute-inline: answers before any work; what comes of it stands on the run."""

import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, Flow, Segment
from campaigns.services.waiting import waits_for, with_waits
from executor import runner, tasks
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.clients import api_client, error

URL = "/api/v1/runs/execute-inline"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.CampaignFactory(tenant=tenant)


@pytest.fixture
def flow(tenant: Tenant) -> Flow:
    return factories.published_flow(tenant)


@pytest.fixture
def segment(tenant: Tenant) -> Segment:
    return factories.segment_with_view(tenant)


@pytest.fixture
def body(campaign: Campaign, flow: Flow, segment: Segment) -> dict:
    return {
        "runId": campaign.public_id,
        "decisionFlowId": flow.public_id,
        "segmentViewName": segment.view_name,
    }


def post(client: APIClient, body: object):
    return client.post(URL, body, format="json")


def test_id_of_a_campaign_makes_a_new_run(
    client: APIClient, campaign: Campaign, flow: Flow, segment: Segment, body: dict
) -> None:
    factories.RunFactory(campaign=campaign, run_number=4, status="failed", error="x")
    response = post(client, body)
    assert response.status_code == 200
    run = CampaignRun.unscoped.get(run_number=5)
    assert response.json() == {"status": "executing", "runId": run.public_id}
    assert (run.status, run.triggered_by, run.campaign) == ("pending", "manual", campaign)
    assert (run.flow, run.segment) == (flow, segment)
    assert campaign.flow != flow


def test_id_of_a_pending_run_executes_it(
    client: APIClient, campaign: Campaign, flow: Flow, segment: Segment, body: dict
) -> None:
    run = factories.RunFactory(campaign=campaign)
    response = post(client, {**body, "runId": run.public_id})
    assert response.json() == {"status": "executing", "runId": run.public_id}
    stored = CampaignRun.unscoped.get()
    assert (stored.flow, stored.segment, stored.status) == (flow, segment, "pending")


@pytest.mark.parametrize("of_campaign", [True, False])
def test_run_is_dispatched_once_committed(
    client: APIClient,
    campaign: Campaign,
    body: dict,
    settings,
    django_capture_on_commit_callbacks,
    of_campaign: bool,
) -> None:
    settings.REDIS_URL, settings.KAIREON_INLINE_FALLBACK = "", False
    if not of_campaign:
        body["runId"] = factories.RunFactory(campaign=campaign).public_id
    with django_capture_on_commit_callbacks() as callbacks:
        assert post(client, body).status_code == 200
    run = CampaignRun.unscoped.get()
    assert [(call.func, call.args) for call in callbacks] == [(tasks.wake, (run.pk,))]
    callbacks[0]()
    assert waits_for(with_waits(CampaignRun.unscoped.all()).get()) == "worker"


@pytest.mark.parametrize("name", ["runId", "decisionFlowId", "segmentViewName"])
@pytest.mark.parametrize("value", ["missing", None, "", 5])
def test_what_is_missing_is_400_and_named(
    client: APIClient, body: dict, name: str, value: object
) -> None:
    given = {key: item for key, item in body.items() if key != name}
    response = post(client, given if value == "missing" else {**body, name: value})
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [name]
    assert not CampaignRun.unscoped.exists()


def test_everything_missing_is_named_at_once(client: APIClient) -> None:
    response = post(client, {"colour": "red"})
    named = {"runId", "decisionFlowId", "segmentViewName", "colour"}
    assert set(error(response)["fields"]) == named


@pytest.mark.parametrize("view", ["segments", "pg_class", "data.ds_1", "campaigns_campaign"])
def test_only_views_of_segments_are_taken(client: APIClient, body: dict, view: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW segments.other AS SELECT 1 AS customer_id")
    for name in (view, "other", f"segments.{body['segmentViewName']}"):
        response = post(client, {**body, "segmentViewName": name})
        assert error(response)["fields"] == {
            "segmentViewName": ["There is no segment with this viewName."]
        }
    assert not CampaignRun.unscoped.exists()


def test_flow_and_view_of_another_tenant_are_400(client: APIClient, body: dict) -> None:
    foreign = factories.CampaignFactory()
    given = {
        "decisionFlowId": foreign.flow.public_id,
        "segmentViewName": foreign.segment.view_name,
    }
    response = post(client, {**body, **given})
    assert (response.status_code, set(error(response)["fields"])) == (400, set(given))
    assert not CampaignRun.unscoped.exists()


def test_unknown_run_is_404(client: APIClient, body: dict) -> None:
    foreign = factories.RunFactory()
    for run_id in (
        *("x", "run_42", "camp_UkLWZg9D99", body["decisionFlowId"]),
        *(foreign.public_id, foreign.campaign.public_id),
    ):
        assert post(client, {**body, "runId": run_id}).status_code == 404
    assert CampaignRun.unscoped.get() == foreign


@pytest.mark.parametrize("status", ["running", "cancelling", "cancelled", "failed"])
def test_run_that_is_not_pending_is_409(
    client: APIClient, campaign: Campaign, body: dict, status: str
) -> None:
    run = factories.RunFactory(campaign=campaign, status=status, error="x")
    response = post(client, {**body, "runId": run.public_id})
    assert response.status_code == 409
    assert status in error(response)["message"]
    stored = CampaignRun.unscoped.get()
    assert (stored.flow, stored.segment, stored.status) == (None, None, status)


@pytest.mark.parametrize("status", ["paused", "archived"])
def test_campaign_at_rest_is_409(
    client: APIClient, campaign: Campaign, body: dict, status: str
) -> None:
    Campaign.unscoped.update(status=status)
    assert post(client, body).status_code == 409
    assert not CampaignRun.unscoped.exists()


def test_same_idempotency_key_makes_one_run(client: APIClient, body: dict) -> None:
    key = {"Idempotency-Key": "once"}
    answers = [client.post(URL, body, format="json", headers=key).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert CampaignRun.unscoped.count() == 1


@pytest.mark.usefixtures("clean_relations")
def test_failure_stands_on_the_run(client: APIClient, campaign: Campaign, body: dict) -> None:
    unpublished = factories.FlowFactory(tenant=campaign.tenant, name="Draft")
    run_id = post(client, {**body, "decisionFlowId": unpublished.public_id}).json()["runId"]
    run = CampaignRun.unscoped.get()
    assert runner.execute(run.pk)
    found = client.get(f"/api/v1/runs/{run_id}").json()
    assert (found["id"], found["status"]) == (run_id, "failed")
    assert found["error"] == 'decisionFlowId: the flow "Draft" has no published version'
    assert found["startedAt"] is not None
    assert found["completedAt"] is not None


@pytest.mark.usefixtures("clean_relations")
def test_run_uses_the_given_flow_and_segment() -> None:
    world = worlds.build(30)
    client = api_client(world.tenant)
    schema = world.campaign.segment.base_schema
    few = factories.SegmentFactory(tenant=world.tenant, base_schema=schema)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE VIEW segments.{few.view_name} AS SELECT * FROM {world.table}"
            " WHERE customer_id <= 'C0000007'"
        )
    flow = factories.FlowFactory(tenant=world.tenant, status="active", key="two-each")
    flow.versions.create(version=3, config=worlds.flow_config(2))
    pending = world.run()
    body = {
        "runId": pending.public_id,
        "decisionFlowId": flow.public_id,
        "segmentViewName": few.view_name,
    }
    assert post(client, body).status_code == 200
    assert runner.execute(pending.pk)
    found = client.get(f"/api/v1/runs/{pending.public_id}").json()
    assert (found["status"], found["error"]) == ("completed", None)
    assert found["summary"]["audience"] == 7
    assert found["decisionFlowId"] == flow.public_id
    assert found["segmentId"] == few.public_id
    results = client.get(f"/api/v1/campaign-runs/{pending.public_id}/results").json()["data"]
    assert max(row["customerId"] for row in results) <= "C0000007"
    assert {row["rank"] for row in results} == {1, 2}
    pending.refresh_from_db()
    assert (pending.spec["flow_key"], pending.spec["flow_version"]) == ("two-each", 3)
    usual = world.run()
    assert runner.execute(usual.pk)
    usual.refresh_from_db()
    assert usual.summary["audience"] == 30


def test_viewer_may_not_execute(campaign: Campaign, body: dict) -> None:
    assert post(api_client(campaign.tenant, "viewer"), body).status_code == 403
    assert not CampaignRun.unscoped.exists()
