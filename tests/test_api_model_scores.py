"""Scores of one customer, files of imported models, and what keeps a model from being deleted."""

from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from campaigns.api import model_scores
from campaigns.models import AlgorithmModel
from executor.artifacts import facts_of, open_model
from executor.errors import Broken
from executor.spec import load_catalog
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests.boosted_model import STATE
from tests.clients import API, api_client, error
from tests.onnx_models import identity, linear

Json = dict[str, Any]
MODELS = f"{API}algorithm-models"
RULES = [
    {"field": "age", "operator": "gte", "value": 30, "points": 40, "description": "Grown up"},
    {"field": "customer.city", "operator": "eq", "value": "Oslo", "points": -5, "id": "oslo"},
]
CONFIG = {"inputs": ["age", "balance"]}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def made(tenant: Tenant, **fields: Any) -> AlgorithmModel:
    return factories.AlgorithmModelFactory(tenant=tenant, **fields)


def scored(client: APIClient, model: AlgorithmModel, **attributes: Any) -> Response:
    url = f"{MODELS}/{model.public_id}/score"
    return client.post(url, {"attributes": attributes}, format="json")


def upload(client: APIClient, model: AlgorithmModel, data: bytes) -> Response:
    url = f"{MODELS}/{model.public_id}/artifact"
    return client.put(url, data, content_type="application/octet-stream")


