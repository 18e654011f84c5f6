"""The history of a row: it says who changed it, and never names somebody else."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient
from simple_history.models import HistoricalRecords

from campaigns.models import Category, Offer, Segment
from kaireon.access.history import caller
from kaireon.access.models import ApiKey, Membership, Tenant
from tests import factories
from tests.clients import api_client
from tests.signed_in import page, signed_in, superuser

URL = "/api/v1/offers"


def changers(model: type) -> list[tuple[str, str]]:
    """Every change of the model's rows, oldest first, and who made it."""
    rows = model.history.order_by("history_id")
    return list(rows.values_list("history_type", "changed_by"))


def make_offer(client: APIClient, name: str, **options: object) -> None:
    assert client.post(URL, {"name": name}, format="json", **options).status_code == 201


def test_an_api_key_is_named(tenant: Tenant) -> None:
    make_offer(api_client(tenant), "Gold Card")
    assert changers(Offer) == [("+", "API key test")]
    assert Offer.history.get().history_user is None


def test_a_signed_in_user_of_the_api_is_named(tenant: Tenant) -> None:
    user = factories.MembershipFactory(tenant=tenant, role="editor").user
    client = APIClient()
    client.force_login(user)
    make_offer(client, "Gold Card")
    assert changers(Offer) == [("+", f"user {user.username}")]
    assert Offer.history.get().history_user == user


def test_a_key_stands_before_the_session(tenant: Tenant) -> None:
    client = APIClient()
    client.force_login(factories.MembershipFactory(tenant=tenant, role="editor").user)
    make_offer(client, "Gold Card", headers={"x-api-key": factories.api_key(tenant)})
    assert changers(Offer) == [("+", "API key test")]
    assert Offer.history.get().history_user is None


def test_a_user_of_the_admin_site_is_named(tenant: Tenant) -> None:
    user = factories.MembershipFactory(tenant=tenant, role="editor").user
    data = {"name": "Cards", "color": "blue", "status": "active", "ordinal": 0}
    signed_in(user).post(page("category", "add"), data)
    assert changers(Category) == [("+", f"user {user.username}")]


def test_the_command_line_is_nobody(db: None) -> None:
    call_command("create_tenant", "acme", stdout=StringIO())
    arguments = ("--tenant", "acme", "--role", "admin")
    call_command("create_api_key", *arguments, stdout=StringIO(), stderr=StringIO())
    assert changers(Tenant) == changers(ApiKey) == [("+", "")]


def test_a_long_name_is_cut_not_refused(tenant: Tenant) -> None:
    user = factories.UserFactory(username="x" * 150)
    factories.MembershipFactory(user=user, tenant=tenant, role="editor")
    client = APIClient()
    client.force_login(user)
    make_offer(client, "Gold Card")
    assert changers(Offer) == [("+", f"user {'x' * 150}")]


def test_the_next_request_of_a_thread_does_not_inherit_the_caller(tenant: Tenant) -> None:
    make_offer(api_client(tenant), "Gold Card")
    assert not hasattr(HistoricalRecords.context, "request")
    ApiKey.issue(tenant, name="other", role="editor")
    Client().get("/health/live")
    assert caller() == ""
    assert changers(ApiKey)[-1] == ("+", "")
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=ApiKey.issue(tenant, name="second", role="editor")[1])
    make_offer(client, "Silver Card")
    assert changers(Offer) == [("+", "API key test"), ("+", "API key second")]


def test_a_request_that_breaks_leaves_no_caller_behind(tenant: Tenant) -> None:
    client = api_client(tenant)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE campaigns_offer ADD CHECK (name <> 'Gold Card')")
    client.raise_request_exception = False
    assert client.post(URL, {"name": "Gold Card"}, format="json").status_code == 500
    assert caller() == ""
    assert not Offer.history.exists()


def test_work_outside_of_requests_is_nobody(tenant: Tenant) -> None:
    make_offer(api_client(tenant), "Gold Card")
    with ThreadPoolExecutor(1) as pool:  # as a worker of Celery, which has no request at all
        assert pool.submit(caller).result() == ""
    segment = factories.SegmentFactory(tenant=tenant)
    segment.save()
    assert changers(Segment) == [("+", ""), ("~", "")]


@pytest.mark.parametrize("through", ["action", "page"])
def test_revoking_a_key_at_the_admin_site_is_kept(tenant: Tenant, through: str) -> None:
    user = factories.MembershipFactory(tenant=tenant, role="admin").user
    key, _ = ApiKey.issue(tenant, name="robot", role="viewer")
    client = signed_in(user)
    for _ in range(2):
        if through == "page":
            client.post(page("apikey", "revoke", key.pk))
        else:
            data = {"action": "revoke_selected", "_selected_action": [key.pk]}
            client.post(page("apikey", "changelist"), data)
    key.refresh_from_db()
    assert changers(ApiKey) == [("+", ""), ("~", f"user {user.username}")]
    assert ApiKey.history.latest().revoked_at == key.revoked_at is not None


def test_deleting_a_user_keeps_that_the_membership_went(tenant: Tenant) -> None:
    user = factories.MembershipFactory(tenant=tenant, role="editor").user
    root = superuser()
    root.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    assert not Membership.objects.exists()
    assert [kind for kind, _ in changers(Membership)] == ["+", "-"]
    assert changers(Membership)[-1][1].startswith("user ")


def test_secrets_are_not_in_the_history(tenant: Tenant) -> None:
    key, _ = ApiKey.issue(tenant, name="robot", role="viewer")
    kept = str(ApiKey.history.values().get())
    assert key.secret_hash not in kept
    assert tenant.salt not in str(Tenant.history.values())
