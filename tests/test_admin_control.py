"""Controlling runs from the admin: pause, resume, cancel, retry; dead letters; schedules."""

from datetime import UTC, datetime

import pytest
from django.conf import LazySettings
from django.test import Client

from campaigns.models import Campaign, CampaignRun, DeadLetter, Tick
from campaigns.services import schedules
from campaigns.services.schedules import database_now
from kaireon.access.models import Tenant
from tests import factories
from tests.signed_in import errors, member, page, said, superuser, text_of

ENDED = {"error": "x", "summary": {}, "completed_at": "2026-03-22T09:00:00Z"}
BUTTONS = {
    "pending": ["Pause", "Cancel"],
    "running": ["Pause", "Cancel"],
    "paused": ["Resume", "Cancel"],
    "cancelling": [],
    "cancelled": [],
    "failed": [],
    "completed": [],
    "completed_with_errors": ["Retry failed parts"],
}


@pytest.fixture(autouse=True)
def nobody_executes(settings: LazySettings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.CampaignFactory(tenant=tenant, name="Cards")


def run_of(campaign: Campaign, status: str) -> CampaignRun:
    """A run with one failed chunk, whose letter is there."""
    run = factories.RunFactory(campaign=campaign, status=status, **ENDED)
    run.chunks.create(number=0, status="dead", customers=10)
    run.dead_letters.create(
        tenant=run.tenant,
        topic="campaign_chunks",
        chunk=0,
        customers=10,
        attempts=5,
        error="the chunk broke",
        traceback="File x.py",
    )
    return run


def buttons(client: Client, run: CampaignRun) -> list[str]:
    found = client.get(page("campaignrun", "change", run.pk)).context["controls"]
    return [text for _, text in found]


@pytest.mark.parametrize("status", BUTTONS)
def test_only_what_applies_is_offered_and_only_to_editors(
    status: str, tenant: Tenant, campaign: Campaign
) -> None:
    run = run_of(campaign, status)
    assert buttons(member(tenant, "editor"), run) == BUTTONS[status]
    assert buttons(member(tenant, "viewer"), run) == []


def test_a_run_whose_file_could_not_be_delivered_has_no_failed_parts(
    tenant: Tenant, campaign: Campaign
) -> None:
    run = factories.RunFactory(campaign=campaign, status="completed_with_errors", **ENDED)
    assert buttons(member(tenant, "editor"), run) == []


@pytest.mark.parametrize(
    ("status", "verb", "after", "text"),
    [
        ("running", "pause", "paused", "is paused."),
        ("paused", "resume", "pending", "goes on."),
        ("running", "cancel", "cancelling", "is cancelled as soon as its workers have stopped."),
        ("completed_with_errors", "retry", "running", "tries its failed parts again."),
    ],
)
def test_it_asks_first_and_then_does_it(
    status: str, verb: str, after: str, text: str, tenant: Tenant, campaign: Campaign
) -> None:
    run, client = run_of(campaign, status), member(tenant, "editor")
    url = page("campaignrun", verb, run.pk)
    asked = client.get(url)
    assert asked.status_code == 200
    assert "csrfmiddlewaretoken" in text_of(asked)
    run.refresh_from_db()
    assert run.status == status
    assert said(client.post(url, follow=True)) == [f"Run {run.run_number} {text}"]
    run.refresh_from_db()
    assert run.status == after
    refused = client.post(url, follow=True)
    if verb != "pause" and verb != "cancel":  # asking for those again does nothing
        assert "only" in said(refused)[0]
    run.refresh_from_db()
    assert run.status == after


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_control_needs_an_editor_of_the_tenant_and_a_token(
    verb: str, tenant: Tenant, campaign: Campaign
) -> None:
    run = run_of(campaign, "running")
    url = page("campaignrun", verb, run.pk)
    assert member(tenant, "viewer").post(url).status_code == 403
    assert member(factories.TenantFactory(), "admin").post(url).status_code == 404
    strict = Client(enforce_csrf_checks=True)
    editor = factories.UserFactory()
    factories.MembershipFactory(user=editor, tenant=tenant, role="editor")
    strict.force_login(editor)
    assert strict.post(url).status_code == 403
    run.refresh_from_db()
    assert run.status == "running"
    assert not run.events.exists()


def test_a_paused_run_is_shown(tenant: Tenant, campaign: Campaign) -> None:
    run, client = run_of(campaign, "paused"), member(tenant, "viewer")
    text = client.get(page("campaignrun", "change", run.pk)).context["progress"]["text"]
    assert text.endswith("waits for somebody to resume it")
    assert client.get(page("campaignrun", "changelist")).status_code == 200
    assert client.get(page("campaign", "changelist")).status_code == 200


def letters_page(client: Client) -> list[DeadLetter]:
    return list(client.get(page("deadletter", "changelist")).context["cl"].result_list)


def act(client: Client, action: str, *letters: DeadLetter) -> list[str]:
    data = {"action": action, "_selected_action": [letter.pk for letter in letters]}
    return said(client.post(page("deadletter", "changelist"), data, follow=True))


def test_dead_letters_are_for_admins(tenant: Tenant, campaign: Campaign) -> None:
    letter = run_of(campaign, "completed_with_errors").dead_letters.get()
    for role in ("viewer", "editor"):
        client = member(tenant, role)
        assert client.get(page("deadletter", "changelist")).status_code == 403
        assert client.get(page("deadletter", "change", letter.pk)).status_code == 403
    admin = member(tenant, "admin")
    assert letters_page(admin) == [letter]
    shown = text_of(admin.get(page("deadletter", "change", letter.pk)))
    assert "the chunk broke" in shown
    assert "File x.py" not in shown
    assert "File x.py" in text_of(superuser().get(page("deadletter", "change", letter.pk)))
    for name in ("add", "delete"):
        args = () if name == "add" else (letter.pk,)
        assert admin.get(page("deadletter", name, *args)).status_code == 403


def test_dead_letters_are_retried_and_purged(tenant: Tenant, campaign: Campaign) -> None:
    good, bad, left = (
        run_of(campaign, status).dead_letters.get()
        for status in ("completed_with_errors", "running", "completed_with_errors")
    )
    foreign = run_of(factories.CampaignFactory(), "completed_with_errors").dead_letters.get()
    client = member(tenant, "admin")
    assert act(client, "retry_selected", good, bad, foreign) == [
        "1 dead letters are tried again.",
        "1 cannot be retried now: their run is in work, or their campaign is not active.",
    ]
    assert set(DeadLetter.unscoped.all()) == {bad, left, foreign}
    assert CampaignRun.unscoped.get(pk=good.run_id).reopened == 1
    assert act(client, "purge_selected", left, foreign) == ["1 dead letters are purged."]
    assert set(DeadLetter.unscoped.all()) == {bad, foreign}


def test_ticks_say_why(tenant: Tenant, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign)
    for day in range(1, 13):
        Tick.unscoped.create(
            tenant=tenant,
            campaign=campaign,
            scheduled_for=datetime(2026, 3, day, 9, tzinfo=UTC),
            outcome="run" if day == 12 else "missed",
            run=run if day == 12 else None,
            reason="" if day == 12 else "3 h late",
        )
    client = member(tenant, "viewer")
    shown = client.get(page("campaign", "change", campaign.pk))
    assert len(shown.context["ticks"]["rows"]) == 10
    assert f"#{run.run_number}" in shown.context["ticks"]["rows"][0][2]
    assert shown.context["ticks"]["rows"][1][3] == "3 h late"
    listed = client.get(shown.context["all_ticks"])
    assert listed.context["cl"].result_count == 12
    assert client.get(page("tick", "changelist") + "?outcome=run").status_code == 200


def test_the_schedule_is_shown_in_words_and_instants_with_changes_of_the_clock(
    tenant: Tenant, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "campaigns.admin.campaign_schedule.database_now",
        lambda: datetime(2026, 3, 28, 12, tzinfo=UTC),
    )
    campaign.schedule_type, campaign.schedule_time = "daily", "02:30"
    campaign.schedule_timezone = "Europe/Berlin"
    campaign.save()
    shown = member(tenant, "viewer").get(page("campaign", "change", campaign.pk))
    assert shown.context["schedule"]["words"] == schedules.in_words(campaign)
    table = shown.context["instants"]
    assert table["headers"] == ["Europe/Berlin", "UTC", ""]
    assert len(table["rows"]) == 12
    gap, after = table["rows"][:2]
    assert gap == [
        "Sun 2026-03-29 03:00 CEST",
        "Sun 2026-03-29 01:00",
        "the clock jumps over the time",
    ]
    assert after == ["Mon 2026-03-30 02:30 CEST", "Mon 2026-03-30 00:30", ""]


@pytest.mark.usefixtures("clean_relations")
def test_a_change_of_the_schedule_is_the_schedulers_too(tenant: Tenant) -> None:
    campaign = factories.runnable_campaign(tenant)
    client, url = member(tenant, "editor"), page("campaign", "change", campaign.pk)
    data = {
        "name": campaign.name,
        "status": "active",
        "flow": campaign.flow_id,
        "segment": campaign.segment_id,
        "schedule_type": "daily",
        "schedule_time": "09:00",
        "schedule_timezone": "Asia/Tokyo",
        "weekend_days": ["5"],
        "holiday_calendar": "JP",
        "misfire_policy": "skip",
        "misfire_grace_minutes": 5,
        "overlap_policy": "queue",
        "priority": 70,
        "holdout_percent": 2,
        "allocation": "score",
        "file_columns": "customer_id",
    }
    response = client.post(url, data)
    assert response.status_code == 302, errors(response)
    campaign.refresh_from_db()
    assert (campaign.weekend_days, campaign.holiday_calendar) == ([5], "JP")
    assert (campaign.misfire_policy, campaign.misfire_grace_minutes) == ("skip", 5)
    assert (campaign.overlap_policy, campaign.priority) == ("queue", 70)
    assert campaign.next_run_at > database_now()
    assert (campaign.next_run_at.hour, campaign.next_run_at.minute) == (0, 0)
    assert client.post(url, data | {"schedule_time": "10:15"}).status_code == 302
    campaign.refresh_from_db()
    assert (campaign.next_run_at.hour, campaign.next_run_at.minute) == (1, 15)
    assert client.post(url, data | {"status": "paused"}).status_code == 302
    campaign.refresh_from_db()
    assert campaign.next_run_at is None
