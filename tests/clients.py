"""Callers of the API: real requests with a real key."""

from typing import Any

from rest_framework.test import APIClient

from kaireon.access.models import Tenant
from tests.factories import api_key

API = "/api/v1/"


def api_client(tenant: Tenant, role: str = "editor") -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {api_key(tenant, role)}")
    return client


def error(response) -> dict:
    """The error of a refusal, which also must name its own status."""
    assert response.json().keys() == {"error"}
    found = response.json()["error"]
    assert found["status"] == response.status_code
    return found


def create(client: APIClient, resource: str, **body: Any) -> dict[str, Any]:
    """Make a row, which then must be found and listed as it was shown."""
    response = client.post(API + resource, body, format="json")
    assert response.status_code == 201, response.json()
    made = response.json()
    assert client.get(f"{API}{resource}/{made['id']}").json() == made
    assert made in client.get(API + resource).json()["data"]
    return made


def change(client: APIClient, resource: str, id: str, /, **body: Any) -> dict[str, Any]:
    """Change a row, which then must be found as it was shown."""
    response = client.patch(f"{API}{resource}/{id}", body, format="json")
    assert response.status_code == 200, response.json()
    assert client.get(f"{API}{resource}/{id}").json() == response.json()
    return response.json()


def faults(client: APIClient, resource: str, **body: Any) -> dict[str, list[str]]:
    """What is wrong with a new row."""
    response = client.post(API + resource, body, format="json")
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def change_faults(
    client: APIClient, resource: str, id: str, /, **body: Any
) -> dict[str, list[str]]:
    """What is wrong with a change, which then must have changed nothing."""
    before = client.get(f"{API}{resource}/{id}").json()
    response = client.patch(f"{API}{resource}/{id}", body, format="json")
    assert response.status_code == 400, response.json()
    assert client.get(f"{API}{resource}/{id}").json() == before
    return error(response)["fields"]


def without_stamps(row: dict[str, Any]) -> dict[str, Any]:
    stamps = ("id", "version", "createdAt", "updatedAt")
    return {name: row[name] for name in row if name not in stamps}
