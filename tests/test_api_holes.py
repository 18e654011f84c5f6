"""Every operation of the API, as described, with another tenant's ids and with every role."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from campaigns.api.documentation import OPENAPI
from tests import everything
from tests.clients import api_client, error
from tests.factories import TenantFactory

pytestmark = pytest.mark.usefixtures("clean_relations")

API = "/api/v1/"
DESCRIPTION = json.loads(OPENAPI.read_text())
ROLES = ["viewer", "editor", "admin"]
NEEDED_BY_METHOD = {
    "get": "viewer",
    "post": "editor",
    "put": "editor",
    "patch": "editor",
    "delete": "admin",
}
#: Resources only for administrators, whatever the method.
OF_ADMINS = {"admin", "api-keys", "members", "users", "audit-log", "audit-logs"}
#: Resources that only administrators write.
WRITTEN_BY_ADMINS = {"contact-policies"}
#: Other operations that need something else than their method says.
NEEDED = {
    ("post", "schemas"): "admin",
    ("post", "runs/preview-schedule"): "viewer",
    ("post", "algorithm-models/{id}/score"): "viewer",
    ("post", "decision-flows/rollback"): "admin",
    ("get", "decision-flows/{id}/versions/{number}"): "editor",
}
#: Names and positions that lead to a value in a body.
Place = tuple[str | int, ...]
#: Method, path below the API, and what the description says of it.
Operation = tuple[str, str, dict[str, Any]]
OPERATIONS: list[Operation] = [
    (method, path.removeprefix(API), operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
]


def named(operation: Operation) -> str:
    return f"{operation[0]} {operation[1]}"


def needed_role(method: str, path: str) -> str:
    resource = path.partition("/")[0]
    if resource in OF_ADMINS or (resource in WRITTEN_BY_ADMINS and method != "get"):
        return "admin"
    return NEEDED.get((method, path), NEEDED_BY_METHOD[method])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def is_id(schema: dict[str, Any]) -> bool:
    return "_[A-Za-z0-9]+$" in resolved(schema).get("pattern", "")


def content_of(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    return found.get("application/json", {})


def places_of_ids(schema: dict[str, Any], place: Place = ()) -> Iterator[Place]:
    """Where in a body of this schema an id stands; in arrays, at the first place."""
    schema = resolved(schema)
    if is_id(schema):
        yield place
    for name, part in schema.get("properties", {}).items():
        yield from places_of_ids(part, (*place, name))
    if "items" in schema:
        yield from places_of_ids(schema["items"], (*place, 0))


def put(body: Any, place: Place, public_id: str) -> Any:
    """The body with the id at the place."""
    if not place:
        return public_id
    first, *rest = place
    if first == 0:
        return [put(body[0] if body else None, tuple(rest), public_id)]
    if first == "scopeId" and not body:
        body = {"scope": "offer"}  # an id alone is of nothing
    return {**(body or {}), first: put((body or {}).get(first), tuple(rest), public_id)}


def value_at(body: Any, place: Place) -> Any:
    """What stands at the place, or None."""
    for part in place:
        body = body[part] if part == 0 else body.get(part)
        if not body:
            return None
    return body


def example(operation: dict[str, Any], own: everything.Everything) -> Any:
    """The example of the operation's body with rows of the caller's, or an empty body."""
    known = {one.partition("_")[0]: one for rows in own.rows.values() for one in rows}
    known["camp"] = own.world.campaign.public_id
    content = content_of(operation)
    body = next((one["value"] for one in content.get("examples", {}).values()), {})
    for place in places_of_ids(content.get("schema", {})):
        public_id = value_at(body, place)
        if public_id is not None:
            body = put(body, place, known[public_id.partition("_")[0]])
    if "segmentViewName" in body:
        body = put(body, ("segmentViewName",), own.world.campaign.segment.view_name)
    return body


def send(client: APIClient, method: str, path: str, body: Any = None, query: str = "") -> Any:
    place = f"{API}{path}{query}"
    if method == "get":
        return client.get(place)
    return getattr(client, method)(place, body or {}, format="json")


def with_ids(path: str, rows: dict[str, list[str]]) -> str:
    first = rows.get(path.partition("/")[0], ["x"])[0]
    return path.replace("{id}", first).replace("{file}", "x").replace("{number}", "1")


def told_of(fields: dict[str, Any], place: Place) -> bool:
    """Whether the fault of exactly this place is among those told."""
    path = "".join(f"[{part}]" if part == 0 else f".{part}" for part in place).removeprefix(".")
    return path in fields


@pytest.fixture
def foreign(transactional_db: None) -> dict[str, list[str]]:
    """Ids of a tenant that has one row of everything at least."""
    return everything.build("ds_foreign").rows


@pytest.fixture
def own(foreign: dict[str, list[str]]) -> everything.Everything:
    """Another tenant, which has one row of everything as well."""
    return everything.build("ds_own")


@pytest.fixture
def admin(own: everything.Everything) -> APIClient:
    return api_client(own.tenant, "admin")


def test_another_tenants_rows_are_not_found(admin: APIClient, foreign) -> None:
    with_id = [(method, path) for method, path, _ in OPERATIONS if "{id}" in path]
    answers = {
        f"{method} {path}": send(admin, method, with_ids(path, foreign)).status_code
        for method, path in with_id
    }
    assert len(answers) > 60
    assert {name: status for name, status in answers.items() if status != 404} == {}


def test_another_tenants_rows_cannot_be_named_in_a_body(admin, own, foreign) -> None:
    everywhere = sorted({one for rows in foreign.values() for one in rows})
    tried = 0
    for method, path, operation in OPERATIONS:
        address, body = with_ids(path, own.rows), example(operation, own)
        for place in places_of_ids(content_of(operation).get("schema", {})):
            for public_id in everywhere:
                answer = send(admin, method, address, put(body, place, public_id))
                tried += 1
                where = (method, path, place, public_id, answer.content)
                assert answer.status_code in (400, 404), where
                assert answer.status_code == 404 or told_of(error(answer)["fields"], place), where
    assert tried > 500


def test_another_tenants_rows_cannot_be_filtered_for(admin: APIClient, foreign) -> None:
    tried = 0
    for method, path, operation in OPERATIONS:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query" or "{id}" in path or not is_id(parameter["schema"]):
                continue
            for public_id in (one for rows in foreign.values() for one in rows):
                answer = send(admin, method, path, query=f"?{parameter['name']}={public_id}")
                tried += 1
                if answer.status_code == 200:
                    found = answer.json()
                    assert not found.get("data", found.get("runs")), (path, parameter["name"])
                else:
                    assert answer.status_code in (400, 404), (path, parameter["name"])
    assert tried > 50


def test_lists_show_no_row_of_another_tenant(admin: APIClient, foreign) -> None:
    everywhere = {one for rows in foreign.values() for one in rows}
    lists = [path for method, path, _ in OPERATIONS if method == "get" and "{" not in path]
    for path in lists:
        answer = send(admin, "get", path)
        shown = answer.content.decode() if answer.status_code == 200 else ""
        assert not [one for one in everywhere if f'"{one}"' in shown], path


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_roles(operation: Operation, db: None) -> None:
    method, path, _ = operation
    tenant, needed = TenantFactory(), needed_role(method, path)
    for role in ROLES:
        answer = send(api_client(tenant, role), method, with_ids(path, {}))
        if ROLES.index(role) < ROLES.index(needed):
            assert answer.status_code == 403, role
            assert (
                error(answer)["message"] == f"The role {role} may not do this; it needs {needed}."
            )
        else:
            assert answer.status_code not in (401, 403), role
    assert send(APIClient(), method, with_ids(path, {})).status_code == 401
