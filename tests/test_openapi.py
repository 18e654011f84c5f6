"""The API's description: current, valid, and readable without any other server."""

import json
import re
from contextlib import closing
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from campaigns.api.documentation import OPENAPI
from campaigns.api.urls import urlpatterns


def test_the_file_is_what_the_code_says() -> None:
    said = StringIO()
    call_command(
        "spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=said
    )
    current = json.loads(OPENAPI.read_text())
    assert json.loads(said.getvalue()) == current, "write it anew: make openapi"


def test_every_address_is_described() -> None:
    described = json.loads(OPENAPI.read_text())["paths"]
    pages = {"openapi", "swagger", "redoc"}
    addresses = {
        "/api/v1/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)): pattern
        for pattern in urlpatterns
        if pattern.name not in pages
    }
    assert set(described) == set(addresses)
    for path, pattern in addresses.items():
        actions = set(pattern.callback.actions) - {"head", "options"}
        assert set(described[path]) == actions, path


def test_every_operation_has_a_name_of_its_own_and_tells_its_failures() -> None:
    names = []
    for operations in json.loads(OPENAPI.read_text())["paths"].values():
        for operation in operations.values():
            names.append(operation["operationId"])
            assert {"400", "401", "403", "429"} <= set(operation["responses"])
    assert len(names) == len(set(names))


def test_the_description_is_served(client: Client) -> None:
    answer = client.get("/api/v1/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["openapi"].startswith("3.1")


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_readers_load_nothing_from_elsewhere(client: Client, page: str) -> None:
    answer = client.get(f"/api/v1/{page}")
    text = answer.content.decode()
    assert answer.status_code == 200
    addresses = re.findall(r'(?:src|href|spec-url|data-openapi)="([^"]+)"', text)
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith("/")
        with closing(client.get(address)) as found:
            assert found.status_code == 200, address
    assert "<script>" not in text
    policy = answer.headers["Content-Security-Policy"]
    assert ("worker-src blob:" in policy) == (page == "redoc")
