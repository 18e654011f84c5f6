"""Volume constraints, also called frequency caps, over the API: what they count, until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import VolumeConstraint
from campaigns.services.volume_constraints import end_of_period
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, faults

CONSTRAINTS = "volume-constraints"
NEW_YORK, AUCKLAND = "America/New_York", "Pacific/Auckland"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def body(tenant: Tenant) -> dict[str, Any]:
    offer = factories.OfferFactory(tenant=tenant)
    return {
        "name": "Gold a day",
        "scope": "offer",
        "scopeId": offer.public_id,
        "maxVolume": 1000,
        "period": "daily",
    }


def test_constraint_under_both_names(client: APIClient, body: dict[str, Any]) -> None:
    made = create(client, CONSTRAINTS, **body)
    assert {**body, "enabled": True, "currentCount": 0}.items() <= made.items()
    now = timezone.now().replace(tzinfo=None)
    tomorrow = datetime(now.year, now.month, now.day) + timedelta(days=1)  # noqa: DTZ001
    assert made["resetAt"] == tomorrow.isoformat(timespec="milliseconds") + "Z"
    assert client.get(f"{API}frequency-caps/{made['id']}").json() == made
    assert create(client, "frequency-caps", **body | {"period": "weekly"})["period"] == "weekly"


def test_faults(client: APIClient, body: dict[str, Any]) -> None:
    wrong = {"scope": "creative", "maxVolume": 0, "period": "hourly", "enabled": 1}
    assert set(faults(client, CONSTRAINTS, **body | wrong)) == set(wrong)
    assert set(faults(client, CONSTRAINTS)) == set(body)
    computed = {"currentCount": 1, "resetAt": "2026-01-01T00:00:00Z"}
    assert set(faults(client, CONSTRAINTS, **body, **computed)) == set(computed)
    for scope_id in (factories.OfferFactory().public_id, "ch_UkLWZg9D", "", None):
        assert list(faults(client, CONSTRAINTS, **body | {"scopeId": scope_id})) == ["scopeId"]
    assert faults(client, CONSTRAINTS, **body | {"maxVolume": 2**53 + 1})
    assert not VolumeConstraint.unscoped.exists()


def test_there_is_one_of_a_kind(client: APIClient, body: dict[str, Any]) -> None:
    create(client, CONSTRAINTS, **body)
    second = {"scopeId": ["There is a daily volume constraint for this offer already."]}
    assert faults(client, CONSTRAINTS, **body | {"name": "Other"}) == second
    id = create(client, CONSTRAINTS, **body | {"period": "monthly"})["id"]
    assert change_faults(client, CONSTRAINTS, id, period="daily") == second


def test_another_count_begins_at_nothing(
    client: APIClient, tenant: Tenant, body: dict[str, Any]
) -> None:
    id = create(client, CONSTRAINTS, **body)["id"]
    row = VolumeConstraint.objects.of(tenant).get()
    row.current_count = 7
    row.save()
    assert change(client, CONSTRAINTS, id, maxVolume=5, enabled=False)["currentCount"] == 7
    channel = factories.ChannelFactory(tenant=tenant).public_id
    assert change_faults(client, CONSTRAINTS, id, scope="channel").keys() == {"scopeId"}
    moved = change(client, CONSTRAINTS, id, scope="channel", scopeId=channel)
    assert (moved["currentCount"], moved["scopeId"]) == (0, channel)


def test_a_count_ends_with_its_period(client: APIClient, tenant: Tenant) -> None:
    row = factories.VolumeConstraintFactory(tenant=tenant, current_count=9)
    shown = client.get(f"{API}{CONSTRAINTS}/{row.public_id}").json()
    assert shown["currentCount"] == 0
    assert datetime.fromisoformat(shown["resetAt"]) == end_of_period(row, timezone.now())


@pytest.mark.parametrize(
    ("zone", "now", "daily", "weekly", "monthly"),
    [
        ("UTC", "2026-12-31T23:59:59", "2027-01-01T00", "2027-01-04T00", "2027-01-01T00"),
        ("UTC", "2026-02-01T00:00:00", "2026-02-02T00", "2026-02-02T00", "2026-03-01T00"),
        ("UTC", "2026-02-02T00:00:00", "2026-02-03T00", "2026-02-09T00", "2026-03-01T00"),
        # Still the day before in New York, where clocks change on 8 March.
        (NEW_YORK, "2026-03-01T04:00:00", "2026-03-01T05", "2026-03-02T05", "2026-03-01T05"),
        (NEW_YORK, "2026-03-08T12:00:00", "2026-03-09T04", "2026-03-09T04", "2026-04-01T04"),
        (AUCKLAND, "2026-06-30T12:00:00", "2026-07-01T12", "2026-07-05T12", "2026-07-31T12"),
    ],
)
def test_periods_end_at_midnight_of_the_tenant(
    zone: str, now: str, daily: str, weekly: str, monthly: str
) -> None:
    tenant = Tenant(timezone=zone)
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    for period, end in (("daily", daily), ("weekly", weekly), ("monthly", monthly)):
        row = VolumeConstraint(tenant=tenant, period=period)
        expected = datetime.fromisoformat(f"{end}:00:00+00:00")
        assert end_of_period(row, instant) == expected, period


def test_filters(client: APIClient, body: dict[str, Any]) -> None:
    right = create(client, CONSTRAINTS, **body, enabled=False)
    create(client, CONSTRAINTS, **body | {"period": "weekly"})
    for name, value in (("period", "daily"), ("enabled", "false")):
        assert client.get(API + CONSTRAINTS, {name: value}).json()["data"] == [right]
    for name in ("scope", "scopeId"):
        assert len(client.get(API + CONSTRAINTS, {name: body[name]}).json()["data"]) == 2
    assert client.get(API + CONSTRAINTS, {"scopeId": "cat_UkLWZg9D"}).json()["data"] == []
    assert client.get(API + CONSTRAINTS, {"enabled": "no"}).status_code == 400
