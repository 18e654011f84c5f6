"""Callers of the API: real requests with a real key."""

from rest_framework.test import APIClient

from kaireon.access.models import Tenant
from tests.factories import api_key


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
