"""Files of customers, uploaded: all of one is imported, or nothing of it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from campaigns.api import uploads
from campaigns.models import Schema, Segment
from campaigns.services.segments import create_segment
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, error
from tests.customer_tables import execute

UPLOAD = API + "schemas/upload"
CSV = b"id,balance\n1,50\n2,500\n"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, settings: Any) -> Path:
    """Where uploads wait; nothing may be left of them."""
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "uploads")
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def send(client: APIClient, content: bytes = CSV, *, headers: Any = None, **fields: Any) -> Any:
    file = SimpleUploadedFile(fields.pop("filename", "customers.csv"), content)
    body = {"name": "Customers", "keyColumn": "id", "file": file, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    return client.post(UPLOAD, body, format="multipart", headers=headers)


def again(client: APIClient, content: bytes, mode: str, **fields: Any) -> Any:
    return send(client, content, mode=mode, keyColumn=None, **fields)


def faults(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 400, response.content
    return error(response)["fields"]


def table() -> list[tuple[Any, ...]]:
    return execute(f"SELECT * FROM data.{Schema.unscoped.get().relation_name} ORDER BY 1")


def test_creates_a_schema(client: APIClient, temporary: Path) -> None:
    response = send(client, entityType="account", delimiter=",")
    assert response.status_code == 201, response.json()
    made = response.json()
    assert client.get(f"{API}schemas/{made['id']}").json() == made
    assert (made["name"], made["origin"], made["keyColumn"]) == ("Customers", "imported", "id")
    assert (made["rowCount"], made["entityType"], made["version"]) == (2, "account", 1)
    assert [(c["name"], c["type"]) for c in made["columns"]] == [
        ("id", "bigint"),
        ("balance", "bigint"),
    ]
    assert table() == [(1, 50), (2, 500)]
    response.close()
    assert list(temporary.iterdir()) == []


def test_takes_parquet_and_numbers_rows(client: APIClient) -> None:
    file = BytesIO()
    pl.DataFrame({"name": ["Ann", "Bob"]}).write_parquet(file)
    response = send(client, file.getvalue(), keyColumn="row_number", filename="c.parquet")
    assert response.json()["keyColumn"] == "row_number"
    assert table() == [(1, "Ann"), (2, "Bob")]


def test_a_name_that_exists_is_a_conflict(client: APIClient) -> None:
    assert send(client).status_code == 201
    response = send(client, b"id\n7\n")
    assert response.status_code == 409
    assert error(response)["message"].startswith('"Customers" exists: choose another name')
    assert table() == [(1, 50), (2, 500)]


def test_other_modes_recount_the_segments(client: APIClient, tenant: Tenant) -> None:
    assert send(client).status_code == 201
    schema = Schema.unscoped.get()
    filters = [{"field": "balance", "operator": "gte", "value": 100}]
    create_segment(tenant, name="Rich", base_schema=schema, filters=filters)
    for mode, content, rows, rich in [
        ("append", b"balance,id\n700,3\n", 3, 2),
        ("upsert", b"id,balance\n1,900\n4,1\n", 4, 3),
        ("replace", b"id,balance\n9,900\n", 1, 1),
    ]:
        response = again(client, content, mode)
        assert response.status_code == 201, response.json()
        assert response.json()["rowCount"] == rows
        segment = Segment.unscoped.get()
        assert segment.customer_count == rich, mode
        assert segment.last_refreshed_at >= schema.updated_at
    assert Schema.unscoped.get().version == 2


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        (b"id,a\n1,2\n3\n", {}, {"file": "line 3: 1 field instead of 2"}),
        (b"id\n1\n1\n", {}, {"file": 'column "id": "1" occurs more than once (lines 2 and 3)'}),
        (b"id,id\n1,1\n", {}, {"file": 'the header names more than one column "id"'}),
        (b"\n\n", {}, {"file": "the file does not start with a line of column names"}),
        (b"PK\x03\x04", {}, {"file": "the file is a ZIP or Excel file: save the sheet as CSV"}),
        (b"id\n1\n", {"keyColumn": "no"}, {"keyColumn": 'there is no column "no"; choose one of'}),
        (b"id\n1\n", {"delimiter": "ab"}, {"delimiter": '"ab" is not one character'}),
        (b"id\n1\n", {"encoding": "klingon"}, {"encoding": '"klingon" is unknown'}),
        (b"id\n1\n", {"encoding": "undefined"}, {"encoding": '"undefined" is unknown'}),
        (b"id\n+2AA-\n", {"encoding": "utf-7"}, {"encoding": "near byte"}),
        (b"id\n1\n", {"keyColumn": None}, {"keyColumn": "Is needed to create a schema."}),
        (b"id\n1\n", {"mode": "merge"}, {"mode": "Must be one of: create, replace, append"}),
        (b"id\n1\n", {"mode": "append"}, {"name": 'there is no schema "Customers" to append'}),
        (b"id\n1\n", {"entityType": "fish"}, {"entityType": "Must be one of: customer"}),
        (b"id\n1\n", {"name": " "}, {"name": "This field may not be blank."}),
        (b"id\n1\n", {"name": "a\0"}, {"name": "Holds a NUL character."}),
        (b"id\n1\n", {"colour": "red"}, {"colour": "Unknown field."}),
        (b"id\n1\n", {"name": ["a", "b"]}, {"name": "Is given more than once."}),
        (b"", {}, {"file": "The submitted file is empty."}),
        (b"", {"file": "text"}, {"file": "The submitted data was not a file."}),
        (b"", {"file": None}, {"file": "No file was submitted."}),
    ],
)
def test_refuses_and_leaves_nothing(
    client: APIClient,
    temporary: Path,
    content: bytes,
    fields: dict[str, Any],
    expected: dict[str, str],
) -> None:
    response = send(client, content, **fields)
    found = faults(response)
    assert list(found) == list(expected)
    for name, text in expected.items():
        assert found[name][0].startswith(text), found
    assert not Schema.unscoped.exists()
    assert execute("SELECT 1 FROM pg_class WHERE relnamespace = 'data'::regnamespace") == []
    response.close()
    assert list(temporary.iterdir()) == []


def test_broken_parquet_says_nothing_of_the_server(client: APIClient, temporary: Path) -> None:
    told = faults(send(client, b"PAR1" + b"\0" * 50))["file"][0]
    assert told.startswith("the file is not a Parquet file")
    assert str(temporary) not in told


def test_a_fault_in_another_mode_changes_nothing(client: APIClient, tenant: Tenant) -> None:
    send(client)
    filters = [{"field": "balance", "operator": "gte", "value": 100}]
    create_segment(tenant, name="Rich", base_schema=Schema.unscoped.get(), filters=filters)
    told = faults(again(client, b"id,other\n1,2\n", "replace"))["file"]
    assert told[0].startswith('segment "Rich": filters[0].field: unknown field "balance"')
    assert told[1] == 'columns: "balance" was bigint, is gone'
    told = faults(again(client, b"id,balance\n7,x\n", "append"))["file"]
    assert told == ['line 2: column "balance": "x" is not of type bigint']
    assert list(faults(again(client, CSV, "append", entityType="account"))) == ["entityType"]
    assert table() == [(1, 50), (2, 500)]


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "a." + "x" * 300, "x.\u202ecsv", "C:\\a\\b.csv", "\u00e9.csv"]
)
def test_the_name_of_the_file_does_not_matter(client: APIClient, filename: str) -> None:
    assert send(client, filename=filename).status_code == 201


def test_a_body_too_large_is_refused(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    response = send(client, b"id\n" + b"1\n" * 1000)
    assert response.status_code == 413
    assert error(response)["message"] == "The body is larger than 1,000 bytes."
    assert not Schema.unscoped.exists()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"", "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1', "multipart/form-data", 400),
    ],
)
def test_other_bodies(client: APIClient, body: bytes, content_type: str, status: int) -> None:
    response = client.generic("POST", UPLOAD, body, content_type=content_type)
    assert response.status_code == status
    error(response)


def test_no_body_at_all(client: APIClient) -> None:
    assert set(faults(client.post(UPLOAD))) == {"file", "name"}


def test_a_file_that_is_cut_off_is_not_imported(client: APIClient) -> None:
    body = (
        '--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nC\r\n'
        '--x\r\nContent-Disposition: form-data; name="keyColumn"\r\n\r\nid\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nid\n1\n2'
    )
    kind = "multipart/form-data; boundary=x; charset=hex"
    response = client.generic("POST", UPLOAD, body.encode(), content_type=kind)
    assert list(faults(response)) == ["file"]
    response = client.generic("POST", UPLOAD, (body + "\r\n--x--\r\n").encode(), content_type=kind)
    assert response.status_code == 201
    assert table() == [(1,), (2,)]


def test_the_same_key_and_file_are_imported_once(client: APIClient) -> None:
    key = {"Idempotency-Key": "once"}
    first = send(client, headers=key)
    second = send(client, headers=key)
    assert first.status_code == second.status_code == 201
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.json() == second.json()
    response = send(client, CSV + b"3,5\n", headers=key)
    assert response.status_code == 409
    assert "used for another request" in error(response)["message"]
    assert table() == [(1, 50), (2, 500)]


def test_a_refused_file_does_not_use_up_its_key(client: APIClient) -> None:
    key = {"Idempotency-Key": "once"}
    told = faults(send(client, b"id,a\nx,1\n,2\n", headers=key))
    assert told == {"file": ['line 3: column "id": the key is empty']}
    assert send(client, headers=key).status_code == 201


def test_only_editors_upload(tenant: Tenant) -> None:
    assert send(api_client(tenant, "viewer")).status_code == 403
    assert send(APIClient()).status_code == 401


def test_a_member_uploads_with_the_token_in_a_header(tenant: Tenant, temporary: Path) -> None:
    member = factories.MembershipFactory(tenant=tenant, role="editor")
    client = Client(enforce_csrf_checks=True)
    client.force_login(member.user)
    body = {"name": "C", "keyColumn": "id"}
    files = {"file": SimpleUploadedFile("c.csv", CSV)}
    assert client.post(UPLOAD, {**body, **files}).status_code == 403
    token = "x" * 32
    client.cookies["csrftoken"] = token
    files = {"file": SimpleUploadedFile("c.csv", CSV)}
    response = client.post(UPLOAD, {**body, **files}, headers={"X-CSRFToken": token})
    assert response.status_code == 201, response.content
    assert table() == [(1, 50), (2, 500)]
