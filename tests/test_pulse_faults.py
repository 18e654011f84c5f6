"""The pulse among what is broken, changed or set back: nothing stops it, nothing is done twice."""

from datetime import timedelta

import pytest
from django.db import connection

from campaigns.models import Campaign, FlowVersion
from campaigns.services.campaigns import update_campaign
from campaigns.services.deletion import delete_campaign
from campaigns.services.pulse import fire_due
from campaigns.services.schedules import database_now
from kaireon.access.models import Tenant
from tests.due import due_campaign, every, fire, next_run_at, runs, story, utc

NINE, JUST_AFTER = "2026-03-02T09:00", "2026-03-02T09:00:05"


def set_back(campaign: Campaign, to: str) -> None:
    Campaign.unscoped.filter(pk=campaign.pk).update(next_run_at=utc(to))


# What cannot be run.


def test_a_flow_that_is_not_published_any_more_is_refused(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, NINE)
    FlowVersion.objects.filter(flow=campaign.flow).delete()
    assert fire(JUST_AFTER) == {"campaigns": 1, "refused": 1}
    reason = f'The decision flow "{campaign.flow}" has no published version.'
    assert story(campaign) == [f"03-02 09:00 refused: {reason}"]
    assert runs(campaign) == []
    assert next_run_at(campaign) == utc("2026-03-03T09:00")
    FlowVersion.objects.create(flow=campaign.flow, version=1, config={})
    fire("2026-03-03T09:00:05")
    assert story(campaign)[1:] == ["03-03 09:00 run 1"]


def test_a_segment_whose_view_is_gone_is_refused(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, NINE)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP VIEW segments.{campaign.segment.view_name}")
    assert fire(JUST_AFTER) == {"campaigns": 1, "refused": 1}
    reason = f'The view of the segment "{campaign.segment}" is gone: refresh the segment.'
    assert story(campaign) == [f"03-02 09:00 refused: {reason}"]
    assert next_run_at(campaign) == utc("2026-03-03T09:00")


def test_a_schedule_without_meaning_waits_for_a_change(tenant: Tenant) -> None:
    """A zone can vanish with a new version of the zone database."""
    campaign = due_campaign(tenant, NINE)
    Campaign.unscoped.filter(pk=campaign.pk).update(schedule_timezone="Mars/Olympus")
    other = due_campaign(tenant, NINE)
    assert fire(JUST_AFTER) == {"campaigns": 2, "refused": 1, "run": 1}
    assert story(campaign) == [
        "03-02 09:00 refused: The schedule cannot be followed, so the campaign waits for a change:"
        ' The time zone "Mars/Olympus" is not known.'
    ]
    assert story(other) == ["03-02 09:00 run 1"]
    assert next_run_at(campaign) is None
    changed = update_campaign(campaign, {"schedule_timezone": "UTC"})
    assert changed.next_run_at is not None
    assert changed.next_run_at > database_now()


def test_a_campaign_that_fails_stops_no_other_and_is_tried_again(tenant: Tenant) -> None:
    """Here PostgreSQL itself fails: a trigger refuses the campaign's runs."""
    failing, other = due_campaign(tenant, NINE), due_campaign(tenant, NINE)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE 'no room on line 7'; END$$;"
            "CREATE TRIGGER fail BEFORE INSERT ON campaigns_campaignrun FOR EACH ROW"
            f" WHEN (new.campaign_id = {failing.pk}) EXECUTE FUNCTION fail()"
        )
    assert fire(JUST_AFTER) == {"campaigns": 2, "refused": 1, "run": 1}
    assert story(failing) == [
        "03-02 09:00 refused: The scheduler failed on it; the log of its process says why."
    ]
    assert story(other) == ["03-02 09:00 run 1"]
    assert runs(failing) == []
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("DROP TRIGGER fail ON campaigns_campaignrun")
    fire("2026-03-03T09:00:05")
    assert story(failing)[1:] == ["03-03 09:00 run 1"]


# What is changed meanwhile.


def just_missed(tenant: Tenant, **fields: object) -> Campaign:
    """A campaign that has been due for some seconds, and then once a day at that time."""
    at = database_now().replace(second=0, microsecond=0)
    campaign = due_campaign(tenant, NINE, schedule_time=f"{at:%H:%M}", **fields)
    Campaign.unscoped.filter(pk=campaign.pk).update(next_run_at=at)
    campaign.refresh_from_db()
    return campaign


@pytest.mark.parametrize("status", ["paused", "archived", "draft"])
def test_what_is_stopped_in_time_is_not_run(tenant: Tenant, status: str) -> None:
    campaign = just_missed(tenant)
    update_campaign(campaign, {"status": status})
    assert next_run_at(campaign) is None
    assert fire_due(10) == {}
    assert story(campaign) == []


