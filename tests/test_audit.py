"""The audit log: what happened to every row with a history, told once, newest first."""

from base64 import urlsafe_b64encode
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import ContactPolicy, Offer
from campaigns.services.audit import kinds
from kaireon import ids
from kaireon.access.models import ApiKey, Membership, Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/audit-log"
OFFERS = "/api/v1/offers"


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def log(client: APIClient, **params: object) -> list[dict]:
    response = client.get(URL, params)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def test_a_row_from_its_beginning_to_its_end(tenant: Tenant, admin: APIClient) -> None:
    offer = admin.post(OFFERS, {"name": "Gold Card", "priority": 10}, format="json").json()
    path = f"{OFFERS}/{offer['id']}"
    row = Offer.objects.of(tenant).get()
    row.name, row.business_value, row.version = "Gold Card Plus", 70, 2
    row.save()
    row.delete()
    assert admin.get(path).status_code == 404
    deleted, updated, created = log(admin, entityType="offer")
    assert created.keys() == {
        "id",
        "at",
        "action",
        "entityType",
        "entityId",
        "entityName",
        "changedBy",
        "reason",
        "before",
        "after",
        "version",
    }
    assert [one["action"] for one in (created, updated, deleted)] == ["create", "update", "delete"]
    assert {one["entityId"] for one in (created, updated, deleted)} == {offer["id"]}
    assert [one["changedBy"] for one in (created, updated, deleted)] == ["API key test", "", ""]
    assert [one["version"] for one in (created, updated, deleted)] == [1, 2, 2]
    assert (created["entityName"], updated["entityName"]) == ("Gold Card", "Gold Card Plus")
    assert (created["before"], deleted["after"]) == (None, None)
    assert (created["after"]["priority"], created["after"]["categoryId"]) == (10, None)
    assert updated["before"] == {"name": "Gold Card", "businessValue": 50.0}
    assert updated["after"] == {"name": "Gold Card Plus", "businessValue": 70.0}
    assert deleted["before"] == {**created["after"], **updated["after"]}


def test_references_are_public_ids(tenant: Tenant, admin: APIClient) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    offer = factories.OfferFactory(tenant=tenant)
    ContactPolicy.unscoped.create(
        tenant=tenant, name="Rest", rule_type="cooldown", scope="offer", scope_key=offer.pk
    )
    member = factories.MembershipFactory(tenant=tenant)
    after = log(admin, entityType="campaign")[0]["after"]
    assert after["decisionFlowId"] == campaign.flow.public_id
    assert after["segmentId"] == campaign.segment.public_id
    assert log(admin, entityType="contact_policy")[0]["after"]["scopeId"] == offer.public_id
    made = log(admin, entityType="membership")[0]
    assert made["after"] == {"user": member.user.username, "role": "viewer"}
    assert (made["entityId"], made["entityName"]) == (member.public_id, member.user.username)


def test_channels_of_a_campaign(tenant: Tenant, admin: APIClient) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    first, second = (factories.ChannelFactory(tenant=tenant) for _ in range(2))
    campaign.channels.set([first, second])
    campaign.channels.set([second])
    public_id = campaign.public_id
    campaign.delete()
    deleted, removed, added, created = log(admin, entityId=public_id)
    assert created["after"]["channelIds"] == []
    assert added["before"] == {"channelIds": []}
    assert added["after"] == {"channelIds": [first.public_id, second.public_id]}
    assert removed["before"] == added["after"]
    assert removed["after"] == {"channelIds": [second.public_id]}
    assert deleted["before"]["channelIds"] == [second.public_id]


