"""Ranking profiles over the API."""

from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from campaigns.models import RankingProfile
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

API = "/api/v1/ranking-profiles"
WEIGHTS = {"propensity": 0.6, "margin": 1, "fatigue": 0}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def create(client: APIClient, **body: Any) -> Response:
    return client.post(API, {"name": "Balanced", "weights": WEIGHTS, **body}, format="json")


def faults(response: Response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def test_profile_lives(client: APIClient, tenant: Tenant) -> None:
    made = create(client, description="for spring").json()
    assert {name: made[name] for name in made if name not in ("id", "createdAt", "updatedAt")} == {
        "name": "Balanced",
        "key": "balanced",
        "description": "for spring",
        "weights": WEIGHTS,
        "version": 1,
    }
    url = f"{API}/{made['id']}"
    assert client.get(url).json() == made
    assert client.get(API).json()["data"] == [made]
    body = {"weights": {"revenue": 0.5}, "version": 1, "key": "balanced"}
    changed = client.put(url, body, format="json").json()
    assert (changed["weights"], changed["version"]) == ({"revenue": 0.5}, 2)
    assert client.patch(url, body, format="json").status_code == 409
    assert client.delete(url).status_code == 403
    assert api_client(tenant, "admin").delete(url).status_code == 204
    assert client.get(url).status_code == 404


@pytest.mark.parametrize(
    ("weights", "path"),
    [
        ({}, "weights"),
        ({"margin": 0, "revenue": 0.0}, "weights"),
        ({"speed": 1}, "weights.speed"),
        ({"margin": 1.01}, "weights.margin"),
        ({"margin": -0.1}, "weights.margin"),
        ({"margin": "1"}, "weights.margin"),
        ({"margin": True}, "weights.margin"),
        ({"margin": None, "revenue": 1}, "weights.margin"),
        ([], "weights"),
        (None, "weights"),
    ],
)
def test_weights_are_shares_of_known_objectives(client: APIClient, weights, path: str) -> None:
    assert path in faults(create(client, weights=weights))
    assert not RankingProfile.unscoped.exists()
    made = create(client).json()
    found = faults(client.patch(f"{API}/{made['id']}", {"weights": weights}, format="json"))
    assert path in found
    assert client.get(f"{API}/{made['id']}").json() == made


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"key": "a b"}, "key"),
        ({"key": "k" * 101}, "key"),
        ({"description": "d" * 1001}, "description"),
        ({"objectives": {}}, "objectives"),
    ],
)
def test_profile_faults(client: APIClient, body: dict[str, Any], path: str) -> None:
    assert list(faults(create(client, **body))) == [path]


def test_key_is_made_of_the_name(client: APIClient) -> None:
    assert create(client, name="Żółw & Co").json()["key"] == "zow-co"
    assert create(client, name="Żółw & Co!").json()["key"] == "zow-co-2"
    assert create(client, name="均衡").json()["key"] == "ranking-profile"
    assert len(create(client, name="n" * 200).json()["key"]) <= 100


def test_name_and_key_are_there_once(client: APIClient) -> None:
    made = create(client, key="one").json()
    for body in ({"key": "two"}, {"name": "Other", "key": "one"}):
        assert create(client, **body).status_code == 409
    other = create(client, name="Other").json()
    url = f"{API}/{other['id']}"
    assert client.patch(url, {"name": made["name"]}, format="json").status_code == 409
    assert list(faults(client.patch(url, {"key": "three"}, format="json"))) == ["key"]
    assert client.get(url).json() == other


def test_profiles_of_others_are_not_found(tenant: Tenant) -> None:
    foreign = factories.RankingProfileFactory()
    admin = api_client(tenant, "admin")
    url = f"{API}/{foreign.public_id}"
    assert admin.get(API).json()["data"] == []
    for answer in (admin.get(url), admin.patch(url, {}, format="json"), admin.delete(url)):
        assert answer.status_code == 404
    assert create(admin, name=foreign.name, key=foreign.key).status_code == 201


@pytest.mark.parametrize("count", [1, 20])
def test_list(client: APIClient, tenant: Tenant, django_assert_num_queries, count: int) -> None:
    profiles = factories.RankingProfileFactory.create_batch(count, tenant=tenant)
    client.get(API)
    with django_assert_num_queries(3):
        rows = client.get(API).json()["data"]
    assert [row["name"] for row in rows] == sorted(each.name for each in profiles)
    factories.RankingProfileFactory(tenant=tenant, key="a", description="For Spring")
    for query in ({"key": "a"}, {"search": "spring"}, {"ordering": "key", "limit": 1}):
        assert [row["key"] for row in client.get(API, query).json()["data"]] == ["a"]
