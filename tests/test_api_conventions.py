"""What every address of the API has in common: its refusals, and who gets past them."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.api.errors import CODES
from campaigns.api.urls import urlpatterns
from kaireon.access.models import ApiKey, Role, Tenant
from tests import factories
from tests.clients import api_client, error

METHODS = ("get", "post", "put", "patch", "delete")
NOWHERE = "x_Uk1pLm4z"


def addresses() -> Iterator[tuple[str, dict[str, str]]]:
    """Every address of the API with an unknown id, and the actions behind its methods."""
    for route in urlpatterns:
        assert isinstance(route, URLPattern)
        actions = getattr(route.callback, "actions", None)
        if actions:
            path = "/api/v1/" + str(route.pattern).replace("<int:number>", "1")
            for name in ("id", "file"):
                path = path.replace(f"<str:{name}>", NOWHERE)
            yield path, dict(actions)


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def send(client: APIClient, method: str, path: str):
    return getattr(client, method)(path, {}, format="json")


def raw(client: APIClient, method: str, path: str, **options: Any):
    return client.generic(method.upper(), path, **options)


def refused(response: Any, *statuses: int) -> bool:
    """Whether it is a refusal of one of the statuses, in the one shape that refusals have."""
    return response.status_code in statuses and (
        error(response)["code"] == CODES[response.status_code]
    )


EVERY = [pytest.param(path, actions, id=path) for path, actions in addresses()]


@pytest.mark.parametrize(("path", "actions"), EVERY)
def test_other_methods_are_405(admin: APIClient, path: str, actions: dict[str, str]) -> None:
    for method in METHODS:
        if method not in actions:
            response = send(admin, method, path)
            assert refused(response, 405), (method, response.content)
            allowed = set(response["Allow"].lower().split(", ")) - {"head", "options"}
            assert allowed == set(actions) - {"head"}
    assert refused(raw(admin, "trace", path), 405)
    assert admin.options(path).status_code == 204


@pytest.mark.parametrize(("path", "actions"), EVERY)
def test_unreadable_requests_are_refused(
    admin: APIClient, path: str, actions: dict[str, str]
) -> None:
    missing = (404,) if NOWHERE in path else ()
    for method in set(actions) & {"post", "put", "patch"}:
        strange = raw(admin, method, path, data=b"x", content_type="application/x-nonsense")
        assert refused(strange, 415, *missing), (method, strange.content)
        broken = raw(admin, method, path, data=b"{", content_type="application/json")
        assert refused(broken, 400, *missing, 415), (method, broken.content)
        for body in (b"[]", b"null", b'"x"', b"1"):
            odd = raw(admin, method, path, data=body, content_type="application/json")
            assert refused(odd, 400, *missing, 415), (method, body, odd.content)


@pytest.mark.parametrize(("path", "actions"), EVERY)
def test_what_nobody_asked_for_is_refused(
    admin: APIClient, path: str, actions: dict[str, str]
) -> None:
    for method in actions:
        assert refused(send(admin, method, f"{path}?nonsense=1"), 400), method
        xml = raw(admin, method, path, headers={"accept": "application/xml"})
        is_file = path.endswith(("/file", "/download"))  # which are of any type
        assert refused(xml, 404 if is_file else 406), method
    if NOWHERE in path:
        response = send(admin, next(iter(actions)), path)
        assert refused(response, 404, 400), response.content


@pytest.mark.parametrize(("path", "actions"), EVERY)
def test_credentials_decide_first(tenant: Tenant, path: str, actions: dict[str, str]) -> None:
    now = timezone.now()
    _, revoked = ApiKey.issue(tenant, name="r", role=Role.ADMIN, revoked_at=now)
    _, expired = ApiKey.issue(tenant, name="e", role=Role.ADMIN, expires_at=now)
    member, stranger = APIClient(enforce_csrf_checks=True), APIClient()
    member.force_login(factories.MembershipFactory(tenant=tenant, role="admin").user)
    stranger.force_login(factories.UserFactory())
    for method in METHODS:
        for headers in ({}, {"x-api-key": revoked}, {"authorization": f"Bearer {expired}"}):
            response = raw(APIClient(), method, path, headers=headers)
            assert refused(response, 401), (method, response.content)
            assert response["WWW-Authenticate"] == 'Bearer realm="kaireon"'
        assert refused(raw(stranger, method, path), 403), method
        elsewhere = raw(member, method, path, headers={"x-tenant-id": "elsewhere"})
        assert refused(elsewhere, 403), method
        if method != "get":
            response = raw(member, method, path)
            assert refused(response, 403), (method, response.content)
            assert "CSRF" in error(response)["message"]


@pytest.mark.parametrize(
    "path", ["", "nothing", "runs/", "runs/x/y", "api-keys/x/y", "audit-log/x", "members/", "%00"]
)
def test_unknown_addresses_are_404(admin: APIClient, path: str) -> None:
    for method in METHODS:
        response = raw(admin, method, f"/api/v1/{path}", data=json.dumps({}))
        assert refused(response, 404), (method, response.content)


@pytest.mark.parametrize(("path", "actions"), EVERY)
def test_cursors_of_nowhere_are_refused(
    admin: APIClient, path: str, actions: dict[str, str]
) -> None:
    if "get" in actions and admin.get(path).status_code == 200:
        for text in (b"x", b"[]", b"{}", b"[" * 5000, b'[["name"], 1]', b"\0"):
            cursor = urlsafe_b64encode(text).decode()
            response = admin.get(path, {"cursor": cursor})
            assert refused(response, 400), (text, response.content)
