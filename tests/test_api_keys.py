"""Credentials: keys, sessions, roles, and the command that makes a key."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from kaireon.access.models import ApiKey, Role, Tenant
from tests.clients import api_client, error
from tests.factories import MembershipFactory, TenantFactory, UserFactory, api_key

URL = "/api/v1/runs"


def get(**headers: str):
    return APIClient().get(URL, headers=headers)


def test_no_credentials_is_401_and_says_how(db: None) -> None:
    response = get()
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="kaireon"'
    assert error(response)["code"] == "unauthenticated"


def test_bearer_and_header_are_equal(tenant: Tenant) -> None:
    text = api_key(tenant, "viewer")
    assert get(authorization=f"Bearer {text}").status_code == 200
    assert get(authorization=f"bearer  {text}").status_code == 200
    assert get(x_api_key=text).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("krn_0123456789ab_" + "x" * 43, id="well formed but unknown"),
        pytest.param("krn_0123456789ab", id="no secret"),
        pytest.param("krn_\0_x", id="nul"),
        pytest.param("krn_é_x", id="not ascii"),
    ],
)
def test_unknown_key_is_401(db: None, text: str) -> None:
    for headers in ({"authorization": f"Bearer {text}"}, {"x_api_key": text}):
        response = get(**headers)
        assert response.status_code == 401
        assert error(response)["message"] == "Unknown API key."


def test_wrong_secret_is_401(tenant: Tenant) -> None:
    text = api_key(tenant)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert get(x_api_key=wrong).status_code == 401


def test_expired_and_revoked_keys_are_401(tenant: Tenant) -> None:
    now = timezone.now()
    _, expired = ApiKey.issue(tenant, name="old", role=Role.ADMIN, expires_at=now)
    _, revoked = ApiKey.issue(tenant, name="gone", role=Role.ADMIN, revoked_at=now)
    _, valid = ApiKey.issue(
        tenant, name="new", role=Role.ADMIN, expires_at=now + timedelta(hours=1)
    )
    assert error(get(x_api_key=expired))["message"] == "This API key has expired."
    assert error(get(x_api_key=revoked))["message"] == "This API key has been revoked."
    assert get(x_api_key=valid).status_code == 200


def test_only_a_hash_is_stored(tenant: Tenant) -> None:
    key, text = ApiKey.issue(tenant, name="a", role=Role.VIEWER)
    secret = text.split("_", 2)[2]
    assert secret not in key.secret_hash
    assert len(key.secret_hash) == 64


def test_last_use_is_written_at_most_once_a_minute(tenant: Tenant) -> None:
    key, text = ApiKey.issue(tenant, name="a", role=Role.VIEWER)
    get(x_api_key=text)
    first = ApiKey.unscoped.get(pk=key.pk).last_used_at
    assert first is not None
    get(x_api_key=text)
    assert ApiKey.unscoped.get(pk=key.pk).last_used_at == first
    long_ago = timezone.now() - timedelta(seconds=61)
    ApiKey.unscoped.filter(pk=key.pk).update(last_used_at=long_ago)
    get(x_api_key=text)
    assert ApiKey.unscoped.get(pk=key.pk).last_used_at > first


@pytest.mark.parametrize(
    ("role", "get_status", "post_status"),
    [("viewer", 200, 403), ("editor", 200, 400), ("admin", 200, 400)],
)
def test_roles(tenant: Tenant, role: str, get_status: int, post_status: int) -> None:
    client = api_client(tenant, role)
    assert client.get(URL).status_code == get_status
    assert client.post(URL, {}, format="json").status_code == post_status


def test_refused_role_is_told_what_it_needs(tenant: Tenant) -> None:
    client = api_client(tenant, "viewer")
    found = error(client.post(URL, {}, format="json"))
    assert found["code"] == "forbidden"
    assert found["message"] == "The role viewer may not do this; it needs editor."
    found = error(client.delete(URL))
    assert found["message"] == "The role viewer may not do this; it needs admin."


def session_client(user, **options) -> APIClient:
    client = APIClient(**options)
    client.force_login(user)
    return client


def test_session_uses_the_membership(tenant: Tenant) -> None:
    user = MembershipFactory(tenant=tenant, role="viewer").user
    client = session_client(user)
    assert client.get(URL).status_code == 200
    assert client.post(URL, {}, format="json").status_code == 403


def test_session_needs_the_csrf_token_to_write(tenant: Tenant) -> None:
    user = MembershipFactory(tenant=tenant, role="editor").user
    client = session_client(user, enforce_csrf_checks=True)
    response = client.post(URL, {}, format="json")
    assert response.status_code == 403
    assert error(response)["message"].startswith("CSRF Failed")
    client.cookies["csrftoken"] = "a" * 32
    response = client.post(URL, {}, format="json", headers={"x-csrftoken": "a" * 32})
    assert response.status_code == 400


def test_session_without_membership_is_403(db: None) -> None:
    response = session_client(UserFactory()).get(URL)
    assert response.status_code == 403
    assert error(response)["message"] == "You are not a member of any tenant."


def test_session_of_several_tenants_names_one(tenant: Tenant) -> None:
    other, foreign = TenantFactory(), TenantFactory()
    user = MembershipFactory(tenant=tenant, role="viewer").user
    MembershipFactory(user=user, tenant=other, role="editor")
    client = session_client(user)
    assert client.get(URL).status_code == 403
    assert client.get(URL, headers={"x-tenant-id": tenant.slug}).status_code == 200
    by_id = {"x-tenant-id": f"ten_{ten_code(other)}"}
    assert client.post(URL, {}, format="json", headers=by_id).status_code == 400
    assert client.get(URL, headers={"x-tenant-id": foreign.slug}).status_code == 403


def ten_code(tenant: Tenant) -> str:
    from kaireon import ids

    return ids.encode("Tenant", tenant.pk).removeprefix("ten_")


def test_key_stands_before_session_and_ignores_the_tenant_header(tenant: Tenant) -> None:
    user = MembershipFactory(role="admin").user
    client = session_client(user)
    headers = {"x-api-key": api_key(tenant, "viewer"), "x-tenant-id": "nonsense"}
    assert client.post(URL, {}, format="json", headers=headers).status_code == 403
    assert client.get(URL, headers=headers).status_code == 200


@pytest.mark.parametrize("wanted", ["", "nonsense", "ten_", "ten_Uk1pLm4z", "a\0b", "é"])
def test_tenant_header_that_names_no_tenant_is_403(tenant: Tenant, wanted: str) -> None:
    client = session_client(MembershipFactory(tenant=tenant, role="admin").user)
    response = client.get(URL, headers={"x-tenant-id": wanted})
    assert response.status_code == 403
    assert error(response)["code"] == "forbidden"


def test_tenant_header_may_name_the_only_tenant(tenant: Tenant) -> None:
    client = session_client(MembershipFactory(tenant=tenant, role="viewer").user)
    for wanted in (tenant.slug, f"ten_{ten_code(tenant)}"):
        assert client.get(URL, headers={"x-tenant-id": wanted}).status_code == 200


def test_session_of_a_user_who_was_shut_out_is_401(tenant: Tenant) -> None:
    user = MembershipFactory(tenant=tenant, role="admin").user
    client = session_client(user)
    user.is_active = False
    user.save()
    assert client.get(URL).status_code == 401


def test_a_key_needs_no_csrf_token(tenant: Tenant) -> None:
    client = session_client(
        MembershipFactory(tenant=tenant, role="editor").user, enforce_csrf_checks=True
    )
    headers = {"x-api-key": api_key(tenant, "editor")}
    assert client.post(URL, {}, format="json", headers=headers).status_code == 400


def make_key(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("create_api_key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_command_prints_the_key_alone(tenant: Tenant) -> None:
    out, err = make_key("--tenant", tenant.slug, "--role", "editor", "--expires-days", "7")
    assert out == out.strip() + "\n"
    assert get(x_api_key=out.strip()).status_code == 200
    assert out.strip() not in err
    key = ApiKey.objects.of(tenant).get()
    assert (key.role, key.name) == ("editor", "command line")
    assert timedelta(days=6) < key.expires_at - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tenant", "nobody", "--role", "viewer"], "There is no tenant 'nobody'"),
        (["--tenant", "acme", "--role", "viewer", "--expires-days", "0"], "--expires-days"),
        (["--tenant", "acme", "--role", "viewer", "--name", ""], "--name"),
        (["--tenant", "acme", "--role", "owner"], "invalid choice"),
    ],
)
def test_command_refuses(db: None, arguments: list[str], message: str) -> None:
    TenantFactory(slug="acme")
    with pytest.raises(CommandError, match=message):
        make_key(*arguments)
    assert not ApiKey.unscoped.exists()


def test_create_tenant(db: None) -> None:
    call_command("create_tenant", "acme", "--timezone", "Europe/Berlin", stdout=StringIO())
    made = Tenant.objects.get()
    assert (made.slug, made.name, made.timezone) == ("acme", "acme", "Europe/Berlin")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acme"], "already exists"),
        (["not a slug"], "slug"),
        (["new", "--timezone", "Mars/Olympus"], "IANA"),
        (["new", "--name", "x" * 256], "name"),
    ],
)
def test_create_tenant_refuses(db: None, arguments: list[str], message: str) -> None:
    TenantFactory(slug="acme")
    with pytest.raises(CommandError, match=message):
        call_command("create_tenant", *arguments)
    assert Tenant.objects.count() == 1
