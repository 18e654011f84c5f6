"""Campaigns over the API: create, change, list, and every way to be wrong."""

import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Campaign, Flow, Segment
from campaigns.services.campaign_checks import MAX_VOLUME
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/runs"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def flow(tenant: Tenant) -> Flow:
    return factories.published_flow(tenant, name="Q1 Cross-Sell")


@pytest.fixture
def segment(tenant: Tenant) -> Segment:
    return factories.segment_with_view(tenant, name="High Value", customer_count=4521)


@pytest.fixture
def required(flow: Flow, segment: Segment) -> dict:
    return {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}


def post(client: APIClient, body: object):
    return client.post(URL, body, format="json")


def faults(response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def test_defaults(client: APIClient, required: dict) -> None:
    made = post(client, required).json()
    stamps = {name: made.pop(name) for name in ("id", "createdAt", "updatedAt")}
    assert stamps["id"].startswith("camp_")
    assert made == {
        **required,
        "name": "Q1 Cross-Sell · High Value",
        "description": "",
        "status": "draft",
        "scheduleType": "manual",
        "scheduleDayOfWeek": None,
        "scheduleDayOfMonth": None,
        "scheduleTime": "09:00",
        "scheduleTimezone": "UTC",
        "scheduleCron": None,
        "scheduleDescription": "Not scheduled",
        "nextRunAt": None,
        "holidayCalendar": None,
        "weekendDays": [6, 0],
        "misfirePolicy": "run_once",
        "misfireGraceMinutes": 60,
        "overlapPolicy": "skip",
        "priority": 50,
        "volumeConstraints": {},
        "holdoutPercent": 0.0,
        "fileConfig": {
            "format": "csv",
            "columns": ["customer_id", "offer_name", "channel", "score"],
            "includePersonalization": False,
            "destination": "download",
        },
        "channelIds": [],
        "allocation": "score",
        "version": 1,
        "decisionFlowName": "Q1 Cross-Sell",
        "segmentName": "High Value",
        "segmentCustomerCount": 4521,
        "runCount": 0,
        "lastRunAt": None,
        "latestRun": None,
    }


def test_times_are_utc_with_milliseconds(client: APIClient, required: dict) -> None:
    made = post(client, required).json()
    stored = Campaign.unscoped.get().created_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert made["createdAt"] == stored


def test_generated_names_are_numbered(client: APIClient, required: dict) -> None:
    names = [post(client, required).json()["name"] for _ in range(3)]
    base = "Q1 Cross-Sell · High Value"
    assert names == [base, f"{base} (2)", f"{base} (3)"]


def test_empty_body_names_what_is_required(client: APIClient) -> None:
    assert faults(post(client, {})) == {
        "decisionFlowId": ["This field is required."],
        "segmentId": ["This field is required."],
    }


def test_all_faults_come_together_and_nothing_is_written(client: APIClient, flow: Flow) -> None:
    found = faults(
        post(
            client,
            {
                "decisionFlowId": flow.public_id,
                "segmentId": "seg_nothing",
                "name": 5,
                "scheduleType": "weekly",
                "scheduleTime": "9:00",
                "scheduleTimezone": "America/Springfield",
                "volumeConstraints": {"maxPerOffer": 0, "maxPerDay": 1},
                "fileConfig": {"columns": ["customer_id", "shoe_size"]},
                "colour": "red",
            },
        )
    )
    assert set(found) == {
        "segmentId",
        "name",
        "scheduleDayOfWeek",
        "scheduleTime",
        "scheduleTimezone",
        "volumeConstraints.maxPerDay",
        "fileConfig.columns[1]",
        "colour",
    }
    assert found["colour"] == ["Unknown field."]
    assert found["name"] == ["Must be a string."]
    assert not Campaign.unscoped.exists()


WRONG = [
    ("name", "name", " "),
    ("name", "name", "x" * 256),
    ("name", "name", None),
    ("status", "status", "live"),
    ("scheduleType", "scheduleType", "hourly"),
    ("scheduleDayOfWeek", "scheduleDayOfWeek", 7),
    ("scheduleDayOfWeek", "scheduleDayOfWeek", "1"),
    ("scheduleDayOfWeek", "scheduleDayOfWeek", 2**62),
    ("scheduleDayOfMonth", "scheduleDayOfMonth", "29"),
    ("scheduleDayOfMonth", "scheduleDayOfMonth", 15),
    ("scheduleTime", "scheduleTime", "24:00"),
    ("scheduleTime", "scheduleTime", "09:00:00"),
    ("scheduleTime", "scheduleTime", " 09:00"),
    ("scheduleTimezone", "scheduleTimezone", "localtime"),
    ("scheduleTimezone", "scheduleTimezone", "../etc/passwd"),
    ("scheduleCron", "scheduleCron", "0 9 * *"),
    ("scheduleCron", "scheduleCron", "0 0 9 * * *"),
    ("scheduleCron", "scheduleCron", "0 9 31 2 *"),
    ("scheduleCron", "scheduleCron", "9" * 5000 + " * * * *"),
    ("volumeConstraints", "volumeConstraints", []),
    ("volumeConstraints", "volumeConstraints.maxTotalPerRun", {"maxTotalPerRun": 0}),
    ("volumeConstraints", "volumeConstraints.maxPerOffer", {"maxPerOffer": MAX_VOLUME + 1}),
    ("volumeConstraints", "volumeConstraints.maxPerChannel", {"maxPerChannel": 1.5}),
    ("volumeConstraints", "volumeConstraints.maxPerChannel", {"maxPerChannel": True}),
    ("fileConfig", "fileConfig", "csv"),
    ("fileConfig", "fileConfig.format", {"format": "xlsx"}),
    ("fileConfig", "fileConfig.columns", {"columns": []}),
    ("fileConfig", "fileConfig.columns", {"columns": ["customer_id"] * 101}),
    ("fileConfig", "fileConfig.columns[1]", {"columns": ["score", "score"]}),
    ("fileConfig", "fileConfig.columns[0]", {"columns": [1]}),
    ("fileConfig", "fileConfig.includePersonalization", {"includePersonalization": 1}),
    ("fileConfig", "fileConfig.s3Path", {"destination": "s3"}),
    ("fileConfig", "fileConfig.s3Path", {"destination": "s3", "s3Path": None}),
    ("fileConfig", "fileConfig.s3Path", {"destination": "s3", "s3Path": "s3://elsewhere/x"}),
    ("fileConfig", "fileConfig.s3Path", {"destination": "s3", "s3Path": 1}),
    ("fileConfig", "fileConfig.destination", {"destination": "ftp"}),
    ("fileConfig", "fileConfig.s3Path", {"s3Path": "s3://bucket/x"}),
    ("fileConfig", "fileConfig.compress", {"compress": True}),
    ("channelIds", "channelIds", "ch_x"),
    ("channelIds", "channelIds", [1]),
    ("channelIds", "channelIds[0]", ["ch_nothing"]),
    ("allocation", "allocation", "optimal"),
    ("holdoutPercent", "holdoutPercent", -1),
    ("holdoutPercent", "holdoutPercent", 100.5),
    ("holdoutPercent", "holdoutPercent", "5"),
    ("holdoutPercent", "holdoutPercent", None),
    ("id", "id", "camp_UkLWZg9D"),
]


@pytest.mark.parametrize(("field", "path", "value"), WRONG)
def test_wrong_value(client: APIClient, required: dict, field: str, path: str, value) -> None:
    assert list(faults(post(client, {**required, field: value}))) == [path]
    assert not Campaign.unscoped.exists()


@pytest.mark.parametrize(("field", "path", "value"), WRONG)
def test_wrong_value_changes_nothing(
    client: APIClient, tenant: Tenant, field: str, path: str, value
) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, name="Before")
    before = Campaign.unscoped.values().get()
    body = {"description": "after", field: value}
    response = client.patch(f"{URL}/{campaign.public_id}", body, format="json")
    assert list(faults(response)) == [path]
    assert Campaign.unscoped.values().get() == before


