"""Decision flows over the API: drafts, checks, publishing, versions and the way back."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from rest_framework.response import Response
from rest_framework.test import APIClient

from campaigns.models import Flow
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error
from tests.flow_samples import conditions, flow, formula, leaf, node
from tests.sources import ROOT

API = "/api/v1/decision-flows"
STAMPS = ("id", "createdAt", "updatedAt")


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def create(client: APIClient, **body: Any) -> dict[str, Any]:
    response = client.post(API, {"key": "next", "name": "Next best", **body}, format="json")
    assert response.status_code == 201, response.json()
    made: dict[str, Any] = response.json()
    assert client.get(f"{API}/{made['id']}").json() == made
    assert made in client.get(API).json()["data"]
    return made


def change(client: APIClient, made: Mapping[str, Any], **body: Any) -> Response:
    return client.patch(f"{API}/{made['id']}", body, format="json")


def post(client: APIClient, action: str, **body: Any) -> Response:
    return client.post(f"{API}/{action}", body, format="json")


def faults(response: Response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def published(client: APIClient, *configs: dict[str, Any]) -> dict[str, Any]:
    """A flow with these definitions as its versions."""
    made = create(client)
    for config in configs:
        assert change(client, made, draftConfig=config).status_code == 200
        response = post(client, "publish", id=made["id"], notes=f"with {len(config['nodes'])}")
    return response.json()


def test_flow_is_created_and_published(client: APIClient) -> None:
    made = create(client, draftConfig=flow())
    assert {name: value for name, value in made.items() if name not in STAMPS} == {
        "key": "next",
        "name": "Next best",
        "description": "",
        "status": "draft",
        "draftConfig": flow(),
        "publishedVersions": [],
        "isDefault": True,
        "rowVersion": 1,
    }
    for version in (1, 2):
        answer = post(client, "publish", id=made["id"], notes=f"take {version}").json()
        newest = answer["publishedVersions"][0]
        assert (newest["version"], newest["notes"]) == (version, f"take {version}")
    assert (answer["status"], len(answer["publishedVersions"])) == ("active", 2)
    assert answer["rowVersion"] == 3


def test_flow_faults(client: APIClient) -> None:
    body: dict[str, Any] = {"key": "a b", "name": "", "draftConfig": [], "isDefault": "yes"}
    found = faults(client.post(API, body, format="json"))
    assert set(found) == {"key", "name", "draftConfig", "isDefault"}
    config = flow(node("answer"))
    body = {"key": "a", "name": "A", "draftConfig": config, "status": "active"}
    assert set(faults(client.post(API, body, format="json"))) == {
        "draftConfig.nodes[1].type",
        "status",
    }
    body = {"key": "a", "name": "A", "draftConfig": {**flow(), "name": "x"}}
    assert list(faults(client.post(API, body, format="json"))) == ["draftConfig.name"]
    assert not Flow.unscoped.exists()


def test_key_is_there_once(client: APIClient) -> None:
    create(client)
    response = client.post(API, {"key": "next", "name": "Other"}, format="json")
    assert response.status_code == 409
    assert error(response)["message"] == "There is a flow with this key already."
    assert Flow.unscoped.count() == 1


def test_default_is_one(client: APIClient) -> None:
    first = create(client)
    second = create(client, key="second", isDefault=True)
    assert (first["isDefault"], second["isDefault"]) == (True, True)
    assert defaults(client) == {"next": False, "second": True}
    assert change(client, first, isDefault=True).json()["isDefault"] is True
    assert defaults(client) == {"next": True, "second": False}
    create(client, key="third", isDefault=False)
    assert defaults(client) == {"next": True, "second": False, "third": False}


def defaults(client: APIClient) -> dict[str, bool]:
    return {row["key"]: row["isDefault"] for row in client.get(API).json()["data"]}


@pytest.mark.django_db(transaction=True)
def test_default_chosen_at_once_is_one() -> None:
    tenant = factories.TenantFactory()
    flows = factories.FlowFactory.create_batch(4, tenant=tenant)
    client, start = api_client(tenant), Barrier(4)

    def choose(public_id: str) -> int:
        start.wait()
        try:
            return change(client, {"id": public_id}, isDefault=True).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(choose, [each.public_id for each in flows])) == {200}
    assert list(defaults(client).values()).count(True) == 1


def test_flow_is_changed(client: APIClient) -> None:
    made = create(client, draftConfig=flow())
    body = {"name": "Renamed", "description": "new", "draftConfig": flow(node("qualify"))}
    changed = change(client, made, **body, status="paused", key="next", rowVersion=1).json()
    assert {name: changed[name] for name in body} == body
    assert (changed["status"], changed["rowVersion"]) == ("paused", 2)
    assert change(client, made, draftConfig={}).json()["draftConfig"] == {}


def test_stale_change_is_refused(client: APIClient) -> None:
    made = create(client)
    change(client, made, name="First")
    stale = change(client, made, name="Second", rowVersion=1)
    assert (stale.status_code, error(stale)["code"]) == (409, "conflict")
    assert client.get(f"{API}/{made['id']}").json()["name"] == "First"
    assert list(faults(change(client, made, rowVersion="2"))) == ["rowVersion"]


def test_faulty_change_changes_nothing(client: APIClient) -> None:
    made = create(client, draftConfig=flow())
    body = {"draftConfig": flow(node("magic")), "key": "other", "status": "active", "name": "x"}
    assert set(faults(change(client, made, **body))) == {
        "draftConfig.nodes[1].type",
        "key",
        "status",
    }
    assert set(faults(change(client, made, publishedVersions=[], id="df_x"))) == {
        "publishedVersions",
        "id",
    }
    assert client.get(f"{API}/{made['id']}").json() == made


def test_published_flow_is_paused_and_resumed(client: APIClient) -> None:
    made = published(client, flow())
    for status in ("paused", "active"):
        assert change(client, made, status=status).json()["status"] == status


def test_published_flow_is_deleted_once_archived(client: APIClient, admin: APIClient) -> None:
    made = published(client, flow())
    refused = admin.delete(f"{API}/{made['id']}")
    assert (refused.status_code, "archive" in error(refused)["message"]) == (409, True)
    assert client.get(f"{API}/{made['id']}").json() == made
    change(client, made, status="archived")
    assert admin.delete(f"{API}/{made['id']}").status_code == 204
    assert client.get(f"{API}/{made['id']}").status_code == 404


def test_used_flow_is_not_deleted(admin: APIClient, tenant: Tenant) -> None:
    used = factories.FlowVersionFactory(flow__tenant=tenant).flow
    factories.CampaignFactory(tenant=tenant, flow=used, name="Spring")
    lent = factories.FlowFactory(tenant=tenant)
    run = factories.RunFactory(campaign__tenant=tenant, campaign__name="Once", flow=lent)
    for row, user in ((used, 'campaign "Spring"'), (lent, f'run "Once #{run.run_number}"')):
        refused = admin.delete(f"{API}/{row.public_id}")
        assert (refused.status_code, user in error(refused)["message"]) == (409, True)
    assert Flow.objects.of(tenant).count() == 3


def test_editor_may_not_delete(client: APIClient) -> None:
    assert client.delete(f"{API}/{create(client)['id']}").status_code == 403


def test_empty_flow_cannot_be_published(client: APIClient) -> None:
    made = create(client)
    assert list(faults(post(client, "publish", id=made["id"]))) == ["draftConfig"]
    assert client.get(f"{API}/{made['id']}").json() == made


@pytest.mark.parametrize("action", ["publish", "rollback"])
def test_publish_faults(admin: APIClient, action: str) -> None:
    foreign = factories.FlowVersionFactory().flow
    more = {"version": 1} if action == "rollback" else {}
    assert list(faults(post(admin, action, **more))) == ["id"]
    assert list(faults(post(admin, action, id=1, **more))) == ["id"]
    assert list(faults(post(admin, action, id="x", note="", **more))) == ["note"]
    for unknown in ("df_nothing", foreign.public_id):
        assert post(admin, action, id=unknown, **more).status_code == 404
    assert admin.get(f"{API}/{action}").status_code == 405
    assert foreign.versions.count() == 1


def test_versions_are_listed_newest_first(client: APIClient) -> None:
    made = published(client, flow(), flow(node("qualify"), score=formula()))
    by_path = client.get(f"{API}/{made['id']}/versions").json()
    assert by_path == client.get(f"{API}/versions", {"id": made["id"]}).json()
    assert by_path["flowId"] == made["id"]
    newest, first = by_path["versions"]
    assert newest.pop("publishedAt").endswith("Z")
    assert newest == {
        "version": 2,
        "notes": "with 4",
        "summary": {"nodeCount": 4, "scoringMethod": "formula"},
    }
    assert first["summary"] == {"nodeCount": 3, "scoringMethod": "priority_weighted"}


def test_version_is_read_whole(client: APIClient, tenant: Tenant) -> None:
    made = published(client, flow(), flow(node("qualify")))
    url = f"{API}/{made['id']}/versions"
    first = client.get(f"{url}/1").json()
    listed = client.get(url).json()["versions"][1]
    assert first == {"flowId": made["id"], **listed, "configSnapshot": flow()}
    assert client.get(f"{url}/3").status_code == 404
    assert client.get(f"{url}/{2**70}").status_code == 404
    assert client.get(f"{url}/x").status_code == 404
    viewer = api_client(tenant, "viewer")
    assert (viewer.get(url).status_code, viewer.get(f"{url}/1").status_code) == (200, 403)


def test_versions_of_others_are_not_found(client: APIClient) -> None:
    foreign = factories.FlowVersionFactory().flow.public_id
    assert client.get(f"{API}/versions", {"id": foreign}).status_code == 404
    assert client.get(f"{API}/{foreign}/versions").status_code == 404
    assert client.get(f"{API}/{foreign}/versions/1").status_code == 404
    assert list(faults(client.get(f"{API}/versions"))) == ["id"]
    assert list(faults(client.get(f"{API}/versions", {"id": foreign, "limit": 1}))) == ["limit"]


def test_rollback_appends_a_copy(client: APIClient, admin: APIClient) -> None:
    made = published(client, flow(), flow(node("qualify")))
    change(client, made, status="paused", draftConfig={})
    back = post(admin, "rollback", id=made["id"], version=1, notes="too strict").json()
    assert (back["status"], back["draftConfig"]) == ("active", flow())
    notes = [(each["version"], each["notes"]) for each in back["publishedVersions"]]
    assert notes == [(3, "Rollback to v1: too strict"), (2, "with 4"), (1, "with 3")]
    newest = client.get(f"{API}/{made['id']}/versions/3").json()
    assert newest["configSnapshot"] == flow()


def test_rollback_is_for_admins_and_known_versions(client: APIClient, admin: APIClient) -> None:
    made = published(client, flow())
    assert post(client, "rollback", id=made["id"], version=1).status_code == 403
    for version in (0, 2, "1", None, 2**40):
        found = faults(post(admin, "rollback", id=made["id"], version=version))
        assert list(found) == ["version"]
    assert client.get(f"{API}/{made['id']}").json() == made


def test_draft_is_validated(client: APIClient, tenant: Tenant) -> None:
    assert post(client, "validate", draftConfig=flow()).json() == {"valid": True, "errors": []}
    offer = factories.OfferFactory()
    inventory = node("inventory", scope="offers", offerIds=[offer.public_id])
    for config, path in [
        ({}, "draftConfig.nodes"),
        ([], "draftConfig"),
        (flow(node("magic")), "draftConfig.nodes[1].type"),
        (flow(inventory=inventory), "draftConfig.nodes[0].config.offerIds[0]"),
    ]:
        answer = post(client, "validate", draftConfig=config)
        assert (answer.status_code, answer.json()["valid"]) == (200, False)
        assert path in [fault["path"] for fault in answer.json()["errors"]]
    assert not Flow.unscoped.exists()


def test_draft_is_compiled_for_a_segment(client: APIClient, tenant: Tenant) -> None:
    factories.CreativeFactory(tenant=tenant)
    segment = factories.SegmentFactory(tenant=tenant)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE VIEW segments.{segment.view_name} AS SELECT 1::bigint AS age")
    config = flow(conditions(leaf("customer.age", "gt", 17)))
    answer = post(client, "validate", draftConfig=config, segmentId=segment.public_id).json()
    assert (answer["valid"], answer["errors"]) == (True, [])
    assert answer["plan"][0] == "1 offer in 1 channel: 1 candidate"
    assert answer["plan"][-1] == "Reads the customer columns age"
    wrong = flow(conditions(leaf("customer.height", "gt", 17)))
    answer = post(client, "validate", draftConfig=wrong, segmentId=segment.public_id).json()
    assert [fault["path"] for fault in answer["errors"]] == [
        "draftConfig.nodes[1].config.conditions[0].field"
    ]
    factories.RuleFactory(
        tenant=tenant, name="Tall", config={"field": "height", "operator": "gt", "value": 1}
    )
    config = flow(node("qualify"))
    answer = post(client, "validate", draftConfig=config, segmentId=segment.public_id).json()
    assert [fault["path"] for fault in answer["errors"]] == ['rules["Tall"].config.field']


def test_draft_needs_a_segment_that_is_there(client: APIClient, tenant: Tenant) -> None:
    gone, foreign = factories.SegmentFactory(tenant=tenant), factories.SegmentFactory()
    answer = post(client, "validate", draftConfig=flow(), segmentId=gone.public_id).json()
    assert [fault["path"] for fault in answer["errors"]] == ["segmentId"]
    body = {"draftConfig": flow(), "segmentId": foreign.public_id}
    assert list(faults(post(client, "validate", **body))) == ["segmentId"]
    assert list(faults(post(client, "validate"))) == ["draftConfig"]
    assert api_client(tenant, "viewer").post(f"{API}/validate", {}).status_code in (403, 415)


def test_schema_of_definitions(client: APIClient) -> None:
    written = json.loads((ROOT / "docs" / "flow.schema.json").read_text())
    assert client.get(f"{API}/schema").json() == written


def test_list_comes_by_status_and_change(client: APIClient, tenant: Tenant) -> None:
    for key, status in [("a", "draft"), ("b", "active"), ("c", "active"), ("d", "archived")]:
        factories.FlowFactory(tenant=tenant, key=key, name=f"The {key}", status=status)
    pages, query = [], {"limit": 1}
    while query:
        page = client.get(API, query).json()
        pages += [row["key"] for row in page["data"]]
        cursor = page["pagination"]["nextCursor"]
        query = {"limit": 1, "cursor": cursor} if cursor else None
    assert pages == ["c", "b", "d", "a"]
    for query, keys in [
        ({"status": "active"}, ["c", "b"]),
        ({"key": "a"}, ["a"]),
        ({"search": "THE D"}, ["d"]),
        ({"ordering": "-key"}, ["d", "c", "b", "a"]),
    ]:
        assert [row["key"] for row in client.get(API, query).json()["data"]] == keys
    for query in ({"status": "on"}, {"flow": "a"}, {"ordering": "draftConfig"}):
        assert list(faults(client.get(API, query))) == list(query)


@pytest.mark.parametrize("count", [1, 20])
def test_list_takes_the_same_queries(
    client: APIClient, tenant: Tenant, django_assert_num_queries, count: int
) -> None:
    for flow_of_many in factories.FlowFactory.create_batch(count, tenant=tenant):
        for version in (1, 2):
            factories.FlowVersionFactory(flow=flow_of_many, version=version)
    client.get(API)
    with django_assert_num_queries(4):
        rows = client.get(API).json()["data"]
    assert [len(row["publishedVersions"]) for row in rows] == [2] * count


def test_every_change_is_kept(client: APIClient) -> None:
    made = published(client, flow())
    stored = Flow.unscoped.get()
    assert [each.status for each in stored.history.all()] == ["active", "draft", "draft"]
    assert made["rowVersion"] == stored.version == 3


def test_flow_names_only_what_there_is(client: APIClient, tenant: Tenant) -> None:
    gone = factories.RankingProfileFactory()  # of another tenant
    config = flow(
        node("enrich", schemaId=factories.SchemaFactory().public_id),
        node("call_flow", flowKey="nowhere"),
        score=node("score", method="formula", modelKey="none", strategyProfileId=gone.public_id),
    )
    answer = post(client, "validate", draftConfig=config).json()
    assert sorted(fault["path"] for fault in answer["errors"]) == [
        "draftConfig.nodes[1].config.schemaId",
        "draftConfig.nodes[2].config.flowKey",
        "draftConfig.nodes[3].config.modelKey",
        "draftConfig.nodes[3].config.strategyProfileId",
    ]


def test_what_a_flow_names_cannot_be_deleted(tenant: Tenant) -> None:
    client = api_client(tenant, "admin")
    profile = factories.RankingProfileFactory(tenant=tenant, weights={"propensity": 1})
    inner = create(client, draftConfig=flow(), key="inner", name="Inner")
    post(client, "publish", id=inner["id"])
    score = node("score", method="formula", strategyProfileId=profile.public_id)
    create(client, draftConfig=flow(node("call_flow", flowKey="inner"), score=score))
    for url in (f"/api/v1/ranking-profiles/{profile.public_id}", f"{API}/{inner['id']}"):
        assert client.delete(url).status_code == 409, url
