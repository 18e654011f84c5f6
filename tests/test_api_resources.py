"""What a campaign refers to, made over the API: one pattern for all."""

from typing import Any

import pytest
from django.urls import resolve
from rest_framework.test import APIClient

from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change_faults, error


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def test_lists_are_paged_alike(client: APIClient, tenant: Tenant) -> None:
    made = factories.OfferFactory.create_batch(5, tenant=tenant)
    for order, names in (("name", sorted(o.name for o in made)), ("-createdAt", None)):
        query = {"limit": 2, "ordering": order}
        seen = []
        while query:
            page = client.get(API + "offers", query).json()
            seen += [row["name"] for row in page["data"]]
            assert page["pagination"]["total"] == 5
            cursor = page["pagination"]["nextCursor"]
            assert page["pagination"]["hasMore"] == (cursor is not None)
            query = {**query, "cursor": cursor} if cursor else None
        assert sorted(seen) == sorted(o.name for o in made)
        assert names is None or seen == names


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 201},
        {"limit": "x"},
        {"cursor": "nonsense"},
        {"cursor": "WyJuYW1lIl0"},
        {"ordering": "margin"},
        {"status": "gone"},
        {"status": ""},
        {"categoryId": "off_UkLWZg9D"},
        {"categoryId": ""},
        {"categoryid": "x"},
        {"ordering": "--name"},
        {"offset": 1},
    ],
)
def test_a_list_refuses_what_it_does_not_understand(client: APIClient, query) -> None:
    answer = client.get(API + "offers", query)
    assert list(error(answer)["fields"]) == list(query)


def test_a_cursor_of_another_order_is_refused(client: APIClient, tenant: Tenant) -> None:
    factories.OfferFactory.create_batch(3, tenant=tenant)
    page = client.get(API + "offers", {"limit": 1, "ordering": "name"}).json()
    query = {"cursor": page["pagination"]["nextCursor"], "ordering": "createdAt"}
    assert list(error(client.get(API + "offers", query))["fields"]) == ["cursor"]


#: Resource -> the factory of its rows.
RESOURCES = {
    "categories": factories.CategoryFactory,
    "sub-categories": factories.SubCategoryFactory,
    "offers": factories.OfferFactory,
    "channels": factories.ChannelFactory,
    "placements": factories.PlacementFactory,
    "creatives": factories.CreativeFactory,
    "qualification-rules": factories.RuleFactory,
    "contact-policies": factories.PolicyFactory,
    "volume-constraints": factories.VolumeConstraintFactory,
    "frequency-caps": factories.VolumeConstraintFactory,
}
CONFIGS = {"qualification-rules": {"field": "age", "operator": "gt", "value": 1}}
every_resource = pytest.mark.parametrize("resource", RESOURCES)


def make(resource: str, tenant: Tenant, **fields: Any) -> Any:
    if resource in CONFIGS:
        fields["config"] = CONFIGS[resource]
    return RESOURCES[resource](tenant=tenant, **fields)


@every_resource
def test_changes_by_put_and_patch_raise_the_version(tenant: Tenant, resource: str) -> None:
    admin, row = api_client(tenant, "admin"), make(resource, tenant)
    url = f"{API}{resource}/{row.public_id}"
    before = admin.get(url).json()
    for version, method in ((2, admin.put), (3, admin.patch)):
        body = {"name": f"Take {version}", "version": version - 1}
        changed = method(url, body, format="json").json()
        assert changed == admin.get(url).json()
        assert (changed["name"], changed["version"]) == (f"Take {version}", version)
        kept = {"name", "version", "updatedAt"}
        assert {k: v for k, v in changed.items() if k not in kept} == {
            k: v for k, v in before.items() if k not in kept
        }
    response = admin.patch(url, {"name": "Late", "version": 2}, format="json")
    assert response.status_code == 409
    assert error(response)["message"].endswith(
        "has version 3, not 2: somebody changed it meanwhile."
    )
    assert admin.get(url).json() == changed
    assert row.history.count() == 3


@every_resource
def test_deleted_by_an_administrator(tenant: Tenant, resource: str) -> None:
    row = make(resource, tenant)
    url = f"{API}{resource}/{row.public_id}"
    assert api_client(tenant, "editor").delete(url).status_code == 403
    admin = api_client(tenant, "admin")
    assert admin.delete(url).status_code == 204
    assert admin.get(url).status_code == 404
    assert row.history.first().history_type == "-"


@every_resource
@pytest.mark.parametrize("body", [{"name": " "}, {"name": "x" * 256}, {"colour": 1}, {"id": "x"}])
def test_a_faulty_change_changes_nothing(tenant: Tenant, resource: str, body: dict) -> None:
    row = make(resource, tenant)
    found = change_faults(api_client(tenant, "admin"), resource, row.public_id, **body)
    assert list(found) == list(body)


@every_resource
def test_search(client: APIClient, tenant: Tenant, resource: str) -> None:
    make(resource, tenant)
    row = make(resource, tenant, name="Zanzibar 99")
    page = client.get(API + resource, {"search": "anzib"}).json()
    assert [found["id"] for found in page["data"]] == [row.public_id]


@every_resource
def test_every_ordering(client: APIClient, tenant: Tenant, resource: str) -> None:
    for _ in range(3):
        make(resource, tenant)
    view = resolve(f"{API}{resource}").func.cls
    for name in view.orderings:
        seen = []
        for ordering in (name, f"-{name}"):
            query: dict[str, Any] = {"limit": 1, "ordering": ordering}
            for _ in range(3):
                page = client.get(API + resource, query).json()
                seen += [row["id"] for row in page["data"]]
                query["cursor"] = page["pagination"]["nextCursor"]
        assert seen[:3] == seen[:2:-1], name
        assert len(set(seen)) == 3


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("resource", "factory", "queries"),
    [
        *((resource, factory, 3) for resource, factory in RESOURCES.items()),
    ],
)
def test_lists_take_the_same_queries_for_any_number(
    client: APIClient, tenant: Tenant, django_assert_num_queries, resource, factory, queries, count
) -> None:
    factory.create_batch(count, tenant=tenant)
    client.get(API + resource)
    with django_assert_num_queries(queries):
        assert client.get(API + resource).json()["pagination"]["total"] == count