@pytest.mark.parametrize(
    "schedule",
    [
        {"scheduleType": "daily"},
        {"scheduleType": "weekly", "scheduleDayOfWeek": 0},
        {"scheduleType": "weekly", "scheduleDayOfWeek": 6.0},
        {"scheduleType": "weekly", "scheduleCron": "0 9 * * MON#2"},
        {"scheduleType": "monthly", "scheduleDayOfMonth": "28"},
        {"scheduleType": "monthly", "scheduleDayOfMonth": "last_working_day"},
        {"scheduleType": "monthly", "scheduleCron": "0 9 LW * *"},
        {"scheduleType": "manual", "scheduleTime": "23:59", "scheduleTimezone": "Asia/Kolkata"},
    ],
)
def test_good_schedule(client: APIClient, required: dict, schedule: dict) -> None:
    made = post(client, {**required, **schedule})
    assert made.status_code == 201
    assert {name: made.json()[name] for name in schedule} == schedule


@pytest.mark.parametrize(
    ("kind", "field"), [("weekly", "scheduleDayOfWeek"), ("monthly", "scheduleDayOfMonth")]
)
def test_schedule_needs_its_day(client: APIClient, required: dict, kind: str, field: str) -> None:
    assert list(faults(post(client, {**required, "scheduleType": kind}))) == [field]


