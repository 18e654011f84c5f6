"""The documented Runs API, example by example: requests as written there, answers key by key."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, Flow, Segment
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/runs"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def flow(tenant: Tenant) -> Flow:
    return factories.published_flow(tenant, name="Q1 Cross-Sell")


@pytest.fixture
def segment(tenant: Tenant) -> Segment:
    return factories.segment_with_view(tenant, name="High Value Customers", customer_count=4521)


@pytest.fixture
def campaign(tenant: Tenant, flow: Flow, segment: Segment) -> Campaign:
    return factories.CampaignFactory(
        tenant=tenant,
        flow=flow,
        segment=segment,
        name="Weekly High-Value Campaign",
        status="active",
        schedule_type="weekly",
        schedule_day_of_week=1,
        schedule_timezone="America/New_York",
    )


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def finished(campaign: Campaign) -> CampaignRun:
    """The third run of the campaign."""
    start = datetime(2026, 3, 15, 14, tzinfo=UTC)
    runs = [
        factories.RunFactory(
            campaign=campaign,
            run_number=number,
            status="completed",
            started_at=start - timedelta(days=7 * (3 - number)),
            completed_at=start,
            summary={},
        )
        for number in (1, 2, 3)
    ]
    return runs[-1]


def test_list(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    response = client.get(URL)
    assert response.status_code == 200
    assert response.json() == {
        "runs": [
            {
                "id": campaign.public_id,
                "name": "Weekly High-Value Campaign",
                "status": "active",
                "scheduleType": "weekly",
                "scheduleDayOfWeek": 1,
                "scheduleTime": "09:00",
                "scheduleTimezone": "America/New_York",
                "decisionFlowName": "Q1 Cross-Sell",
                "segmentName": "High Value Customers",
                "segmentCustomerCount": 4521,
                "runCount": 3,
                "lastRunAt": "2026-03-15T14:00:00.000Z",
                "latestRun": {
                    "id": finished.public_id,
                    "status": "completed",
                    "runNumber": 3,
                },
            }
        ],
        "total": 1,
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 200),
        ({"limit": 200}, 200),
        ({"limit": 201}, 400),
        ({"limit": "fifty"}, 400),
        ({"offset": 5}, 200),
        ({"offset": -1}, 400),
    ],
)
def test_list_parameters(client: APIClient, query: dict, status: int) -> None:
    assert client.get(URL, query).status_code == status


def documented_request(flow: Flow, segment: Segment) -> dict:
    return {
        "decisionFlowId": flow.public_id,
        "segmentId": segment.public_id,
        "name": "Weekly High-Value Campaign",
        "status": "active",
        "scheduleType": "weekly",
        "scheduleDayOfWeek": 1,
        "scheduleTime": "09:00",
        "scheduleTimezone": "America/New_York",
        "volumeConstraints": {"maxTotalPerRun": 10000, "maxPerOffer": 500},
        "fileConfig": {
            "format": "csv",
            "columns": ["customer_id", "offer_name", "channel", "score"],
            "destination": "download",
        },
    }


def test_create(client: APIClient, flow: Flow, segment: Segment) -> None:
    body = documented_request(flow, segment)
    response = client.post(URL, body, format="json")
    assert response.status_code == 201
    made = response.json()
    assert made.pop("fileConfig") == {**body.pop("fileConfig"), "includePersonalization": False}
    assert {name: made.pop(name) for name in body} == body
    assert made.pop("id") == Campaign.unscoped.get().public_id
    assert TIME.fullmatch(made.pop("createdAt"))
    assert TIME.fullmatch(made.pop("updatedAt"))
    assert TIME.fullmatch(made.pop("nextRunAt"))
    assert made == {
        "description": "",
        "scheduleDayOfMonth": None,
        "scheduleCron": None,
        "scheduleDescription": "Every Monday at 09:00 (America/New_York)",
        "holidayCalendar": None,
        "weekendDays": [6, 0],
        "misfirePolicy": "run_once",
        "misfireGraceMinutes": 60,
        "overlapPolicy": "skip",
        "priority": 50,
        "holdoutPercent": 0.0,
        "channelIds": [],
        "allocation": "score",
        "version": 1,
        "decisionFlowName": "Q1 Cross-Sell",
        "segmentName": "High Value Customers",
        "segmentCustomerCount": 4521,
        "runCount": 0,
        "lastRunAt": None,
        "latestRun": None,
    }
    assert not CampaignRun.unscoped.exists()


def test_create_defaults(client: APIClient, flow: Flow, segment: Segment) -> None:
    body = {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}
    made = client.post(URL, body, format="json").json()
    documented = {
        "status": "draft",
        "scheduleType": "manual",
        "scheduleTime": "09:00",
        "scheduleTimezone": "UTC",
        "channelIds": [],
    }
    assert {name: made[name] for name in documented} == documented
    assert made["name"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Another"),
        ("description", "purpose and notes"),
        *(("status", status) for status in ("draft", "active", "paused", "archived")),
        *(("scheduleType", kind) for kind in ("manual", "daily", "weekly")),
        ("scheduleDayOfWeek", 6),
        ("scheduleDayOfMonth", "28"),
        ("scheduleDayOfMonth", "last_working_day"),
        ("scheduleTime", "23:59"),
        ("scheduleTimezone", "Asia/Kolkata"),
        ("scheduleCron", "0 9 * * 1"),
        ("volumeConstraints", {"maxTotalPerRun": 1, "maxPerOffer": 2, "maxPerChannel": 3}),
        ("channelIds", []),
        ("holdoutPercent", 12.5),
    ],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_update_of_any_field(
    client: APIClient, campaign: Campaign, method: str, name: str, value: object
) -> None:
    before = client.get(f"{URL}/{campaign.public_id}").json()
    url = f"{URL}/{campaign.public_id}"
    response = getattr(client, method)(url, {name: value}, format="json")
    assert response.status_code == 200
    changed = response.json()
    assert changed[name] == value
    apart = {name, "version", "updatedAt", "runs", "recommendations", "resultsUrl"}
    apart |= {"nextRunAt", "scheduleDescription"}
    assert {k: v for k, v in changed.items() if k not in apart} == {
        k: v for k, v in before.items() if k not in apart
    }


def test_update_retargets(client: APIClient, campaign: Campaign, tenant: Tenant) -> None:
    flow, segment = factories.published_flow(tenant), factories.segment_with_view(tenant)
    body = {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}
    response = client.put(f"{URL}/{campaign.public_id}", body, format="json")
    assert response.status_code == 200
    assert {name: response.json()[name] for name in body} == body


def test_trigger(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    response = client.post(f"{URL}/{campaign.public_id}/campaign-runs")
    assert response.status_code == 201
    run = CampaignRun.unscoped.get(run_number=4)
    assert TIME.fullmatch(response.json()["createdAt"])
    assert response.json() == {
        "id": run.public_id,
        "campaignId": campaign.public_id,
        "runNumber": 4,
        "triggeredBy": "manual",
        "status": "pending",
        "createdAt": response.json()["createdAt"],
    }


def test_list_runs(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    response = client.get(f"{URL}/{campaign.public_id}/campaign-runs")
    assert response.status_code == 200
    assert [row["runNumber"] for row in response.json()["runs"]] == [3, 2, 1]
    assert response.json()["total"] == 3


def test_detail(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    found = client.get(f"{URL}/{campaign.public_id}").json()
    listed = client.get(URL).json()["runs"][0]
    assert {name: found[name] for name in listed} == listed
    assert [run["runNumber"] for run in found["runs"]] == [3, 2, 1]
    assert found["recommendations"] == []


def inline_request(campaign: Campaign) -> dict:
    return {
        "runId": campaign.public_id,
        "decisionFlowId": campaign.flow.public_id,
        "segmentViewName": campaign.segment.view_name,
    }


def test_execute_inline(client: APIClient, campaign: Campaign) -> None:
    response = client.post(f"{URL}/execute-inline", inline_request(campaign), format="json")
    assert response.status_code == 200
    run = CampaignRun.unscoped.get()
    assert response.json() == {"status": "executing", "runId": run.public_id}
    assert run.status == "pending"
    polled = client.get(f"{URL}/{response.json()['runId']}").json()
    shown = {name: polled[name] for name in ("id", "status", "startedAt", "completedAt", "error")}
    assert shown == {
        "id": run.public_id,
        "status": "pending",
        "startedAt": None,
        "completedAt": None,
        "error": None,
    }


@pytest.mark.parametrize("missing", ["runId", "decisionFlowId", "segmentViewName"])
def test_execute_inline_without_a_field(
    client: APIClient, campaign: Campaign, missing: str
) -> None:
    body = {name: value for name, value in inline_request(campaign).items() if name != missing}
    response = client.post(f"{URL}/execute-inline", body, format="json")
    assert response.status_code == 400
    assert error(response)["fields"] == {missing: ["This field is required."]}


#: Least role, method, address behind the campaign's (None: the list), status if allowed.
OPERATIONS = [
    ("viewer", "get", None, 200),
    ("viewer", "get", "", 200),
    ("viewer", "get", "/campaign-runs", 200),
    ("editor", "post", None, 201),
    ("editor", "post", "/campaign-runs", 201),
    ("editor", "post", "execute-inline", 200),
    ("editor", "put", "", 200),
    ("editor", "patch", "", 200),
    ("admin", "delete", "", 204),
]
ROLES = ["none", "viewer", "editor", "admin"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("least", "method", "address", "allowed"), OPERATIONS)
def test_roles(
    campaign: Campaign, role: str, least: str, method: str, address: str | None, allowed: int
) -> None:
    client = APIClient() if role == "none" else api_client(campaign.tenant, role)
    if address is None:
        url, body = URL, documented_request(campaign.flow, campaign.segment)
    elif address == "execute-inline":
        url, body = f"{URL}/execute-inline", inline_request(campaign)
    else:
        url, body = f"{URL}/{campaign.public_id}{address}", {}
    sent = {} if method == "get" else {"data": body, "format": "json"}
    response = getattr(client, method)(url, **sent)
    if role == "none":
        assert response.status_code == 401
        assert error(response)["code"] == "unauthenticated"
    elif ROLES.index(role) < ROLES.index(least):
        assert response.status_code == 403
        assert error(response)["code"] == "forbidden"
    else:
        assert response.status_code == allowed
    if response.status_code in (401, 403):
        assert Campaign.unscoped.get() == campaign
        assert not CampaignRun.unscoped.exists()