def test_keys_are_logged_without_their_secret(tenant: Tenant, admin: APIClient) -> None:
    made = admin.post("/api/v1/api-keys", {"name": "robot"}, format="json").json()
    admin.delete(f"/api/v1/api-keys/{made['id']}", {"reason": "lost"}, format="json")
    revoked, created = log(admin, entityId=made["id"])
    assert (created["entityName"], created["changedBy"]) == ("robot", "API key test")
    assert created["after"].keys() == {"name", "role", "publicPart", "expiresAt", "revokedAt"}
    assert (revoked["reason"], list(revoked["after"])) == ("lost", ["revokedAt"])
    assert revoked["after"]["revokedAt"].endswith("Z")
    key = ApiKey.objects.of(tenant).get(name="robot")
    shown = admin.get(URL).content.decode()
    assert made["key"].rpartition("_")[2] not in shown
    assert key.secret_hash not in shown
    assert tenant.salt not in shown


def test_a_history_that_began_late_does_not_invent_what_was_before(
    tenant: Tenant, admin: APIClient
) -> None:
    offer = factories.OfferFactory(tenant=tenant)
    Offer.history.all().delete()
    offer.save()
    (updated,) = log(admin, entityType="offer")
    assert (updated["action"], updated["before"]) == ("update", None)
    assert updated["after"]["name"] == offer.name


def test_every_kind_is_there(tenant: Tenant, admin: APIClient) -> None:
    factories.CampaignFactory(tenant=tenant)
    creative = factories.CreativeFactory(tenant=tenant)
    category = factories.CategoryFactory(tenant=tenant)
    owned = {"tenant": tenant, "name": "x"}
    for model, fields in (
        ("SubCategory", {"category": category}),
        ("Placement", {"channel": creative.channel, "key": "top"}),
        ("ContactPolicy", {"scope": "global", "rule_type": "cooldown"}),
        ("RankingProfile", {"key": "x", "weights": {"propensity": 1}}),
        ("AlgorithmModel", {"key": "x", "model_type": "scorecard"}),
        (
            "VolumeConstraint",
            {
                "scope": "offer",
                "scope_key": creative.offer.pk,
                "max_volume": 1,
                "period": "daily",
                "reset_at": timezone.now(),
            },
        ),
    ):
        getattr(factories.models, model).unscoped.create(**owned, **fields)
    factories.RuleFactory(tenant=tenant)
    factories.SchemaJoinFactory(tenant=tenant)
    factories.MembershipFactory(tenant=tenant)
    rows = log(admin, limit=200)
    assert {row["entityType"] for row in rows} == set(kinds())
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        name = kinds()[row["entityType"]].__name__
        assert ids.decode(name, row["entityId"]) is not None, row
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)


def test_filters(tenant: Tenant, admin: APIClient) -> None:
    first = admin.post(OFFERS, {"name": "Gold Card"}, format="json").json()["id"]
    second = admin.post(OFFERS, {"name": "Silver Card"}, format="json").json()["id"]
    Offer.objects.of(tenant).get(name="Gold Card").delete()
    found = [one["entityId"] for one in log(admin, entityType="offer")]
    assert found == [first, second, first]
    assert [one["action"] for one in log(admin, entityId=first)] == ["delete", "create"]
    assert [one["entityId"] for one in log(admin, entityType="offer", action="delete")] == [first]
    by_key = log(admin, changedBy="API key test")
    assert [one["entityId"] for one in by_key] == [second, first]
    assert log(admin, entityType="campaign") == []
    assert log(admin, changedBy="nobody") == []
    soon = (timezone.now() + timedelta(minutes=1)).isoformat()
    assert log(admin, **{"from": soon}) == []
    assert len(log(admin, to=soon)) == len(log(admin)) == 5
    oldest = log(admin)[-1]
    Tenant.history.update(history_date=timezone.now() - timedelta(days=3))
    day = timezone.now() - timedelta(days=2)
    (old,) = log(admin, to=day.date().isoformat())
    assert (oldest["entityType"], old["entityType"]) == ("tenant", "tenant")
    assert len(log(admin, **{"from": day.isoformat()})) == 4


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"entityType": "flow"}, "entityType"),
        ({"entityId": "off_"}, "entityId"),
        ({"entityId": "crun_Uk1pLm4z"}, "entityId"),
        ({"entityType": "offer", "entityId": ids.encode("Campaign", 1)}, "entityId"),
        ({"action": "restore"}, "action"),
        ({"from": "yesterday"}, "from"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "to"),
        ({"changedBy": "a\0b"}, "changedBy"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": urlsafe_b64encode(b"[" * 5000).decode()}, "cursor"),
        ({"cursor": urlsafe_b64encode(b'["2026-01-01T00:00:00", "offer", 1]').decode()}, "cursor"),
        ({"cursor": urlsafe_b64encode(b'["2026-01-01T00:00:00Z", [], 1]').decode()}, "cursor"),
        ({"page": "2"}, "page"),
        ({"ordering": "at"}, "ordering"),
    ],
)
def test_impossible_parameters_are_named(admin: APIClient, params: dict, field: str) -> None:
    response = admin.get(URL, params)
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [field]


