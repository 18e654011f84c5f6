"""When and how often an offer is given, and who answers for a mandatory one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import Offer
from executor.flow.offer_terms import offered, read_budget
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, change, change_faults, create, faults

DAY = timedelta(days=1)


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    member = factories.MembershipFactory(tenant=tenant, role="admin")
    member.user.username = "ada"
    member.user.save()
    return api_client(tenant, "admin")


def governed(**changes: Any) -> dict[str, Any]:
    expires = (timezone.now() + DAY).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "mandatory": True,
        "mandatoryReason": "Law 12",
        "mandatoryExpiresAt": expires,
        "mandatoryApprovedBy": "ada",
        **changes,
    }


@pytest.mark.parametrize(
    ("schedule", "zone", "starts", "ends"),
    [
        ({}, "UTC", None, None),
        ({"startDate": None}, "UTC", None, None),
        (
            {"startDate": "2026-03-22", "endDate": "2026-03-22"},
            "Europe/Rome",
            datetime(2026, 3, 21, 23, tzinfo=UTC),
            datetime(2026, 3, 22, 23, tzinfo=UTC),
        ),
        (
            {"endDate": "2026-03-29"},  # a day of 23 hours
            "Europe/Rome",
            None,
            datetime(2026, 3, 29, 22, tzinfo=UTC),
        ),
        (
            {"startDate": "2026-03-22T09:00:00+02:00", "endDate": "2026-03-22T09:00:00Z"},
            "America/New_York",
            datetime(2026, 3, 22, 7, tzinfo=UTC),
            datetime(2026, 3, 22, 9, tzinfo=UTC),
        ),
        ({"endDate": "9999-12-31"}, "UTC", None, None),
        ({"startDate": "0001-01-01"}, "Asia/Tokyo", datetime(1, 1, 1, tzinfo=UTC), None),
    ],
)
def test_dates_are_whole_days_of_the_zone(schedule: Any, zone: str, starts: Any, ends: Any) -> None:
    assert offered(schedule, zone) == (starts, ends)


@pytest.mark.parametrize("schedule", [[], {"start": 1}, {"startDate": "soon"}])
def test_a_schedule_that_cannot_be_read_says_so(schedule: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|unknown key"):
        offered(schedule, "UTC")


def test_limits_that_are_not_set_are_left_out() -> None:
    assert read_budget({"maxPerDay": 3, "maxTotal": None}) == {"max_per_day": 3}
    assert read_budget({"maxPerDay": 0}) == read_budget({}) == {}


def test_terms_over_the_api(admin: APIClient) -> None:
    terms = {
        "budget": {"maxPerDay": 5, "maxTotal": 9},
        "schedule": {"startDate": "2026-03-22", "endDate": "2026-03-22T09:00:00.5Z"},
    }
    made = create(admin, "offers", name="A", **terms)
    assert terms.items() <= made.items()
    assert made["mandatory"] is False
    assert made["mandatoryExpiresAt"] is None
    assert change(admin, "offers", made["id"], budget={})["budget"] == {}


MOMENT = 'must be a date as "2026-03-22", or an instant as "2026-03-22T09:00:00Z", got '


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        ({"budget": {"maxPerDay": 0}}, {"budget.maxPerDay": "must be at least 1, got 0"}),
        ({"budget": {"maxPerDay": "1"}}, {"budget.maxPerDay": 'must be a whole number, got "1"'}),
        (
            {"budget": {"maxPerWeek": 1}},
            {"budget.maxPerWeek": "unknown key; allowed here: maxPerDay, maxTotal"},
        ),
        ({"schedule": {"startDate": "22.3.2026"}}, {"schedule.startDate": f'{MOMENT}"22.3.2026"'}),
        (
            {"schedule": {"startDate": "2026-03-22T09:00:00"}},
            {"schedule.startDate": f'{MOMENT}"2026-03-22T09:00:00"'},
        ),
        (
            {"schedule": {"startDate": "2026-03-22", "endDate": "2026-03-21"}},
            {"schedule.endDate": "must be after startDate"},
        ),
    ],
)
def test_faulty_terms(admin: APIClient, terms: Any, wrong: dict[str, str]) -> None:
    expected = {path: [text] for path, text in wrong.items()}
    assert faults(admin, "offers", name="A", **terms) == expected
    assert not Offer.unscoped.exists()


def test_a_mandatory_offer_is_answered_for(admin: APIClient) -> None:
    made = create(admin, "offers", name="A", **governed())
    assert governed().keys() <= made.keys()
    missing = {"mandatoryReason", "mandatoryExpiresAt", "mandatoryApprovedBy"}
    assert faults(admin, "offers", name="B", mandatory=True).keys() == missing
    past = (timezone.now() - DAY).isoformat()
    found = faults(admin, "offers", name="B", **governed(mandatoryExpiresAt=past))
    assert found == {"mandatoryExpiresAt": ["Must be in the future."]}
    assert change_faults(admin, "offers", made["id"], mandatoryReason="").keys() == {
        "mandatoryReason"
    }
    cleared = governed(
        mandatory=False, mandatoryReason="", mandatoryExpiresAt=None, mandatoryApprovedBy=""
    )
    assert cleared.items() <= change(admin, "offers", made["id"], **cleared).items()


def test_who_approves_administers_the_tenant(admin: APIClient, tenant: Tenant) -> None:
    editor = factories.MembershipFactory(tenant=tenant, role="editor").user
    foreign = factories.MembershipFactory(role="admin").user
    left = factories.MembershipFactory(tenant=tenant, role="admin").user
    left.is_active = False
    left.save()
    for user in (editor, foreign, left):
        body = governed(mandatoryApprovedBy=user.username)
        assert faults(admin, "offers", name="A", **body) == {
            "mandatoryApprovedBy": ["Must be the username of an administrator of the tenant."]
        }


def test_only_administrators_make_offers_mandatory(admin: APIClient, tenant: Tenant) -> None:
    editor = api_client(tenant, "editor")
    only = ["Only administrators change this."]
    assert faults(editor, "offers", name="A", mandatory=True) == {"mandatory": only}
    made = create(admin, "offers", name="A", **governed())
    Offer.unscoped.update(mandatory_expires_at=timezone.now() - DAY)  # it has expired meanwhile
    assert change_faults(editor, "offers", made["id"], mandatory=False) == {"mandatory": only}
    same = editor.get(f"/api/v1/offers/{made['id']}").json()
    back = {name: same[name] for name in (*governed(), "priority", "name")} | {"priority": 9}
    assert change(editor, "offers", made["id"], **back)["priority"] == 9
