"""Idempotency-Key: a request that is sent again is answered again, and done once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, Category, FlowVersion, IdempotentRequest
from kaireon.access.models import ApiKey, Tenant
from tests import factories
from tests.clients import api_client, error
from tests.processes import wait_until

URL = "/api/v1/categories"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def post(client: APIClient, body: object, key: str = "order-1", path: str = URL):
    return client.post(path, body, format="json", headers={"idempotency-key": key})


def test_the_same_request_is_answered_the_same_and_done_once(client: APIClient) -> None:
    first = post(client, {"name": "Cards", "ordinal": 1})
    again = post(client, {"ordinal": 1, "name": "Cards"})
    assert (first.status_code, "Idempotency-Replayed" in first) == (201, False)
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json() == first.json()
    assert Category.unscoped.count() == 1


def test_a_trigger_makes_one_run(tenant: Tenant, client: APIClient) -> None:
    campaign = runnable(tenant)
    path = f"/api/v1/runs/{campaign.public_id}/campaign-runs"
    first, again = post(client, {}, path=path), post(client, {}, path=path)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert CampaignRun.objects.of(tenant).count() == 1
    assert post(client, {}, key="order-2", path=path).status_code == 201
    assert CampaignRun.objects.of(tenant).count() == 2


def runnable(tenant: Tenant) -> Campaign:
    campaign: Campaign = factories.CampaignFactory(tenant=tenant, flow__status="active")
    FlowVersion.objects.create(flow=campaign.flow, version=1, config={})
    with connection.cursor() as cursor:
        view = campaign.segment.view_name
        cursor.execute(f"CREATE VIEW segments.{view} AS SELECT 1 AS customer_id")
    return campaign


def test_without_the_header_everything_is_done_again(client: APIClient) -> None:
    assert client.post(URL, {"name": "Cards"}, format="json").status_code == 201
    assert client.post(URL, {"name": "Cards"}, format="json").status_code == 409


def test_another_body_or_address_is_a_conflict(client: APIClient) -> None:
    post(client, {"name": "Cards"})
    for response in (
        post(client, {"name": "Loans"}),
        post(client, {"name": "Cards"}, path="/api/v1/offers"),
    ):
        assert response.status_code == 409
        assert error(response)["message"] == "This Idempotency-Key was used for another request."
    assert Category.unscoped.count() == 1


def test_another_caller_is_a_conflict(tenant: Tenant, client: APIClient) -> None:
    post(client, {"name": "Cards"})
    assert post(api_client(tenant), {"name": "Cards"}).status_code == 409
    signed_in = APIClient()
    signed_in.force_login(factories.MembershipFactory(tenant=tenant, role="editor").user)
    assert post(signed_in, {"name": "Cards"}).status_code == 409
    assert Category.unscoped.count() == 1


def test_another_tenant_has_keys_of_its_own(client: APIClient) -> None:
    post(client, {"name": "Cards"})
    response = post(api_client(factories.TenantFactory()), {"name": "Cards"})
    assert (response.status_code, "Idempotency-Replayed" in response) == (201, False)
    assert Category.unscoped.count() == 2


def test_a_refusal_is_not_kept(tenant: Tenant, client: APIClient) -> None:
    assert post(client, {"name": ""}).status_code == 400
    assert post(api_client(tenant, "viewer"), {"name": "Cards"}).status_code == 403
    assert not IdempotentRequest.objects.of(tenant).exists()
    assert post(client, {"name": "Cards"}).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused(client: APIClient, key: str) -> None:
    response = post(client, {"name": "Cards"}, key=key)
    assert response.status_code == 400
    assert error(response)["fields"] == {
        "Idempotency-Key": ["Must have 1 to 255 printable ASCII characters."]
    }
    assert not Category.unscoped.exists()


def test_keys_are_kept_for_a_day(tenant: Tenant, client: APIClient) -> None:
    post(client, {"name": "Cards"})
    kept = IdempotentRequest.objects.of(tenant)
    kept.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert post(client, {"name": "Cards"}).status_code == 201
    kept.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert post(client, {"name": "Cards"}).status_code == 409  # done again, and there is one
    assert post(client, {"name": "Loans"}).status_code == 201
    assert kept.count() == 1


def test_what_is_done_and_what_is_kept_fail_together(client: APIClient) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE campaigns_idempotentrequest ADD CHECK (status <> 201)")
    client.raise_request_exception = False
    assert post(client, {"name": "Cards"}).status_code == 500
    assert not Category.unscoped.exists()
    assert not IdempotentRequest.unscoped.exists()


@pytest.mark.parametrize("path", ["schemas/sch_x", "audit-log", "openapi.json"])
def test_the_header_changes_nothing_where_there_is_no_post(tenant: Tenant, path: str) -> None:
    response = post(api_client(tenant, "admin"), {}, path=f"/api/v1/{path}")
    assert response.status_code == 405


def test_an_api_key_is_made_once_but_never_shown_again(tenant: Tenant) -> None:
    client, path = api_client(tenant, "admin"), "/api/v1/api-keys"
    first = post(client, {"name": "robot"}, path=path)
    assert first.status_code == 201
    again = post(client, {"name": "robot"}, path=path)
    assert (again.status_code, again["Idempotency-Replayed"]) == (409, "true")
    public_id = first.json()["id"]
    assert error(again)["message"] == (
        f"This request has made the key {public_id}, which is not shown again."
    )
    secret = first.json()["key"].rpartition("_")[2]
    assert secret not in json.dumps(list(IdempotentRequest.unscoped.values("body")))
    assert ApiKey.objects.of(tenant).filter(name="robot").count() == 1


@pytest.mark.django_db(transaction=True)
def test_equal_requests_at_the_same_time_are_done_once() -> None:
    tenant = factories.TenantFactory()
    key, together = factories.api_key(tenant), Barrier(2)

    def send(_: int):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        together.wait()
        try:
            response = post(client, {"name": "Cards"})
            return response.status_code, response.json(), "Idempotency-Replayed" in response
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            # Hold both where they wait for each other, so that neither is just late.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('order-1', %s))", [tenant.pk]
            )
            answers = pool.map(send, range(2))
            wait_until(lambda: waiting() == 2)
        (status, body, replayed), (other_status, other_body, other_replayed) = answers
    assert (status, other_status) == (201, 201)
    assert body == other_body
    assert sorted((replayed, other_replayed)) == [False, True]
    assert Category.objects.of(tenant).count() == 1


def waiting() -> int:
    """How many connections wait for an advisory lock of this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return int(cursor.fetchone()[0])