def test_pages_hold_every_change_once_even_at_the_same_time(
    tenant: Tenant, admin: APIClient
) -> None:
    for _ in range(4):
        factories.CreativeFactory(tenant=tenant)
    moment = timezone.now()
    for kind in ("creative", "offer", "channel"):
        kinds()[kind].history.update(history_date=moment)
    whole = [row["id"] for row in log(admin, limit=200)]
    assert len(whole) == 14
    paged, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        found = admin.get(URL, query).json()
        paged += [row["id"] for row in found["data"]]
        pagination = found["pagination"]
        assert (pagination["total"], pagination["limit"]) == (14, 3)
        cursor = pagination["nextCursor"]
        assert pagination["hasMore"] == (cursor is not None)
        if cursor is None:
            break
        factories.OfferFactory(tenant=tenant)  # what comes new stands before, not between
        Offer.history.latest().delete()
    assert paged == whole


def test_other_tenants_are_not_in_it(tenant: Tenant, admin: APIClient) -> None:
    foreign = factories.CreativeFactory()
    factories.MembershipFactory(tenant=foreign.tenant)
    ApiKey.issue(foreign.tenant, name="foreign", role="admin")
    assert {row["entityType"] for row in log(admin)} == {"tenant", "api_key"}
    (own,) = log(admin, entityType="tenant")
    assert own["entityId"] == ids.encode("Tenant", tenant.pk)
    assert log(admin, entityId=foreign.public_id) == []
    assert log(admin, entityId=ids.encode("Tenant", foreign.tenant.pk)) == []


@pytest.mark.parametrize("path", ["audit-log", "audit-logs"])
def test_only_admins_read_and_nobody_writes(tenant: Tenant, path: str) -> None:
    url = f"/api/v1/{path}"
    for role, status in (("viewer", 403), ("editor", 403), ("admin", 200)):
        assert api_client(tenant, role).get(url).status_code == status
    for method in ("post", "put", "patch", "delete"):
        response = getattr(api_client(tenant, "admin"), method)(url, {}, format="json")
        assert response.status_code == 405
        assert error(response)["code"] == "method_not_allowed"


def test_queries_do_not_grow_with_the_changes(tenant: Tenant, admin: APIClient) -> None:
    def add(count: int) -> None:
        for _ in range(count):
            campaign = factories.CampaignFactory(tenant=tenant)
            campaign.channels.set([factories.ChannelFactory(tenant=tenant)])
            campaign.save()
            factories.MembershipFactory(tenant=tenant)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            log(admin, limit=200)
        return len(captured)

    assert queries() > 0  # the first also notes that the key is used
    add(1)
    few = queries()
    add(9)
    assert len(log(admin, limit=200)) > 70
    assert queries() == few


def test_a_member_whose_user_is_gone(tenant: Tenant, admin: APIClient) -> None:
    factories.MembershipFactory(tenant=tenant).user.delete()
    assert not Membership.objects.exists()
    deleted, created = log(admin, entityType="membership")
    assert (deleted["action"], deleted["entityName"]) == ("delete", "")
    assert created["after"] == {"user": None, "role": "viewer"}
