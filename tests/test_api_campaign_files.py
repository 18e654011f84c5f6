"""The file of a campaign over the API: format, columns, and where it may go."""

import pytest
from rest_framework.test import APIClient

from campaigns.models import Campaign
from campaigns.services.campaign_checks import FILE_COLUMNS
from executor import outfile
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/runs"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def required(tenant: Tenant) -> dict:
    flow = factories.FlowFactory(tenant=tenant)
    segment = factories.SegmentFactory(tenant=tenant)
    return {"decisionFlowId": flow.public_id, "segmentId": segment.public_id}


def post(client: APIClient, body: object):
    return client.post(URL, body, format="json")


def faults(response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def test_known_columns_are_those_of_the_file() -> None:
    assert sorted(FILE_COLUMNS) == sorted(outfile.FILE_COLUMNS)


def test_unknown_column_lists_the_known_ones(client: APIClient, required: dict) -> None:
    body = {**required, "fileConfig": {"columns": ["age"]}}
    (message,) = faults(post(client, body))["fileConfig.columns[0]"]
    known = [*FILE_COLUMNS, "personalization.<variable>", "content.<field>"]
    assert message == f"Is not a column; the columns are: {', '.join(known)}."


def test_every_column_at_once(client: APIClient, required: dict) -> None:
    made = post(client, {**required, "fileConfig": {"columns": list(FILE_COLUMNS)}}).json()
    assert made["fileConfig"]["columns"] == list(FILE_COLUMNS)


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_file_formats(client: APIClient, required: dict, file_format: str) -> None:
    made = post(client, {**required, "fileConfig": {"format": file_format}}).json()
    assert made["fileConfig"]["format"] == file_format


@pytest.fixture
def with_s3(tenant: Tenant) -> None:
    tenant.s3_locations = ["files", "exports/kaireon"]
    tenant.save()


def to_s3(path: str) -> dict:
    return {"fileConfig": {"destination": "s3", "s3Path": path}}


@pytest.mark.usefixtures("with_s3")
@pytest.mark.parametrize(
    "path",
    ["s3://files/x", "s3://exports/kaireon", "s3://exports/kaireon/date=2026-03-22/a_b.c"],
)
def test_s3_path_inside_an_allowed_place(client: APIClient, required: dict, path: str) -> None:
    made = post(client, {**required, **to_s3(path)}).json()
    assert made["fileConfig"]["destination"] == "s3"
    assert made["fileConfig"]["s3Path"] == path
    url = f"{URL}/{made['id']}"
    changed = client.patch(url, {"fileConfig": {"destination": "download"}}, format="json").json()
    assert "s3Path" not in changed["fileConfig"]
    assert Campaign.unscoped.get().s3_path == ""


@pytest.mark.usefixtures("with_s3")
@pytest.mark.parametrize(
    "path",
    [
        *("s3://files", "s3://files/", "s3://files/x/", "s3://files//x", "s3:///x", "files/x"),
        *("s3://files/../exports/x", "s3://files/./x", "s3://files/a b", "s3://files/x?y"),
        *("https://files/x", "S3://files/x", "s3://files/x\ny", "s3://files/ü", "s3://f/x"),
        *("s3://exports/x", "s3://exports/kaireonx", "s3://other/x", "s3://files/" + "x" * 512),
    ],
)
def test_s3_path_anywhere_else(client: APIClient, required: dict, path: str) -> None:
    assert list(faults(post(client, {**required, **to_s3(path)}))) == ["fileConfig.s3Path"]
    assert not Campaign.unscoped.exists()


@pytest.mark.usefixtures("with_s3")
def test_refused_s3_path_names_the_allowed_places(client: APIClient, required: dict) -> None:
    (message,) = faults(post(client, {**required, **to_s3("s3://other/x")}))["fileConfig.s3Path"]
    assert "s3://files, s3://exports/kaireon" in message
