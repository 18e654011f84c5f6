"""Every failure has one shape, and no input is our own fault."""

import json
import logging

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from campaigns.models import Campaign, Category
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

RUNS = "/api/v1/runs"
CATEGORIES = "/api/v1/categories"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def send(client: APIClient, body: bytes, content_type: str = "application/json"):
    return client.generic("POST", CATEGORIES, body, content_type)


@pytest.mark.parametrize("method", ["get", "post"])
def test_address_without_route_is_a_json_404(db: None, method: str) -> None:
    for path in ("/api/v1/nothing", "/api/v1/runs/", "/api/v2/runs", "/api/"):
        response = getattr(Client(), method)(path)
        assert response.status_code == 404
        assert error(response) == {
            "code": "not_found",
            "message": "There is nothing at this address.",
            "status": 404,
        }


def test_address_outside_the_api_is_a_page(db: None) -> None:
    response = Client().get("/nothing/")
    assert (response.status_code, response["Content-Type"][:9]) == (404, "text/html")


@pytest.mark.parametrize(
    "id",
    ["camp_UkLWZg9D", "camp_nothing", "df_UkLWZg9D", "%00", "1", "camp_%ED%A0%80", "x" * 3000],
)
def test_unknown_and_malformed_ids_are_404(client: APIClient, id: str) -> None:
    for path in (f"{RUNS}/{id}", f"{RUNS}/{id}/campaign-runs"):
        response = client.get(path)
        assert response.status_code == 404
        assert error(response)["message"] == "There is no campaign with this id."


def test_wrong_method_is_405(client: APIClient) -> None:
    response = client.put(RUNS, {}, format="json")
    assert response.status_code == 405
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert error(response)["code"] == "method_not_allowed"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
def test_wrong_content_type_is_415(client: APIClient, content_type: str) -> None:
    response = send(client, b"name=x", content_type)
    assert response.status_code == 415
    assert error(response)["code"] == "unsupported_media_type"


def test_unacceptable_answer_is_406(client: APIClient) -> None:
    response = client.get(RUNS, headers={"accept": "application/xml"})
    assert response.status_code == 406
    assert error(response)["code"] == "not_acceptable"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"{'name': 1}", id="single quotes"),
        pytest.param(b'{"name": NaN}', id="nan"),
        pytest.param(b'{"ordinal": -Infinity}', id="infinity"),
        pytest.param(b'{"name": "\xff"}', id="not utf-8"),
        pytest.param(b"[" * 100_000, id="very deep"),
        pytest.param(b'{"ordinal": ' + b"9" * 5000 + b"}", id="5000 digits"),
    ],
)
def test_malformed_json_is_400(client: APIClient, body: bytes) -> None:
    response = send(client, body)
    assert response.status_code == 400
    assert error(response)["message"].startswith("The body is not valid JSON")


def test_charset_of_the_request_is_not_believed(client: APIClient) -> None:
    for charset in ("utf-16", "hex", "rot13", "nonsense"):
        name = json.dumps({"name": f"é {charset}"}).encode()
        assert send(client, name, f"application/json; charset={charset}").status_code == 201


@pytest.mark.parametrize("body", [[], "text", 1, None, True, [{}]])
@pytest.mark.parametrize(
    "path", [RUNS, CATEGORIES, "/api/v1/decision-flows/publish", "/api/v1/segments"]
)
def test_body_must_be_an_object(client: APIClient, path: str, body: object) -> None:
    response = client.generic("POST", path, json.dumps(body), "application/json")
    assert response.status_code == 400
    assert error(response)["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", '"a\\u0000b"', "Holds a NUL character."),
        ("name", '"\\ud800"', "Holds half of a surrogate pair."),
        ("ordinal", "1e999", "Holds a number too large to store."),
        ("ordinal", str(2**63), "Holds an integer of more than 64 bits."),
        ("extra", '{"a": [{"b\\u0000": 1}]}', "Holds a NUL character."),
        ("extra", "[" * 70 + "]" * 70, "Is nested deeper than 64 levels."),
    ],
)
def test_what_the_database_cannot_hold_is_named(
    client: APIClient, field: str, value: str, message: str
) -> None:
    response = send(client, f'{{"{field}": {value}}}'.encode())
    assert response.status_code == 400
    assert error(response)["fields"] == {field: [message]}


