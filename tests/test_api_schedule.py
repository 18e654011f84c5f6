"""Schedules over the API: in words, looked at before they are saved, and what became of them."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from campaigns.models import Campaign, Tick
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, error
from tests.due import due_campaign, every, fire, set_database_clock, utc

NEW_YORK = "America/New_York"
PREVIEW = f"{API}runs/preview-schedule"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def schedule_url(campaign: Campaign) -> str:
    return f"{API}runs/{campaign.public_id}/schedule"


def ticks_url(campaign: Campaign) -> str:
    return f"{API}runs/{campaign.public_id}/ticks"


def preview(client: APIClient, **body: Any) -> dict[str, Any]:
    response = client.post(PREVIEW, body, format="json")
    assert response.status_code == 200, response.json()
    return response.json()


def faults(client: APIClient, **body: Any) -> dict[str, list[str]]:
    response = client.post(PREVIEW, body, format="json")
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def change(client: APIClient, campaign: Campaign, **body: Any) -> str | None:
    """Change the campaign over the API; return when it is due."""
    response = client.patch(f"{API}runs/{campaign.public_id}", body, format="json")
    assert response.status_code == 200, response.json()
    due: str | None = response.json()["nextRunAt"]
    assert client.get(f"{API}runs/{campaign.public_id}").json()["nextRunAt"] == due
    return due


# The schedule of a campaign.


def test_a_schedule_in_words_and_in_both_clocks(client: APIClient, tenant: Tenant) -> None:
    set_database_clock("2026-03-02T20:00")
    campaign = due_campaign(
        tenant,
        "2026-03-09T13:00",
        schedule_type="weekly",
        schedule_day_of_week=1,
        schedule_timezone=NEW_YORK,
    )
    found = client.get(schedule_url(campaign)).json()
    instants = found.pop("instants")
    assert found == {
        "description": "Every Monday at 09:00 (America/New_York)",
        "timezone": NEW_YORK,
        "nextRunAt": "2026-03-09T13:00:00.000Z",
    }
    assert len(instants) == 12
    assert instants[0] == {
        "at": "2026-03-09T13:00:00.000Z",
        "local": "2026-03-09T09:00:00.000-04:00",
        "mark": None,
    }
    assert instants == sorted(instants, key=lambda each: each["at"])


def test_a_draft_shows_its_instants_but_waits_for_none(client: APIClient, tenant: Tenant) -> None:
    set_database_clock("2026-03-02T20:00")
    campaign = factories.CampaignFactory(tenant=tenant, schedule_type="daily")
    found = client.get(schedule_url(campaign)).json()
    assert found["nextRunAt"] is None
    assert found["instants"][0]["at"] == "2026-03-03T09:00:00.000Z"


def test_a_campaign_by_hand_has_no_instants(client: APIClient, tenant: Tenant) -> None:
    found = client.get(schedule_url(factories.CampaignFactory(tenant=tenant))).json()
    assert found == {
        "description": "Not scheduled",
        "timezone": "UTC",
        "nextRunAt": None,
        "instants": [],
    }


def test_a_schedule_that_has_lost_its_meaning_says_so(client: APIClient, tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(
        tenant=tenant, schedule_type="daily", schedule_timezone="Mars/Olympus"
    )
    found = client.get(schedule_url(campaign))
    assert found.status_code == 200
    assert found.json()["description"] == "Every day at 09:00 (Mars/Olympus)"
    assert found.json()["instants"] == []


# An unsaved schedule.


def test_a_preview_saves_nothing(client: APIClient, tenant: Tenant) -> None:
    set_database_clock("2026-05-01T00:00")
    found = preview(
        client,
        scheduleType="monthly",
        scheduleDayOfMonth="last_working_day",
        scheduleTime="07:30",
        scheduleTimezone="Europe/Rome",
        holidayCalendar="IT",
    )
    assert found["description"] == (
        "On the last working day of every month at 07:30 (Europe/Rome; holidays of IT)"
    )
    assert found["nextRunAt"] == found["instants"][0]["at"] == "2026-05-29T05:30:00.000Z"
    assert found["instants"][0]["local"] == "2026-05-29T07:30:00.000+02:00"
    assert Campaign.objects.of(tenant).count() == 0


@pytest.mark.parametrize(
    ("now", "body", "expected"),
    [
        pytest.param(
            "2026-03-07T12:00",
            {"scheduleType": "daily", "scheduleTime": "02:30"},
            [
                ("2026-03-08T07:00:00.000Z", "2026-03-08T03:00:00.000-04:00", "gap"),
                ("2026-03-09T06:30:00.000Z", "2026-03-09T02:30:00.000-04:00", None),
            ],
            id="left out",
        ),
        pytest.param(
            "2026-11-01T05:00",
            {"scheduleType": "daily", "scheduleTime": "01:30"},
            [
                ("2026-11-01T05:30:00.000Z", "2026-11-01T01:30:00.000-04:00", "repeated, first"),
                ("2026-11-02T06:30:00.000Z", "2026-11-02T01:30:00.000-05:00", None),
            ],
            id="fixed and twice",
        ),
        pytest.param(
            "2026-11-01T05:00",
            {"scheduleCron": "30 * * * *"},
            [
                ("2026-11-01T05:30:00.000Z", "2026-11-01T01:30:00.000-04:00", "repeated, first"),
                ("2026-11-01T06:30:00.000Z", "2026-11-01T01:30:00.000-05:00", "repeated, second"),
                ("2026-11-01T07:30:00.000Z", "2026-11-01T02:30:00.000-05:00", None),
            ],
            id="hourly and twice",
        ),
    ],
)
def test_marks_where_clocks_change(
    client: APIClient, now: str, body: dict[str, str], expected: list[tuple[str, str, str | None]]
) -> None:
    """P13, as its reader sees it."""
    set_database_clock(now)
    found = preview(client, scheduleTimezone=NEW_YORK, **body)["instants"][: len(expected)]
    assert [(each["at"], each["local"], each["mark"]) for each in found] == expected


def test_cron_takes_precedence(client: APIClient) -> None:
    """P12: either day is enough, and the words say so."""
    set_database_clock("2026-02-01T00:00")
    found = preview(client, scheduleType="daily", scheduleCron="0 9 13 * 5")
    assert found["description"] == (
        "At 09:00 on the 13th day of month or on Friday, either is enough (UTC)"
    )
    days = [each["at"][:10] for each in found["instants"][:3]]
    assert days == ["2026-02-06", "2026-02-13", "2026-02-20"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"scheduleType": "weekly"}, {"scheduleDayOfWeek": "A weekly schedule needs a day"}),
        ({"scheduleDayOfWeek": 7}, {"scheduleDayOfWeek": "Must be 0 (Sunday) to 6"}),
        ({"scheduleType": "monthly"}, {"scheduleDayOfMonth": "A monthly schedule needs a day"}),
        ({"scheduleDayOfMonth": "29"}, {"scheduleDayOfMonth": 'Must be "1" to "28" or'}),
        ({"scheduleTime": "9:00"}, {"scheduleTime": "Must be a time of day as HH:mm"}),
        ({"scheduleTimezone": "Mars/Olympus"}, {"scheduleTimezone": "Must be an IANA time zone"}),
        ({"scheduleCron": "0 9 * *"}, {"scheduleCron": "Must have five fields"}),
        ({"scheduleCron": "0 0 30 2 *"}, {"scheduleCron": "Never fires."}),
        ({"scheduleCron": "0 9 * * 8"}, {"scheduleCron": '"8" is no day of week: 0 to 7'}),
        ({"holidayCalendar": "ZZ"}, {"holidayCalendar": '"ZZ" is not a holiday calendar'}),
        ({"weekendDays": [1, 9]}, {"weekendDays[1]": "Must be 0 (Sunday) to 6 (Saturday)."}),
        ({"weekendDays": [*range(7)]}, {"weekendDays": "Must leave at least one day to work."}),
        ({"scheduleType": "hourly"}, {"scheduleType": ""}),
        ({"scheduleTime": 9}, {"scheduleTime": ""}),
        ({"name": "x"}, {"name": ""}),
        (
            {"scheduleType": "weekly", "scheduleTime": "x", "scheduleCron": "0 9 * *"},
            {"scheduleTime": "Must be", "scheduleCron": "Must have five fields"},
        ),
    ],
)
def test_what_is_wrong_is_told_by_field(
    client: APIClient, body: dict[str, Any], expected: dict[str, str]
) -> None:
    found = faults(client, **body)
    assert found.keys() == expected.keys()
    assert all(found[name][0].startswith(text) for name, text in expected.items()), found


@pytest.mark.parametrize("body", [[], "daily", 7])
def test_a_body_that_is_no_object_is_refused(client: APIClient, body: object) -> None:
    response = client.post(PREVIEW, body, format="json")
    assert response.status_code == 400
    assert error(response)["message"]


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_every_role_may_look(tenant: Tenant, role: str) -> None:
    """A preview changes nothing, so it is open to whoever may read."""
    client, campaign = api_client(tenant, role), due_campaign(tenant, "2026-03-02T09:00")
    assert client.post(PREVIEW, {}, format="json").status_code == 200
    assert client.get(schedule_url(campaign)).status_code == 200
    assert client.get(ticks_url(campaign)).status_code == 200


def test_schedule_and_ticks_can_only_be_read(tenant: Tenant) -> None:
    client, campaign = api_client(tenant, "admin"), due_campaign(tenant, "2026-03-02T09:00")
    assert client.delete(schedule_url(campaign)).status_code == 405
    assert client.post(ticks_url(campaign), {}, format="json").status_code == 405
    assert client.get(PREVIEW).status_code == 405


def test_nobody_looks_at_another_tenants(tenant: Tenant) -> None:
    stranger = api_client(factories.TenantFactory(), "admin")
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    for url in (schedule_url(campaign), ticks_url(campaign), f"{API}runs/camp_nonsense/ticks"):
        assert stranger.get(url).status_code == 404
    assert APIClient().post(PREVIEW, {}, format="json").status_code == 401


# What became of the instants.


def test_ticks_tell_what_became_of_each_instant(client: APIClient, tenant: Tenant) -> None:
    """P31."""
    campaign = due_campaign(tenant, "2026-03-02T10:00", **every("0 * * * *"))
    fire("2026-03-02T12:00:05")
    fire("2026-03-02T13:00:05")
    page = client.get(ticks_url(campaign)).json()
    assert page["pagination"]["total"] == 4
    skipped, run, missed, _ = page["data"]
    (made,) = campaign.runs.all()
    assert [tick["scheduledFor"][11:16] for tick in page["data"]] == [
        "13:00", "12:00", "11:00", "10:00"
    ]  # fmt: skip
    assert run.pop("id").startswith("tick_")
    assert run.pop("decidedAt").endswith("Z")
    assert run == {
        "scheduledFor": "2026-03-02T12:00:00.000Z",
        "outcome": "run",
        "reason": None,
        "runId": made.public_id,
        "instants": 1,
    }
    assert (skipped["outcome"], skipped["runId"]) == ("skipped", None)
    assert skipped["reason"] == f"Run 1 ({made.public_id}) was pending."
    assert missed["outcome"] == "missed"
    assert missed["reason"].startswith("1 h late;")
    shown = client.get(f"{API}campaign-runs/{made.public_id}").json()
    assert (shown["triggeredBy"], shown["scheduledFor"]) == ("schedule", run["scheduledFor"])


def test_ticks_come_by_pages_in_either_order(client: APIClient, tenant: Tenant) -> None:
    campaign = due_campaign(tenant, "2026-03-02T01:00", **every("0 * * * *"))
    fire("2026-03-02T12:00:05")
    url = ticks_url(campaign)
    newest = client.get(url, {"limit": 5}).json()
    following = client.get(url, {"limit": 5, "cursor": newest["pagination"]["nextCursor"]}).json()
    hours = [tick["scheduledFor"][11:13] for tick in newest["data"] + following["data"]]
    assert hours == [f"{hour:02}" for hour in range(12, 2, -1)]
    oldest = client.get(url, {"ordering": "scheduledFor", "limit": 1}).json()["data"]
    assert oldest[0]["scheduledFor"] == "2026-03-02T01:00:00.000Z"
    only = client.get(url, {"outcome": "run"}).json()
    assert (only["pagination"]["total"], only["data"][0]["outcome"]) == (1, "run")


@pytest.mark.parametrize(
    ("query", "field"),
    [({"outcome": "late"}, "outcome"), ({"ordering": "outcome"}, "ordering"), ({"x": 1}, "x")],
)
def test_a_list_of_ticks_that_cannot_be_had(
    client: APIClient, tenant: Tenant, query: dict[str, Any], field: str
) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    response = client.get(ticks_url(campaign), query)
    assert response.status_code == 400
    assert [*error(response)["fields"]] == [field]


def test_ticks_of_another_campaign_are_not_shown(client: APIClient, tenant: Tenant) -> None:
    campaign, other = (due_campaign(tenant, "2026-03-02T09:00") for _ in range(2))
    fire("2026-03-02T09:00:05")
    (tick,) = client.get(ticks_url(campaign)).json()["data"]
    assert tick["id"] == Tick.objects.of(tenant).get(campaign=campaign).public_id
    assert len(client.get(ticks_url(other)).json()["data"]) == 1


def test_more_ticks_cost_no_more_queries(client: APIClient, tenant: Tenant) -> None:
    campaign = due_campaign(
        tenant, "2026-03-02T01:00", **every("0 * * * *", overlap_policy="allow")
    )
    client.get(ticks_url(campaign))  # the key's first use is noted
    counts = []
    for hours in (range(1, 3), range(3, 13)):
        for hour in hours:
            fire(f"2026-03-02T{hour:02}:00:05")
        with CaptureQueriesContext(connection) as queries:
            found = client.get(ticks_url(campaign)).json()["data"]
        counts.append(len(queries))
        assert all(tick["runId"] for tick in found)
    assert len(found) == 12
    assert counts[0] == counts[1]


# When a campaign is due, as it is made and changed.


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("active", {"scheduleType": "daily"}, "2026-03-03T09:00:00.000Z"),
        ("active", {"scheduleCron": "*/15 * * * *"}, "2026-03-02T20:15:00.000Z"),
        ("active", {"scheduleType": "manual"}, None),
        ("draft", {"scheduleType": "daily"}, None),
    ],
)
def test_a_new_campaign_waits_for_its_first_instant(
    client: APIClient, tenant: Tenant, status: str, body: dict[str, str], expected: str | None
) -> None:
    set_database_clock("2026-03-02T20:00")
    flow, segment = factories.published_flow(tenant), factories.segment_with_view(tenant)
    required = {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}
    response = client.post(f"{API}runs", {**required, **body, "status": status}, format="json")
    assert response.status_code == 201, response.json()
    assert response.json()["nextRunAt"] == expected


def test_activated_paused_resumed_archived(client: APIClient, tenant: Tenant) -> None:
    """P14: what came while it was paused is not caught up."""
    set_database_clock("2026-03-02T08:00")
    campaign = factories.runnable_campaign(tenant, schedule_type="daily")
    assert change(client, campaign, status="active") == "2026-03-02T09:00:00.000Z"
    assert change(client, campaign, status="paused") is None
    set_database_clock("2026-03-04T10:00")
    assert change(client, campaign, status="active") == "2026-03-05T09:00:00.000Z"
    assert change(client, campaign, status="archived") is None
    assert campaign.ticks.count() == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"scheduleTime": "21:30"}, "2026-03-02T21:30:00.000Z"),
        ({"scheduleTimezone": "Asia/Tokyo"}, "2026-03-03T00:00:00.000Z"),
        ({"scheduleType": "weekly", "scheduleDayOfWeek": 3}, "2026-03-04T09:00:00.000Z"),
        ({"scheduleCron": "0 */4 * * *"}, "2026-03-03T00:00:00.000Z"),
        ({"scheduleType": "manual"}, None),
    ],
)
def test_a_changed_schedule_is_followed_from_now(
    client: APIClient, tenant: Tenant, body: dict[str, Any], expected: str | None
) -> None:
    set_database_clock("2026-03-02T20:00")
    campaign = due_campaign(tenant, "2026-03-03T09:00")
    assert change(client, campaign, **body) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Renamed"},
        {"scheduleTime": "09:00", "scheduleTimezone": "UTC"},
        {"status": "active"},
        {"misfirePolicy": "skip", "overlapPolicy": "queue", "priority": 3},
    ],
)
def test_what_is_due_stays_due_unless_the_schedule_changes(
    client: APIClient, tenant: Tenant, body: dict[str, Any]
) -> None:
    set_database_clock("2026-03-02T09:00:09")
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    assert change(client, campaign, **body) == "2026-03-02T09:00:00.000Z"
    assert fire("2026-03-02T09:00:15") == {"campaigns": 1, "run": 1}


def test_a_refused_change_leaves_due_what_is_due(client: APIClient, tenant: Tenant) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    url = f"{API}runs/{campaign.public_id}"
    response = client.patch(url, {"scheduleTime": "25:00", "status": "paused"}, format="json")
    assert [*error(response)["fields"]] == ["scheduleTime"]
    campaign.refresh_from_db()
    assert (campaign.next_run_at, campaign.status) == (utc("2026-03-02T09:00"), "active")


def test_when_it_is_due_cannot_be_written(client: APIClient, tenant: Tenant) -> None:
    campaign = due_campaign(tenant, "2026-03-02T09:00")
    url = f"{API}runs/{campaign.public_id}"
    response = client.patch(url, {"nextRunAt": "2026-01-01T00:00:00.000Z"}, format="json")
    assert [*error(response)["fields"]] == ["nextRunAt"]
    campaign.refresh_from_db()
    assert campaign.next_run_at == utc("2026-03-02T09:00")
