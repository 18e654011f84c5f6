"""Interactions over the API: many at once, all or none, and read back newest first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import Creative, Interaction
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, error

INTERACTIONS = API + "interactions"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def creative(tenant: Tenant) -> Creative:
    return factories.CreativeFactory(tenant=tenant)


def item(creative: Creative, **fields: Any) -> dict[str, Any]:
    required = {"customerId": "c1", "interactionType": "impression"}
    return {**required, "offerId": creative.offer.public_id, **fields}


def insert(client: APIClient, *items: dict[str, Any], **headers: str) -> Any:
    return client.post(INTERACTIONS, {"interactions": items}, format="json", headers=headers)


def faults(client: APIClient, *items: dict[str, Any]) -> dict[str, list[str]]:
    response = insert(client, *items)
    assert response.status_code == 400, response.content
    assert not Interaction.objects.exists()
    return error(response)["fields"]


def listed(client: APIClient, **query: Any) -> list[dict[str, Any]]:
    return client.get(INTERACTIONS, query).json()["data"]


def test_inserted_and_read_back(client: APIClient, tenant: Tenant, creative: Creative) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    full = item(
        creative,
        customerId=" c 1\t\\N ü",
        outcome="accept",
        direction="inbound",
        channelId=creative.channel.public_id,
        creativeId=creative.public_id,
        campaignId=campaign.public_id,
        at="2026-03-22T10:00:00.123+01:00",
        context={"page": {"camelCase": [1, None, 'a\t"b"\\']}},
    )
    before = timezone.now()
    response = insert(client, full, item(creative))
    assert (response.status_code, response.json()) == (201, {"inserted": 2})
    newest, oldest = listed(client)
    assert oldest.pop("id").startswith("int_")
    assert oldest == {**full, "at": "2026-03-22T09:00:00.123Z"}
    assert before - timedelta(seconds=1) < datetime.fromisoformat(newest.pop("at")) < timezone.now()
    assert newest.pop("id").startswith("int_")
    assert newest == {
        **item(creative),
        "outcome": "",
        "direction": "outbound",
        "channelId": None,
        "creativeId": None,
        "campaignId": None,
        "context": {},
    }


def test_every_month_has_a_partition(client: APIClient, creative: Creative) -> None:
    times = ["2024-02-29T23:59:59.999Z", "2024-03-01T00:00:00Z", "2024-12-31T23:59:59Z"]
    for _ in range(2):
        assert insert(client, *(item(creative, at=at) for at in times)).status_code == 201
    with connection.cursor() as cursor:
        for month, count in (("2024m02", 2), ("2024m03", 2), ("2024m12", 2)):
            cursor.execute(f"SELECT count(*) FROM campaigns_interaction_y{month}")
            assert cursor.fetchone() == (count,)


def test_faults_say_where(client: APIClient, tenant: Tenant, creative: Creative) -> None:
    good = item(creative)
    assert set(
        faults(
            client,
            good,
            {},
            item(creative, customerId="", direction="sideways", context=[], colour=1),
            item(creative, at="yesterday", offerId="off_nothing", outcome="x" * 51),
        )
    ) == {
        "interactions[1].customerId",
        "interactions[1].interactionType",
        "interactions[1].offerId",
        "interactions[2].customerId",
        "interactions[2].direction",
        "interactions[2].context",
        "interactions[2].colour",
        "interactions[3].at",
        "interactions[3].offerId",
        "interactions[3].outcome",
    }
    assert list(faults(client, good, item(creative, customerId="x" * 256))) == [
        "interactions[1].customerId"
    ]
    late, old = timezone.now() + timedelta(minutes=6), timezone.now() - timedelta(days=3660)
    assert faults(client, good, item(creative, at=late), item(creative, at=old)) == {
        "interactions[1].at": ["Is in the future."],
        "interactions[2].at": ["Is more than ten years ago."],
    }


def test_a_clock_may_be_a_little_ahead(client: APIClient, creative: Creative) -> None:
    soon = timezone.now() + timedelta(minutes=4)
    assert insert(client, item(creative, at=soon)).status_code == 201


def test_ids_are_of_the_tenant(client: APIClient, creative: Creative) -> None:
    foreign = factories.CreativeFactory()
    campaign = factories.CampaignFactory()
    wrong = item(
        foreign,
        channelId=foreign.channel.public_id,
        creativeId=foreign.public_id,
        campaignId=campaign.public_id,
    )
    found = faults(client, item(creative), wrong)
    assert found == {
        f"interactions[1].{noun}Id": [
            f"There is no {noun} with this id; ids of this kind begin with {prefix}_."
        ]
        for noun, prefix in (
            ("offer", "off"),
            ("channel", "ch"),
            ("creative", "cre"),
            ("campaign", "camp"),
        )
    }


def test_a_creative_is_of_the_offer_and_channel(client: APIClient, creative: Creative) -> None:
    other = factories.CreativeFactory(tenant=creative.tenant)
    assert faults(
        client,
        item(creative, creativeId=other.public_id),
        item(creative, creativeId=creative.public_id, channelId=other.channel.public_id),
    ) == {
        "interactions[0].creativeId": ["Must be a creative of offerId."],
        "interactions[1].creativeId": ["Must be a creative of channelId."],
    }


@pytest.mark.parametrize("count", [0, 1001])
def test_1_to_1000_at_once(client: APIClient, creative: Creative, count: int) -> None:
    assert list(faults(client, *[item(creative)] * count)) == ["interactions"]


def test_a_thousand_cost_no_more_queries_than_two(
    client: APIClient, creative: Creative, django_assert_num_queries
) -> None:
    full = item(creative, creativeId=creative.public_id, channelId=creative.channel.public_id)
    insert(client, full)
    for count in (2, 1000):
        with django_assert_num_queries(8):
            assert insert(client, *[full] * count).json() == {"inserted": count}


def test_sent_twice_stored_once(client: APIClient, creative: Creative) -> None:
    for _ in range(2):
        response = insert(
            client, item(creative, at="2026-01-01T00:00:00Z"), **{"Idempotency-Key": "a"}
        )
        assert (response.status_code, response.json()) == (201, {"inserted": 1})
    assert Interaction.objects.count() == 1


def test_newest_first_in_pages(client: APIClient, creative: Creative) -> None:
    start = datetime(2026, 1, 30, tzinfo=UTC)
    times = [start + timedelta(days=n // 2) for n in range(7)]
    insert(
        client, *(item(creative, at=at.isoformat(), outcome=str(n)) for n, at in enumerate(times))
    )
    for ordering, expected in ((None, "6543210"), ("at", "0123456"), ("-at", "6543210")):
        query: dict[str, Any] = {"limit": 3, **({"ordering": ordering} if ordering else {})}
        seen = ""
        while query:
            page = client.get(INTERACTIONS, query).json()
            assert page["pagination"]["total"] == 7
            seen += "".join(row["outcome"] for row in page["data"])
            cursor = page["pagination"]["nextCursor"]
            query = {**query, "cursor": cursor} if cursor else {}
        assert seen == expected


def test_filters(client: APIClient, tenant: Tenant, creative: Creative) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    right = {
        "customerId": "c2",
        "interactionType": "response",
        "outcome": "accept",
        "direction": "inbound",
        "channelId": creative.channel.public_id,
        "creativeId": creative.public_id,
        "campaignId": campaign.public_id,
    }
    other = factories.OfferFactory(tenant=tenant)
    insert(client, item(creative, offerId=other.public_id, outcome="reject"))
    insert(client, item(creative, **right))
    for name, value in {**right, "offerId": creative.offer.public_id}.items():
        rows = listed(client, **{name: value})
        assert [row["customerId"] for row in rows] == ["c2"], name


def test_from_is_included_and_to_is_not(client: APIClient, creative: Creative) -> None:
    days = [f"2026-01-0{n}T00:00:00.000Z" for n in (1, 2, 3)]
    insert(client, *(item(creative, at=at) for at in days))
    found = listed(client, **{"from": days[1], "to": days[2]})
    assert [row["at"] for row in found] == [days[1]]
    far = {"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}
    assert len(listed(client, **far)) == 3
    far = {"from": "0522-11-23T16:18:11-23:36", "to": "2026-01-03T00:00:00+23:59"}
    assert [row["at"] for row in listed(client, **far)] == [days[1], days[0]]


@pytest.mark.parametrize(
    "query",
    [
        {"from": "x"},
        {"to": ""},
        {"customerId": ""},
        {"customerId": "a\0b"},
        {"offerId": "cre_UkLWZg9D"},
        {"direction": "up"},
        {"ordering": "name"},
        {"search": "x"},
        {"cursor": "x"},
    ],
)
def test_a_query_that_makes_no_sense(client: APIClient, query: dict[str, str]) -> None:
    response = client.get(INTERACTIONS, query)
    assert response.status_code == 400
    assert list(error(response)["fields"]) == list(query)


def test_each_tenant_sees_its_own(client: APIClient, creative: Creative) -> None:
    insert(client, item(creative))
    stranger = api_client(factories.TenantFactory())
    assert listed(stranger) == []
    assert listed(stranger, offerId=creative.offer.public_id) == []
    assert len(listed(client)) == 1


@pytest.mark.parametrize("count", [1, 20])
def test_a_list_takes_the_same_queries_for_any_number(
    client: APIClient, creative: Creative, django_assert_num_queries, count: int
) -> None:
    insert(client, *[item(creative, creativeId=creative.public_id)] * count)
    with django_assert_num_queries(3):
        assert len(listed(client)) == count


def test_viewers_read_only(tenant: Tenant, creative: Creative) -> None:
    viewer = api_client(tenant, "viewer")
    assert insert(viewer, item(creative)).status_code == 403
    assert viewer.get(INTERACTIONS).status_code == 200