def test_channels(client: APIClient, tenant: Tenant, required: dict) -> None:
    mail, sms = (factories.ChannelFactory(tenant=tenant, name=name) for name in ("Mail", "SMS"))
    wanted = [mail.public_id, sms.public_id]
    made = post(client, {**required, "channelIds": wanted}).json()
    assert made["channelIds"] == wanted


def test_channels_must_be_active_batch_channels_of_the_tenant(
    client: APIClient, tenant: Tenant, required: dict
) -> None:
    web = factories.ChannelFactory(tenant=tenant, delivery_mode="api", name="Web")
    paused = factories.ChannelFactory(tenant=tenant, status="paused", name="Letter")
    assert faults(post(client, {**required, "channelIds": [web.public_id, paused.public_id]})) == {
        "channelIds[0]": [
            '"Web" is delivered by api; a campaign can use only batch channels '
            "(file, integration, manual)."
        ],
        "channelIds[1]": ['"Letter" is paused; it must be active.'],
    }
    foreign, good = factories.ChannelFactory(), factories.ChannelFactory(tenant=tenant)
    ids = [foreign.public_id, good.public_id, good.public_id]
    assert list(faults(post(client, {**required, "channelIds": ids}))) == [
        "channelIds[0]",
        "channelIds[2]",
    ]


def test_channels_are_limited(client: APIClient, required: dict) -> None:
    body = {**required, "channelIds": ["ch_x"] * 1001}
    assert faults(post(client, body)) == {"channelIds": ["May hold at most 1000 ids."]}


def test_references_of_another_tenant_do_not_exist(client: APIClient, required: dict) -> None:
    flow, segment = factories.FlowFactory(), factories.SegmentFactory()
    body = {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}
    assert faults(post(client, body)) == {
        "decisionFlowId": ["There is no flow with this id; ids of this kind begin with df_."],
        "segmentId": ["There is no segment with this id; ids of this kind begin with seg_."],
    }


def test_activating_needs_a_published_flow_and_a_view(client: APIClient, tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, flow__name="F", segment__name="S")
    url = f"{URL}/{campaign.public_id}"
    assert faults(client.patch(url, {"status": "active"}, format="json")) == {
        "status": [
            'Cannot be active: the flow "F" has no published version.',
            'Cannot be active: the table of segment "S" is gone.',
        ]
    }
    assert Campaign.unscoped.get().status == "draft"