def test_what_is_resumed_waits_for_its_next_instant(tenant: Tenant) -> None:
    """P14: what came while it was paused is not caught up."""
    campaign = just_missed(tenant)
    at = campaign.next_run_at
    update_campaign(campaign, {"status": "paused"})
    update_campaign(campaign, {"status": "active"})
    assert next_run_at(campaign) == at + timedelta(days=1)
    assert fire_due(10) == {}


def test_what_is_deleted_is_not_run(tenant: Tenant) -> None:
    campaign, other = just_missed(tenant), just_missed(tenant)
    delete_campaign(campaign)
    assert fire_due(10) == {"campaigns": 1, "run": 1}
    assert not Campaign.unscoped.filter(pk=campaign.pk).exists()
    assert len(runs(other)) == 1


def test_a_changed_schedule_gives_up_what_was_due_by_the_old_one(tenant: Tenant) -> None:
    campaign = just_missed(tenant)
    later = (campaign.next_run_at + timedelta(hours=2)).strftime("%H:%M")
    update_campaign(campaign, {"schedule_time": later})
    assert next_run_at(campaign).strftime("%H:%M") == later
    assert fire_due(10) == {}


@pytest.mark.parametrize(
    "fields", [{"name": "Renamed"}, {"schedule_type": "daily", "priority": 9}, {}]
)
def test_any_other_change_leaves_due_what_is_due(tenant: Tenant, fields: dict[str, object]) -> None:
    campaign = just_missed(tenant)
    at = campaign.next_run_at
    update_campaign(campaign, fields)
    assert next_run_at(campaign) == at
    assert fire_due(10) == {"campaigns": 1, "run": 1}
    assert runs(campaign)[0].priority == fields.get("priority", 50)


def test_the_policies_of_the_moment_decide(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, NINE)
    update_campaign(campaign, {"misfire_policy": "skip"})
    fire("2026-03-02T09:30")
    assert story(campaign) == ["03-02 09:00 missed: 30 min late; the campaign skips what is late."]


def test_rules_of_a_zone_that_were_changed(tenant: Tenant) -> None:
    """It waits for 08:00 by old rules, but by today's the campaign is due at 09:00."""
    campaign = due_campaign(tenant, "2026-03-02T08:00")
    assert fire("2026-03-02T08:00:05") == {"campaigns": 1}
    assert story(campaign) == []
    assert next_run_at(campaign) == utc(NINE)


# What is set back: a restored snapshot, or somebody who helped by hand.


def test_an_instant_that_was_decided_about_is_not_run_again(tenant: Tenant) -> None:
    """P7: one run for each instant, also when the scheduler is set back."""
    campaign = due_campaign(tenant, NINE, **every("0 * * * *", overlap_policy="allow"))
    fire(JUST_AFTER)
    fire("2026-03-02T10:00:05")
    told = ["03-02 09:00 run 1", "03-02 10:00 run 2"]
    assert story(campaign) == told
    set_back(campaign, NINE)
    assert fire("2026-03-02T10:30") == {"campaigns": 1}
    assert story(campaign) == told
    assert next_run_at(campaign) == utc("2026-03-02T11:00")
    set_back(campaign, NINE)
    fire("2026-03-02T11:00:05")
    assert story(campaign) == [*told, "03-02 11:00 run 3"]


def test_an_instant_stays_decided_when_its_run_is_deleted(tenant: Tenant) -> None:
    campaign = due_campaign(tenant, NINE)
    fire(JUST_AFTER)
    runs(campaign)[0].delete()
    set_back(campaign, NINE)
    assert fire(JUST_AFTER) == {"campaigns": 1}
    assert runs(campaign) == []
    assert len(story(campaign)) == 1


@pytest.mark.parametrize("back_to", ["2026-03-02T09:00", "2026-03-02T12:34"])
def test_instants_that_share_a_tick_stay_decided(tenant: Tenant, back_to: str) -> None:
    """The campaign would run what is a week late, so only the shared tick stands in the way."""
    fields = every("* * * * *", misfire_grace_minutes=10080, overlap_policy="allow")
    campaign = due_campaign(tenant, NINE, **fields)
    assert fire("2026-03-02T15:00:05") == {"campaigns": 1, "missed": 360, "run": 1}
    set_back(campaign, back_to)
    assert fire("2026-03-02T15:00:30") == {"campaigns": 1}
    assert len(runs(campaign)) == 1


def test_the_whole_database_restored_to_before_the_run(tenant: Tenant) -> None:
    """Run and tick are gone with the snapshot, so the instant is decided about once more."""
    campaign = due_campaign(tenant, NINE)
    fire(JUST_AFTER)
    campaign.ticks.all().delete()
    runs(campaign)[0].delete()
    set_back(campaign, NINE)
    assert fire("2026-03-02T09:20") == {"campaigns": 1, "run": 1}
    assert story(campaign) == ["03-02 09:00 run 1"]
