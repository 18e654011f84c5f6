"""API keys and members over the API."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.services.api_keys import issue_key
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.models import ApiKey, Membership, Role, Tenant
from tests import factories
from tests.clients import api_client, error

KEYS = "/api/v1/api-keys"
MEMBERS = "/api/v1/members"
User = get_user_model()


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def send(client: APIClient, method: str, path: str, body: object = None):
    return getattr(client, method)(path, body or {}, format="json")


# API keys


def test_a_key_is_shown_once_and_works(tenant: Tenant, admin: APIClient) -> None:
    expires = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    body = {"name": "robot", "role": "editor", "expiresAt": expires.isoformat()}
    response = send(admin, "post", KEYS, body)
    assert response.status_code == 201
    made = response.json()
    text, warning = made.pop("key"), made.pop("warning")
    assert "cannot be shown again" in warning
    assert text.startswith(made["prefix"] + "_")
    key = ApiKey.objects.of(tenant).get(name="robot")
    assert made == {
        "id": key.public_id,
        "name": "robot",
        "prefix": f"krn_{key.public_part}",
        "role": "editor",
        "createdAt": stamp(key.created_at),
        "expiresAt": stamp(expires),
        "revokedAt": None,
        "lastUsedAt": None,
    }
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=text)
    assert client.get("/api/v1/offers").status_code == 200
    again = admin.get(f"{KEYS}/{made['id']}")
    assert again.json()["lastUsedAt"] is not None
    assert {**again.json(), "lastUsedAt": None} == made
    secret = text.rpartition("_")[2]
    for shown in (again, admin.get(KEYS)):
        assert secret not in shown.content.decode()
        assert key.secret_hash not in shown.content.decode()


def stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_key_of_which_nothing_is_said_may_only_read(admin: APIClient) -> None:
    made = send(admin, "post", KEYS).json()
    assert (made["name"], made["role"], made["expiresAt"]) == ("API key", "viewer", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"role": "owner"}, "role"),
        ({"role": None}, "role"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "soon"}, "expiresAt"),
        ({"expiresAt": 1}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-10:00"}, "expiresAt"),
        ({"scopes": ["runs"]}, "scopes"),
        ({"revokedAt": None}, "revokedAt"),
        ({"key": "krn_x"}, "key"),
    ],
)
def test_impossible_keys_are_refused(
    tenant: Tenant, admin: APIClient, body: dict, field: str
) -> None:
    response = send(admin, "post", KEYS, body)
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [field]
    assert ApiKey.objects.of(tenant).count() == 1


def test_a_key_gets_no_role_above_its_makers(tenant: Tenant) -> None:
    with pytest.raises(Rejected, match="role"):
        issue_key(tenant, Role.EDITOR, role=Role.ADMIN)
    assert not ApiKey.objects.of(tenant).exists()
    issue_key(tenant, Role.EDITOR, role=Role.EDITOR)


def test_a_revoked_key_stays_in_the_list(tenant: Tenant, admin: APIClient) -> None:
    made = send(admin, "post", KEYS, {"name": "robot"}).json()
    assert admin.delete(f"{KEYS}/{made['id']}").status_code == 204
    robot = APIClient()
    robot.credentials(HTTP_X_API_KEY=made["key"])
    refused = robot.get("/api/v1/offers")
    assert (refused.status_code, error(refused)["code"]) == (401, "unauthenticated")
    revoked = admin.get(f"{KEYS}/{made['id']}").json()["revokedAt"]
    assert revoked is not None
    changes = ApiKey.history.count()
    for again in (f"{KEYS}/{made['id']}", f"{KEYS}?id={made['id']}"):
        assert admin.delete(again).status_code == 204
    assert admin.get(f"{KEYS}/{made['id']}").json()["revokedAt"] == revoked
    assert ApiKey.history.count() == changes


def test_keys_are_revoked_as_documented_too(tenant: Tenant, admin: APIClient) -> None:
    key, _ = ApiKey.issue(tenant, name="robot", role=Role.VIEWER)
    assert admin.delete(f"{KEYS}?id={key.public_id}&reason=lost").status_code == 204
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert ApiKey.history.latest().history_change_reason == "lost"
    assert list(error(admin.delete(KEYS))["fields"]) == ["id"]
    assert admin.delete(f"{KEYS}?id=key_nothing").status_code == 404
    assert admin.delete(f"{KEYS}?key={key.public_id}").status_code == 400
    assert admin.delete(f"{KEYS}?id={key.public_id}&reason={'x' * 101}").status_code == 400


def test_keys_are_filtered_ordered_and_searched(tenant: Tenant) -> None:
    now = timezone.now()
    client = api_client(tenant, "admin")
    ApiKey.issue(tenant, name="expired", role=Role.EDITOR, expires_at=now)
    ApiKey.issue(tenant, name="revoked", role=Role.VIEWER, revoked_at=now)
    ApiKey.issue(tenant, name="later", role=Role.VIEWER, expires_at=now + timedelta(days=1))
    ApiKey.issue(factories.TenantFactory(), name="foreign", role=Role.VIEWER)

    def names(query: str) -> list[str]:
        return [row["name"] for row in client.get(f"{KEYS}?ordering=name&{query}").json()["data"]]

    assert names("") == ["expired", "later", "revoked", "test"]
    assert names("active=true") == ["later", "test"]
    assert names("active=false") == ["expired", "revoked"]
    assert names("role=viewer") == ["later", "revoked"]
    assert names("search=lat") == ["later"]
    newest = client.get(f"{KEYS}?limit=1").json()
    assert newest["data"][0]["name"] == "later"
    cursor = newest["pagination"]["nextCursor"]
    assert client.get(f"{KEYS}?limit=1&cursor={cursor}").json()["data"][0]["name"] == "revoked"
    for query in ("active=yes", "role=owner", "ordering=secret", "secretHash=x"):
        assert client.get(f"{KEYS}?{query}").status_code == 400


# Members


def test_members_are_listed(tenant: Tenant, admin: APIClient) -> None:
    user = factories.UserFactory(username="anna", email="anna@bank.example")
    member = factories.MembershipFactory(user=user, tenant=tenant, role="editor")
    factories.MembershipFactory()
    made = Membership.history.get(id=member.pk).history_date
    row = {
        "id": ids.encode("Membership", member.pk),
        "username": "anna",
        "email": "anna@bank.example",
        "role": "editor",
        "createdAt": stamp(made),
    }
    for path in (MEMBERS, "/api/v1/users"):
        assert admin.get(path).json()["data"] == [row]
        assert admin.get(f"{path}/{row['id']}").json() == row
    assert admin.get(f"{MEMBERS}?role=viewer&search=ann").json()["data"] == []
    assert admin.get(f"{MEMBERS}?role=editor&search=ann&ordering=-role").json()["data"] == [row]


def test_a_member_from_before_the_history(tenant: Tenant, admin: APIClient) -> None:
    factories.MembershipFactory(tenant=tenant)
    Membership.history.all().delete()
    assert admin.get(MEMBERS).json()["data"][0]["createdAt"] is None


def test_nobody_can_tell_whether_a_user_was_there_before(admin: APIClient) -> None:
    known = factories.UserFactory(username="bob", email="bob@other.example")
    factories.MembershipFactory(user=known, role="admin")
    factories.UserFactory(username="carol@other.example", email="c@other.example")
    factories.UserFactory(username="root", email="root@other.example", is_superuser=True)
    pairs = [
        ({"username": "bob"}, {"username": "eve"}),
        ({"username": "root"}, {"username": "ruth"}),
        ({"email": "carol@other.example"}, {"email": "erin@other.example"}),
        ({"email": "bob@other.example"}, {"email": "eve@other.example"}),
    ]
    for there, new in pairs:
        answers = []
        for body in (there, new):
            (given,) = body.values()
            made = send(admin, "post", MEMBERS, {**body, "role": "editor"})
            assert made.status_code == 201
            listed = admin.get(f"{MEMBERS}/{made.json()['id']}").json()
            assert listed == made.json()
            assert listed["username"] == given
            answers.append({**listed, "id": "", "createdAt": "", "username": ""} | {"email": ""})
            assert listed["email"] == body.get("email")
        assert answers[0] == answers[1]
    assert Membership.objects.filter(user=known).count() == 2


def test_a_new_user_cannot_sign_in_until_a_password_is_set(
    tenant: Tenant, admin: APIClient
) -> None:
    made = send(admin, "post", MEMBERS, {"email": "Dora@Bank.example"}).json()
    assert (made["username"], made["email"]) == ("dora@bank.example", "dora@bank.example")
    assert made["role"] == "viewer"
    user = User.objects.get(username="dora@bank.example")
    assert not user.has_usable_password()
    assert (user.is_staff, user.is_superuser, user.email) == (True, False, "dora@bank.example")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        ({"username": "a", "email": "a@b.example"}, "username"),
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "x" * 151}, "username"),
        ({"username": 1}, "username"),
        ({"email": "nonsense"}, "email"),
        ({"email": "o'neil@b.example"}, "email"),
        ({"email": f"{'x' * 60}@{'y' * 60}.{'z' * 60}.example"}, "email"),
        ({"username": "a", "role": "owner"}, "role"),
        ({"username": "a", "isSuperuser": True}, "isSuperuser"),
    ],
)
def test_impossible_members_are_refused(admin: APIClient, body: dict, field: str) -> None:
    response = send(admin, "post", MEMBERS, body)
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [field]
    assert not User.objects.exists()


def test_a_member_is_added_once(tenant: Tenant, admin: APIClient) -> None:
    user = factories.UserFactory(username="anna", email="anna@bank.example")
    factories.MembershipFactory(user=user, tenant=tenant)
    for body in ({"username": "anna"}, {"email": "Anna@Bank.example"}):
        response = send(admin, "post", MEMBERS, body)
        assert response.status_code == 409
    assert error(response)["message"] == "There is a member with this e-mail address already."
    assert User.objects.count() == 1


@pytest.mark.parametrize("method", ["patch", "put"])
def test_a_role_is_changed_and_kept_in_the_history(
    tenant: Tenant, admin: APIClient, method: str
) -> None:
    member = factories.MembershipFactory(tenant=tenant)
    path = f"{MEMBERS}/{member.public_id}"
    response = send(admin, method, path, {"role": "editor"})
    assert (response.status_code, response.json()["role"]) == (200, "editor")
    assert send(admin, method, path, {"role": "editor"}).status_code == 200
    assert send(admin, method, path, {}).status_code == 200
    assert Membership.history.count() == 2
    assert list(error(send(admin, method, path, {"username": "x"}))["fields"]) == ["username"]


def test_a_member_is_removed_but_not_the_user(tenant: Tenant, admin: APIClient) -> None:
    member = factories.MembershipFactory(tenant=tenant)
    assert admin.delete(f"{MEMBERS}/{member.public_id}").status_code == 204
    assert admin.get(MEMBERS).json()["data"] == []
    assert User.objects.filter(pk=member.user_id).exists()
    assert Membership.history.latest().history_type == "-"


def test_the_last_administrator_stays(tenant: Tenant, admin: APIClient) -> None:
    last = factories.MembershipFactory(tenant=tenant, role="admin")
    gone = factories.MembershipFactory(tenant=tenant, role="admin", user__is_active=False)
    factories.MembershipFactory(role="admin")
    path = f"{MEMBERS}/{last.public_id}"
    for response in (send(admin, "patch", path, {"role": "editor"}), admin.delete(path)):
        assert response.status_code == 409
        assert "last administrator" in error(response)["message"]
    assert send(admin, "patch", path, {"role": "admin"}).status_code == 200
    assert admin.delete(f"{MEMBERS}/{gone.public_id}").status_code == 204
    factories.MembershipFactory(tenant=tenant, role="admin")
    assert admin.delete(path).status_code == 204


@pytest.mark.django_db(transaction=True)
def test_two_administrators_cannot_remove_each_other() -> None:
    tenant = factories.TenantFactory()
    members = [factories.MembershipFactory(tenant=tenant, role="admin") for _ in range(2)]
    clients, together = [api_client(tenant, "admin") for _ in range(2)], Barrier(2)

    def remove(number: int) -> int:
        together.wait()
        try:
            path = f"{MEMBERS}/{members[number].public_id}"
            return int(clients[number].delete(path).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(remove, range(2))) == [204, 409]
    assert Membership.objects.filter(tenant=tenant, role="admin").count() == 1


def test_members_and_keys_of_others_are_not_found(tenant: Tenant, admin: APIClient) -> None:
    member = factories.MembershipFactory(role="viewer")
    key, _ = ApiKey.issue(member.tenant, name="foreign", role=Role.VIEWER)
    for path in (
        f"{MEMBERS}/{member.public_id}",
        f"/api/v1/users/{member.public_id}",
        f"{KEYS}/{key.public_id}",
    ):
        assert admin.get(path).status_code == 404
        assert admin.delete(path).status_code == 404
    body = {"role": "admin"}
    assert send(admin, "patch", f"{MEMBERS}/{member.public_id}", body).status_code == 404
    assert admin.delete(f"{KEYS}?id={key.public_id}").status_code == 404
    member.refresh_from_db()
    key.refresh_from_db()
    assert (member.role, key.revoked_at) == ("viewer", None)


@pytest.mark.parametrize("path", [KEYS, MEMBERS])
def test_queries_do_not_grow_with_the_rows(tenant: Tenant, admin: APIClient, path: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(f"{path}?limit=200").status_code == 200
        return len(captured)

    assert queries() > 0  # the first also notes that the key is used
    few = queries()
    for number in range(10):
        factories.MembershipFactory(tenant=tenant)
        ApiKey.issue(tenant, name=f"key {number}", role=Role.VIEWER)
    assert queries() == few