def test_activating_needs_the_view_besides_its_table(
    client: APIClient, required: dict, segment: Segment
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP VIEW segments.{segment.view_name}")
    assert faults(post(client, {**required, "status": "active"})) == {
        "status": ['Cannot be active: the view of segment "High Value" is gone.']
    }
    assert not Campaign.unscoped.exists()


def test_active_campaign_keeps_accepting_other_changes(client: APIClient, tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, status="active")
    url = f"{URL}/{campaign.public_id}"
    assert client.patch(url, {"name": "New"}, format="json").status_code == 200
    other = factories.FlowFactory(tenant=tenant)
    retarget = {"decisionFlowId": other.public_id}
    assert "status" in faults(client.patch(url, retarget, format="json"))


@pytest.mark.parametrize("method", ["put", "patch"])
def test_update_changes_only_what_is_given(
    client: APIClient, required: dict, segment: Segment, method: str
) -> None:
    made = post(client, {**required, "name": "A", "volumeConstraints": {"maxPerOffer": 5}}).json()
    body = {"scheduleType": "weekly", "scheduleDayOfWeek": 3}
    response = getattr(client, method)(f"{URL}/{made['id']}", body, format="json")
    assert response.status_code == 200
    changed = response.json()
    assert changed["updatedAt"] >= made["updatedAt"]
    words = {"scheduleDescription": "Every Wednesday at 09:00 (UTC)"}
    new = {**body, **words, "version": 2, "updatedAt": changed["updatedAt"]}
    assert changed == {**made, **new}


def test_update_retargets(client: APIClient, tenant: Tenant, required: dict) -> None:
    made = post(client, required).json()
    flow, segment = factories.FlowFactory(tenant=tenant), factories.SegmentFactory(tenant=tenant)
    channel = factories.ChannelFactory(tenant=tenant)
    body = {
        "decisionFlowId": flow.public_id,
        "segmentId": segment.public_id,
        "channelIds": [channel.public_id],
    }
    changed = client.put(f"{URL}/{made['id']}", body, format="json").json()
    assert {name: changed[name] for name in body} == body
    assert (changed["decisionFlowName"], changed["segmentName"]) == (flow.name, segment.name)


def test_given_object_replaces_the_whole_of_it(client: APIClient, required: dict) -> None:
    caps = {"maxPerOffer": 5, "maxPerChannel": 6}
    made = post(client, {**required, "volumeConstraints": caps}).json()
    url = f"{URL}/{made['id']}"
    body = {"volumeConstraints": {"maxTotalPerRun": 7}, "fileConfig": {"columns": ["rank"]}}
    changed = client.patch(url, body, format="json").json()
    assert changed["volumeConstraints"] == {"maxTotalPerRun": 7}
    assert changed["fileConfig"]["columns"] == ["rank"]
    cleared = {"volumeConstraints": None, "fileConfig": None}
    changed = client.patch(url, cleared, format="json").json()
    assert (changed["volumeConstraints"], changed["fileConfig"]) == ({}, made["fileConfig"])


def test_empty_update_changes_nothing(client: APIClient, required: dict) -> None:
    made = post(client, required).json()
    assert client.patch(f"{URL}/{made['id']}", {}, format="json").json() == made


def test_version_is_an_optimistic_lock(client: APIClient, required: dict) -> None:
    made = post(client, required).json()
    url = f"{URL}/{made['id']}"
    changed = client.put(url, {"version": 1, "name": "Mine"}, format="json")
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    for body in ({"version": 1, "name": "Theirs"}, {"version": 1}):
        late = client.patch(url, body, format="json")
        assert late.status_code == 409
        assert error(late)["message"] == (
            "The campaign has version 2, not 1: somebody changed it meanwhile."
        )
    assert client.patch(url, {"version": 2}, format="json").json() == changed.json()


@pytest.mark.parametrize("version", [0, "1", 1.5, True, []])
def test_version_must_be_an_integer(client: APIClient, tenant: Tenant, version) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, name="Before")
    body = {"version": version, "name": "After"}
    url = f"{URL}/{campaign.public_id}"
    assert list(faults(client.patch(url, body, format="json"))) == ["version"]
    assert Campaign.unscoped.get().name == "Before"