def test_strange_field_names_are_only_unknown(client: APIClient) -> None:
    response = send(client, rb'{"name": "x", "\ud800": 1}')
    assert error(response)["fields"] == {"?": ["Holds half of a surrogate pair."]}
    response = send(client, '{"name": "x", "ключ": 1, "[0]": 1}'.encode())
    assert error(response)["fields"] == {"ключ": ["Unknown field."], "[0]": ["Unknown field."]}
    assert not Category.unscoped.exists()


@pytest.mark.parametrize("value", [2**31, -1, 2**62, 1.5, "1", True, None, [], {}])
def test_wrong_numbers(client: APIClient, value: object) -> None:
    response = client.post(CATEGORIES, {"name": "x", "ordinal": value}, format="json")
    assert list(error(response)["fields"]) == ["ordinal"]


@pytest.mark.parametrize("value", [1, True, None, [], {}, "", "  ", "x" * 256])
def test_wrong_texts(client: APIClient, value: object) -> None:
    response = client.post(CATEGORIES, {"name": value}, format="json")
    assert list(error(response)["fields"]) == ["name"]


def test_a_text_is_as_long_as_it_was_sent(client: APIClient) -> None:
    body = {"name": "x" + 255 * " ", "icon": 51 * " "}
    response = client.post(CATEGORIES, body, format="json")
    assert list(error(response)["fields"]) == ["name", "icon"]
    assert not Category.unscoped.exists()


def test_one_fault_is_the_message(client: APIClient) -> None:
    response = client.post(CATEGORIES, {"name": 1}, format="json")
    assert error(response) == {
        "code": "invalid_request",
        "message": "name: Must be a string.",
        "status": 400,
        "fields": {"name": ["Must be a string."]},
    }


def test_several_faults_are_counted(client: APIClient) -> None:
    response = client.post(CATEGORIES, {"name": 1, "id": "cat_x"}, format="json")
    assert error(response)["message"] == "2 things are wrong with: id, name."


def test_body_beyond_the_limit_is_413(client: APIClient, settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert send(client, b'{"name": "' + b"x" * 88 + b'"}').status_code == 201
    response = send(client, b'{"name": "' + b"x" * 89 + b'"}')
    assert response.status_code == 413
    assert error(response)["code"] == "too_large"


def test_name_clash_is_409(client: APIClient, tenant: Tenant) -> None:
    factories.CategoryFactory(tenant=tenant, name="Cards")
    factories.CategoryFactory(name="Loans")
    response = client.post(CATEGORIES, {"name": "Cards"}, format="json")
    assert response.status_code == 409
    assert error(response)["message"] == "There is a category with this name already."
    assert client.post(CATEGORIES, {"name": "Loans"}, format="json").status_code == 201


def test_our_own_fault_is_a_json_500(client: APIClient, caplog) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE campaigns_category CASCADE")
    client.raise_request_exception = False
    with caplog.at_level(logging.CRITICAL):
        response = client.get(CATEGORIES)
    assert response.status_code == 500
    assert error(response)["code"] == "internal_error"
    assert b"campaigns_category" not in response.content


def test_bad_host_is_a_json_400(settings, caplog) -> None:
    settings.ALLOWED_HOSTS = ["kaireon.example"]
    with caplog.at_level(logging.CRITICAL):
        response = Client().get(RUNS, headers={"host": "evil.example"})
    assert response.status_code == 400
    assert error(response)["code"] == "invalid_request"


def test_health(db: None) -> None:
    assert Client().get("/health/live").json() == {"status": "ok"}
    ready = Client().get("/health/ready")
    assert (ready.status_code, ready.json()["database"]) == (200, {"status": "ok"})
    assert Client().post("/health/live").status_code == 405


def test_root_leads_to_the_admin(db: None) -> None:
    assert Client().get("/")["Location"] == "/admin/"


def test_nothing_was_made_by_all_these_refusals(client: APIClient) -> None:
    send(client, b"[]")
    client.post(RUNS, {"decisionFlowId": 1}, format="json")
    assert not Campaign.unscoped.exists()


@pytest.mark.parametrize("charset", ["hex", "rot13", "utf-16", "latin-1", "nonsense"])
def test_a_claimed_charset_is_not_believed(client: APIClient, charset: str) -> None:
    kind = f"application/json; charset={charset}"
    found = client.get("/api/v1/offers?search=%C3%BC", CONTENT_TYPE=kind)
    assert found.status_code == 200
    made = client.post("/api/v1/categories", '{"name": "ü"}'.encode(), content_type=kind)
    assert (made.status_code, made.json()["name"]) == (201, "ü")