def faults(response: Response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def test_scorecard(client: APIClient, tenant: Tenant) -> None:
    model = made(tenant, config={"rules": RULES})
    answer = scored(client, model, age=45, city="Rome", other={"x": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "score": pytest.approx(0.9168, abs=5e-5),
        "rawScore": 90,
        "confidence": None,
        "explanations": [
            {"field": "age", "value": 45, "contribution": 40, "label": "Grown up"},
        ],
    }
    assert len(scored(client, model, age=45, city="Oslo").json()["explanations"]) == 2
    assert scored(client, model, age=None, city=None).json()["rawScore"] == 50


def test_other_types(client: APIClient, tenant: Tenant) -> None:
    counts = {"city": {"Oslo": {"positive": 9, "negative": 1}}}
    classes = {"positive": 10, "negative": 30}
    bayes = made(
        tenant, model_type="bayesian", model_state={"classCounts": classes, "counts": counts}
    )
    answer = scored(client, bayes, city="Oslo").json()
    assert answer["confidence"] == pytest.approx(0.2)
    assert answer["explanations"][0]["field"] == "city"
    state = {"bias": 1, "weights": {"age": 2}}
    logistic = made(tenant, model_type="logistic_regression", model_state=state)
    empty = scored(client, logistic, age=None).json()
    assert (empty["score"], empty["rawScore"]) == (None, None)
    assert empty["explanations"] == [
        {"field": "age", "value": None, "contribution": None, "label": ""}
    ]
    boosted = made(tenant, model_type="gradient_boosted", model_state=STATE)
    answer = scored(client, boosted, age=30, region=1, trend=0.5).json()
    assert answer["score"] == pytest.approx(0.6146761159402523)
    assert (answer["rawScore"], answer["explanations"]) == (None, [])


def test_missing_inputs_are_named(client: APIClient, tenant: Tenant) -> None:
    model = made(tenant, config={"rules": RULES})
    found = faults(scored(client, model, agee=3))
    assert set(found) == {"attributes.age", "attributes.customer.city"}
    assert 'did you mean "agee"?' in found["attributes.age"][0]
    found = faults(scored(client, model, age="old", city="Oslo"))
    assert list(found) == ["attributes.age"]
    found = faults(scored(client, model, age={"years": 3}, city="Oslo"))
    assert list(found) == ["attributes.age"]


def test_models_that_cannot_score(client: APIClient, tenant: Tenant) -> None:
    assert list(faults(scored(client, made(tenant)))) == ["config.rules"]
    config = {"url": "https://models.example.com/"}
    remote = made(tenant, model_type="external_endpoint", config=config)
    assert list(faults(scored(client, remote))) == ["modelType"]
    url = f"{MODELS}/{remote.public_id}/score"
    assert list(faults(client.post(url, {}, format="json"))) == ["attributes"]
    assert scored(client, factories.AlgorithmModelFactory()).status_code == 404


def test_roles(tenant: Tenant) -> None:
    model = made(tenant, config={"rules": RULES})
    viewer = api_client(tenant, "viewer")
    assert scored(viewer, model, age=1, city="x").status_code == 200
    assert upload(viewer, model, linear()).status_code == 403


def test_imported_model_lives(client: APIClient, tenant: Tenant) -> None:
    model = made(tenant, model_type="onnx_imported", config=CONFIG)
    url = f"{MODELS}/{model.public_id}"
    answer = upload(client, model, linear())
    assert answer.status_code == 200, answer.json()
    shown = answer.json()
    assert (shown["artifactSizeBytes"], shown["version"]) == (len(linear()), 2)
    assert len(shown["artifactSha256"]) == 64
    assert client.get(url).json() == shown
    active = client.patch(url, {"status": "active"}, format="json")
    assert active.status_code == 200, active.json()
    assert scored(client, model, age=1, balance=2).json()["score"] == pytest.approx(0.5249792)
    (facts,) = load_catalog(tenant).models
    assert facts.artifact_sha256 == shown["artifactSha256"]
    assert open_model(facts, open_storage()).fields == ("age", "balance")


def test_active_model_keeps_a_file_that_works(client: APIClient, tenant: Tenant) -> None:
    model = made(tenant, model_type="onnx_imported", config=CONFIG)
    upload(client, model, linear())
    url = f"{MODELS}/{model.public_id}"
    before = client.patch(url, {"status": "active"}, format="json").json()
    assert list(faults(upload(client, model, identity([None, 1])))) == ["config.inputs"]
    assert list(faults(client.patch(url, {"config": {}}, format="json"))) == ["config.inputs"]
    assert client.get(url).json() == before


@pytest.mark.parametrize("data", [b"", b"no model", linear()[:100]])
def test_files_that_are_no_model(client: APIClient, tenant: Tenant, data: bytes) -> None:
    model = made(tenant, model_type="onnx_imported")
    assert upload(client, model, data).status_code == 400
    model.refresh_from_db()
    assert (model.artifact_sha256, model.version) == ("", 1)


def test_refused_uploads(
    client: APIClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(tenant, model_type="onnx_imported")
    assert list(faults(upload(client, made(tenant), linear()))) == ["modelType"]
    url = f"{MODELS}/{model.public_id}/artifact"
    assert client.put(url, {"file": 1}, format="json").status_code == 415
    assert upload(client, factories.AlgorithmModelFactory(), linear()).status_code == 404
    monkeypatch.setattr(model_scores, "MAX_ARTIFACT_BYTES", 10)
    assert upload(client, model, linear()).status_code == 413


def test_file_that_has_changed_is_our_fault(client: APIClient, tenant: Tenant) -> None:
    model = made(tenant, model_type="onnx_imported", config=CONFIG)
    upload(client, model, linear())
    model.refresh_from_db()
    facts = facts_of(model)
    open_storage().put(facts.artifact_key, linear((1, 1)))
    with pytest.raises(Broken, match="not the one that was uploaded"):
        open_model(facts, open_storage())
    open_storage().delete([facts.artifact_key])
    with pytest.raises(Broken, match="is gone"):
        open_model(facts, open_storage())


def test_only_active_models_are_frozen(tenant: Tenant) -> None:
    made(tenant, config={"rules": RULES})
    active = made(tenant, config={"rules": RULES}, status="active", predictors=[{"field": "age"}])
    factories.AlgorithmModelFactory(status="active")
    (facts,) = load_catalog(tenant).models
    assert (facts.key, facts.name, facts.predictors) == (active.pk, active.key, ({"field": "age"},))


def node(**config: Any) -> Json:
    return {"version": 2, "nodes": [{"id": "s", "type": "score", "config": config}]}


@pytest.mark.parametrize(
    "config",
    [
        {"modelKey": "churn"},
        {"championChallenger": {"challengers": [{"modelKey": "churn", "weight": 1}]}},
        {"shadowModelKeys": ["other", "churn"]},
    ],
)
@pytest.mark.parametrize("place", ["draft", "version", "rule"])
def test_model_in_use_stays(tenant: Tenant, config: Json, place: str) -> None:
    model = made(tenant, key="churn")
    if place == "draft":
        user = factories.FlowFactory(tenant=tenant, draft_config=node(**config), name="User")
    elif place == "version":
        user = factories.FlowFactory(tenant=tenant, name="User")
        factories.FlowVersionFactory(flow=user, version=1, config=node(**config))
    else:
        user = factories.RuleFactory(tenant=tenant, config=config, name="User")
    admin = api_client(tenant, "admin")
    answer = admin.delete(f"{MODELS}/{model.public_id}")
    assert answer.status_code == 409
    assert '"User"' in error(answer)["message"]
    assert AlgorithmModel.unscoped.filter(pk=model.pk).exists()
    other = made(tenant, key="other-model")
    assert admin.delete(f"{MODELS}/{other.public_id}").status_code == 204
    user.delete()
    assert admin.delete(f"{MODELS}/{model.public_id}").status_code == 204