def test_every_change_is_kept(client: APIClient, required: dict) -> None:
    made = post(client, required).json()
    client.patch(f"{URL}/{made['id']}", {"name": "Later"}, format="json")
    kept = Campaign.history.order_by("history_id").values_list("name", "version", "changed_by")
    first = (made["name"], 1, "API key test")
    assert list(kept) == [first, ("Later", 2, "API key test")]


def test_list_has_the_documented_shape(client: APIClient, tenant: Tenant, flow: Flow) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, flow=flow, schedule_timezone="Asia/Tokyo")
    first = factories.RunFactory(campaign=campaign, run_number=1)
    latest = factories.RunFactory(campaign=campaign, run_number=2)
    latest.refresh_from_db()
    factories.CampaignFactory()
    assert first.pk != latest.pk
    assert client.get(URL).json() == {
        "runs": [
            {
                "id": campaign.public_id,
                "name": campaign.name,
                "status": "draft",
                "scheduleType": "manual",
                "scheduleDayOfWeek": None,
                "scheduleTime": "09:00",
                "scheduleTimezone": "Asia/Tokyo",
                "decisionFlowName": "Q1 Cross-Sell",
                "segmentName": campaign.segment.name,
                "segmentCustomerCount": None,
                "runCount": 2,
                "lastRunAt": latest.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                "latestRun": {"id": latest.public_id, "status": "pending", "runNumber": 2},
            }
        ],
        "total": 1,
    }


def test_list_filters_by_status_and_searches(client: APIClient, tenant: Tenant) -> None:
    for name, status in (("Gold", "paused"), ("Gold again", "draft"), ("Silver", "draft")):
        factories.CampaignFactory(tenant=tenant, name=name, status=status)

    def names(**query: str) -> list[str]:
        return [row["name"] for row in client.get(URL, query).json()["runs"]]

    assert names(status="draft") == ["Silver", "Gold again"]
    assert names(search="gold") == ["Gold again", "Gold"]
    assert names(search="gold", status="paused") == ["Gold"]
    assert list(faults(client.get(URL, {"status": "live"}))) == ["status"]
    assert list(faults(client.get(URL, {"cursor": "x"}))) == ["cursor"]


def test_list_pages_newest_first(client: APIClient, tenant: Tenant) -> None:
    made = [c.public_id for c in factories.CampaignFactory.create_batch(3, tenant=tenant)]
    page = client.get(URL, {"limit": 2, "offset": 1}).json()
    assert [row["id"] for row in page["runs"]] == made[::-1][1:]
    assert page["total"] == 3
    assert client.get(URL, {"offset": 9}).json() == {"runs": [], "total": 3}


def test_list_limit_defaults_to_50_and_ends_at_200(client: APIClient, tenant: Tenant) -> None:
    flow = factories.FlowFactory(tenant=tenant)
    segment = factories.SegmentFactory(tenant=tenant)
    factories.CampaignFactory.create_batch(51, tenant=tenant, flow=flow, segment=segment)
    assert len(client.get(URL).json()["runs"]) == 50
    assert len(client.get(URL, {"limit": 200}).json()["runs"]) == 51


@pytest.mark.parametrize(
    "query",
    [
        *("limit=201", "limit=0", "limit=-1", "limit=x", "limit=", "limit=1.0", "limit=%00"),
        *("limit=٣", "offset=-1", "offset=x", f"offset={2**63}", "offset=" + "9" * 5000),
    ],
)
def test_list_refuses_bad_pages(client: APIClient, query: str) -> None:
    assert list(faults(client.get(f"{URL}?{query}"))) == [query.partition("=")[0]]


@pytest.mark.parametrize("count", [1, 20])
def test_list_takes_the_same_queries_for_any_number(
    client: APIClient, tenant: Tenant, django_assert_num_queries, count: int
) -> None:
    for campaign in factories.CampaignFactory.create_batch(count, tenant=tenant):
        factories.RunFactory.create_batch(2, campaign=campaign)
    client.get(URL)
    with django_assert_num_queries(4):  # the key, the count, the campaigns, their latest runs
        assert len(client.get(URL).json()["runs"]) == count
