"""Two tenants with the same data: neither can reach a row of the other."""

import pytest
from django.urls import URLPattern
from rest_framework.test import APIClient

from campaigns.api.urls import urlpatterns
from campaigns.models import RunFile
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error


def fill(tenant: Tenant) -> dict[str, str]:
    """Make one row of every kind; return their ids by kind."""
    campaign = factories.CampaignFactory(tenant=tenant)
    run = factories.RunFactory(campaign=campaign)
    creative = factories.CreativeFactory(tenant=tenant)
    sizes = {"size_bytes": 0, "row_count": 0}
    file = RunFile.unscoped.create(
        tenant=tenant, run=run, name="a.csv", storage_key="gone", **sizes
    )
    rows = {
        "runs": campaign,
        "campaign-runs": run,
        "file": file,
        "schemas": campaign.segment.base_schema,
        "segments": campaign.segment,
        "decision-flows": campaign.flow,
        "categories": factories.CategoryFactory(tenant=tenant),
        "offers": creative.offer,
        "channels": creative.channel,
        "creatives": creative,
        "qualification-rules": factories.RuleFactory(tenant=tenant),
    }
    return {kind: row.public_id for kind, row in rows.items()}


@pytest.fixture
def foreign(tenant: Tenant) -> dict[str, str]:
    fill(tenant)
    return fill(factories.TenantFactory())


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def addresses(ids: dict[str, str], *, with_id: bool) -> list[str]:
    """Every address of the API, its ids taken from `ids`."""
    routes = [str(route.pattern) for route in urlpatterns if isinstance(route, URLPattern)]
    return [
        "/api/v1/"
        + route.replace("<str:id>", ids.get(route.partition("/")[0], "")).replace(
            "<str:file>", ids["file"]
        )
        for route in routes
        if ("<str:id>" in route) == with_id
    ]


def test_addresses_are_all_there(foreign: dict[str, str]) -> None:
    assert len(addresses(foreign, with_id=True)) == 13
    assert len(addresses(foreign, with_id=False)) == 10


@pytest.mark.parametrize("method", ["get", "post", "put", "patch"])
def test_foreign_ids_are_404_everywhere(
    admin: APIClient, foreign: dict[str, str], method: str
) -> None:
    for address in addresses(foreign, with_id=True):
        response = getattr(admin, method)(address, {}, format="json")
        assert response.status_code in (404, 405), address
        if method == "get":
            assert error(response)["code"] == "not_found", address


def test_own_ids_are_found(tenant: Tenant, admin: APIClient) -> None:
    for address in addresses(fill(tenant), with_id=True):
        found = admin.get(address)
        missing_bytes = found.status_code == 404 and address.endswith(("/download", "/file"))
        assert found.status_code == 200 or missing_bytes, address


def test_lists_show_only_the_callers_rows(admin: APIClient, foreign: dict[str, str]) -> None:
    foreign_ids = set(foreign.values())
    for address in addresses(foreign, with_id=False):
        if address.endswith("/publish"):
            continue
        page = admin.get(address).json()
        rows = page.get("runs", page.get("data"))
        total = page["total"] if "total" in page else page["pagination"]["total"]
        assert total == len(rows) > 0, address
        assert not foreign_ids & {row["id"] for row in rows}, address


def test_foreign_ids_in_bodies_do_not_exist(admin: APIClient, foreign: dict[str, str]) -> None:
    bodies = {
        "segments": {"name": "x", "baseSchemaId": foreign["schemas"]},
        "offers": {"name": "x", "categoryId": foreign["categories"]},
        "creatives": {
            "name": "x",
            "offerId": foreign["offers"],
            "channelId": foreign["channels"],
        },
        "qualification-rules": {
            "name": "x",
            "ruleType": "attribute_condition",
            "config": {},
            "scope": "offer",
            "scopeId": foreign["offers"],
        },
    }
    for resource, body in bodies.items():
        response = admin.post(f"/api/v1/{resource}", body, format="json")
        wrong = [name for name in body if name.endswith("Id")]
        assert list(error(response)["fields"]) == wrong, resource


def test_foreign_flow_is_not_published(admin: APIClient, foreign: dict[str, str]) -> None:
    body = {"id": foreign["decision-flows"]}
    assert admin.post("/api/v1/decision-flows/publish", body, format="json").status_code == 404


def test_every_address_needs_credentials(foreign: dict[str, str]) -> None:
    for with_id in (True, False):
        for address in addresses(foreign, with_id=with_id):
            for method in ("get", "post", "put", "patch", "delete"):
                response = getattr(APIClient(), method)(address, {}, format="json")
                assert response.status_code == 401, (method, address)
