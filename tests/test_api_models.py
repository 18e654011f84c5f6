"""Algorithm models over the API, and what their config and modelState must look like."""

from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from campaigns.models import AlgorithmModel
from executor.models.checks import MAX_FAULTS, model_faults
from executor.models.tree_checks import MAX_DEPTH
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

API = "/api/v1/algorithm-models"
Json = dict[str, Any]

RULE = {"id": "r1", "field": "balance", "operator": "gte", "value": 1000, "points": 20}
SPLIT = {
    "split_feature": 0,
    "threshold": 1.5,
    "left_child": {"leaf_value": -0.5},
    "right_child": {"leaf_value": 2},
}
STATES: dict[str, Json] = {
    "scorecard": {"config": {"rules": [RULE]}},
    "logistic_regression": {"modelState": {"weights": {"age": 0.1}, "bias": -2}},
    "bayesian": {
        "config": {"laplaceSmoothingAlpha": 0.5},
        "modelState": {
            "classCounts": {"positive": 120, "negative": 880},
            "binEdges": {"age": [30, 50]},
            "counts": {
                "age": {bin: {"positive": 40, "negative": 293} for bin in "012"},
                "city": {"Oslo": {"positive": 1, "negative": 0}},
            },
        },
    },
    "gradient_boosted": {
        "modelState": {"feature_names": ["age"], "trees": [{"tree_structure": SPLIT}]}
    },
    "external_endpoint": {
        "config": {
            "url": "https://models.example.com/score",
            "timeoutMs": 3000,
            "fallbackScore": 0.5,
            "responseMapping": {"scoresPath": "data.scores", "offerIdField": "id"},
        }
    },
    "onnx_imported": {"config": {"framework": "scikit-learn"}},
}


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


def create(client: APIClient, model_type: str = "scorecard", **body: Any) -> Response:
    body = {"key": "churn", "name": "Churn", "modelType": model_type, **body}
    return client.post(API, body, format="json")


def faults(response: Response) -> dict[str, list[str]]:
    assert response.status_code == 400, response.json()
    return error(response)["fields"]


def test_model_lives(client: APIClient, tenant: Tenant) -> None:
    body = {
        "description": "who leaves",
        "config": {"rules": [RULE], "normalization": "linear"},
        "predictors": [{"field": "balance", "selected": True, "importance": 0.4}],
        "metrics": {"auc": 0.81},
        "modelState": {},
        "learningConfig": {"window": 90},
        "targetField": "churned",
        "targetSchemaKey": "customers",
    }
    made = create(client, **body).json()
    assert {name: made[name] for name in body} == body
    assert (made["status"], made["version"], made["modelType"]) == ("draft", 1, "scorecard")
    url = f"{API}/{made['id']}"
    assert client.get(url).json() == made
    without_state = {name: made[name] for name in made if name != "modelState"}
    assert client.get(API).json()["data"] == [without_state]
    changed = client.patch(url, {"status": "active", "version": 1}, format="json").json()
    assert (changed["status"], changed["version"]) == ("active", 2)
    stale = client.patch(url, {"name": "x", "version": 1}, format="json")
    assert stale.status_code == 409
    assert client.delete(url).status_code == 403
    assert api_client(tenant, "admin").delete(url).status_code == 204
    assert client.get(url).status_code == 404


@pytest.mark.parametrize("model_type", [*STATES])
def test_whole_model_may_be_active(client: APIClient, model_type: str) -> None:
    made = create(client, model_type, **STATES[model_type]).json()
    assert STATES[model_type].items() <= made.items()
    active = client.patch(f"{API}/{made['id']}", {"status": "active"}, format="json")
    assert active.status_code == (400 if model_type == "onnx_imported" else 200), active.json()


@pytest.mark.parametrize(
    ("model_type", "path"),
    [
        ("scorecard", "config.rules"),
        ("logistic_regression", "modelState.weights"),
        ("bayesian", "modelState.counts"),
        ("gradient_boosted", "modelState.trees"),
        ("external_endpoint", "config.url"),
        ("onnx_imported", "artifact"),
    ],
)
def test_empty_model_is_a_draft_only(client: APIClient, model_type: str, path: str) -> None:
    assert path in faults(create(client, model_type, status="active"))
    made = create(client, model_type).json()
    url = f"{API}/{made['id']}"
    assert path in faults(client.patch(url, {"status": "active"}, format="json"))
    assert client.get(url).json() == made


def test_active_model_stays_whole(client: APIClient) -> None:
    made = create(client, **STATES["scorecard"], status="active").json()
    url = f"{API}/{made['id']}"
    assert list(faults(client.patch(url, {"config": {}}, format="json"))) == ["config.rules"]
    change = {"modelType": "logistic_regression"}
    found = faults(client.patch(url, change, format="json"))
    assert set(found) == {"config.rules", "modelState.bias", "modelState.weights"}
    assert client.get(url).json() == made


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"key": "a b"}, "key"),
        ({"key": "k" * 256}, "key"),
        ({"name": ""}, "name"),
        ({"modelType": "oracle"}, "modelType"),
        ({"status": "on"}, "status"),
        ({"config": []}, "config"),
        ({"metrics": {str(n): n for n in range(101)}}, "metrics"),
        ({"modelState": {str(n): n for n in range(101)}}, "modelState"),
        ({"learningConfig": {str(n): n for n in range(101)}}, "learningConfig"),
        ({"predictors": {}}, "predictors"),
        ({"predictors": [{"field": "a"}] * 1001}, "predictors"),
        ({"predictors": ["age"]}, "predictors[0]"),
        ({"predictors": [{"selected": True}]}, "predictors[0].field"),
        ({"predictors": [{"field": "a"}, {"field": "a"}]}, "predictors[1].field"),
        ({"predictors": [{"field": "a", "selected": 1}]}, "predictors[0].selected"),
        ({"predictors": [{"field": "a", "importance": "high"}]}, "predictors[0].importance"),
        ({"predictors": [{"field": "a", "weight": 1}]}, "predictors[0].weight"),
        ({"modelstate": {}}, "modelstate"),
    ],
)
def test_model_faults(client: APIClient, body: Json, path: str) -> None:
    assert list(faults(create(client, **body))) == [path]
    assert not AlgorithmModel.unscoped.exists()


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"baseScore": "50"}, "baseScore"),
        ({"minScore": 5, "maxScore": 5}, "maxScore"),
        ({"minScore": 100}, "maxScore"),
        ({"normalization": "log"}, "normalization"),
        ({"basescore": 1}, "basescore"),
        ({"rules": {}}, "rules"),
        ({"rules": [5]}, "rules[0]"),
        ({"rules": [{**RULE, "operator": "regex"}]}, "rules[0].operator"),
        ({"rules": [{**RULE, "operator": ["in"]}]}, "rules[0].operator"),
        ({"rules": [{**RULE, "points": None}]}, "rules[0].points"),
        ({"rules": [{**RULE, "field": " "}]}, "rules[0].field"),
        ({"rules": [{**RULE, "weight": 1}]}, "rules[0].weight"),
        ({"rules": [{**RULE, "description": 1}]}, "rules[0].description"),
        ({"rules": [RULE, {**RULE, "field": "age"}]}, "rules[1].id"),
        ({"rules": [{**RULE, "value": True}]}, "rules[0].value"),
        ({"rules": [{**RULE, "operator": "in", "value": 1}]}, "rules[0].value"),
        ({"rules": [{**RULE, "operator": "not_in", "value": []}]}, "rules[0].value"),
        ({"rules": [{**RULE, "operator": "in", "value": [None]}]}, "rules[0].value"),
        ({"rules": [{**RULE, "operator": "contains", "value": 1}]}, "rules[0].value"),
        ({"rules": [{**RULE, "operator": "eq", "value": None}]}, "rules[0].value"),
    ],
)
def test_scorecard_faults(client: APIClient, config: Json, path: str) -> None:
    assert f"config.{path}" in faults(create(client, config=config))


@pytest.mark.parametrize(
    ("operator", "value"),
    [("eq", True), ("neq", "x"), ("lt", "2026-01-01"), ("in", [1, "a", False]), ("contains", "x")],
)
def test_scorecard_operands(client: APIClient, operator: str, value: object) -> None:
    rule = {**RULE, "operator": operator, "value": value, "description": ""}
    assert create(client, config={"rules": [rule]}).status_code == 201


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"bias": "x"}, "bias"),
        ({"bias": True}, "bias"),
        ({"weights": [1]}, "weights"),
        ({"weights": {"age": None}}, "weights.age"),
    ],
)
def test_logistic_regression_faults(client: APIClient, state: Json, path: str) -> None:
    found = faults(create(client, "logistic_regression", modelState=state))
    assert list(found) == [f"modelState.{path}"]


ONE = {"positive": 1, "negative": 2}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"config": {"laplaceSmoothingAlpha": 0}}, "config.laplaceSmoothingAlpha"),
        ({"config": {"laplaceSmoothingAlpha": "1"}}, "config.laplaceSmoothingAlpha"),
        ({"config": {"alpha": 1}}, "config.alpha"),
        ({"modelState": {"classCounts": {"positive": 1}}}, "modelState.classCounts.negative"),
        ({"modelState": {"classCounts": 7}}, "modelState.classCounts"),
        ({"modelState": {"classCounts": {**ONE, "maybe": 1}}}, "modelState.classCounts.maybe"),
        ({"modelState": {"binEdges": {"age": [50, 30]}}}, "modelState.binEdges.age"),
        ({"modelState": {"binEdges": {"age": [30, 30]}}}, "modelState.binEdges.age"),
        ({"modelState": {"binEdges": {"age": []}}}, "modelState.binEdges.age"),
        ({"modelState": {"binEdges": {"age": ["x"]}}}, "modelState.binEdges.age"),
        ({"modelState": {"binEdges": [1]}}, "modelState.binEdges"),
        ({"modelState": {"counts": []}}, "modelState.counts"),
        ({"modelState": {"counts": {"city": {}}}}, "modelState.counts.city"),
        ({"modelState": {"counts": {"city": {"Oslo": 3}}}}, "modelState.counts.city.Oslo"),
        (
            {"modelState": {"counts": {"city": {"Oslo": {**ONE, "negative": -1}}}}},
            "modelState.counts.city.Oslo.negative",
        ),
        (
            {"modelState": {"binEdges": {"age": [30]}, "counts": {"age": {"2": ONE}}}},
            "modelState.counts.age.2",
        ),
    ],
)
def test_bayesian_faults(client: APIClient, body: Json, path: str) -> None:
    assert list(faults(create(client, "bayesian", **body))) == [path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"split_feature": 1}, "split_feature"),
        ({"split_feature": -1}, "split_feature"),
        ({"split_feature": 0.0}, "split_feature"),
        ({"threshold": "1||2"}, "threshold"),
        ({"decision_type": "=="}, "threshold"),
        ({"decision_type": ">"}, "decision_type"),
        ({"missing_type": "nan"}, "missing_type"),
        ({"default_left": 1}, "default_left"),
        ({"left_child": None}, "left_child"),
        ({"right_child": {"leaf_value": "x"}}, "right_child.leaf_value"),
        ({"right_child": {**SPLIT, "split_feature": 3}}, "right_child.split_feature"),
    ],
)
def test_tree_faults(client: APIClient, change: Json, path: str) -> None:
    trees = [{"tree_structure": {"leaf_value": 1}}, {"tree_structure": {**SPLIT, **change}}]
    state = {"feature_names": ["age"], "trees": trees}
    found = faults(create(client, "gradient_boosted", modelState=state))
    assert list(found) == [f"modelState.trees[1].tree_structure.{path}"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"feature_names": []}, "feature_names"),
        ({"feature_names": ["age", "age"]}, "feature_names"),
        ({"feature_names": [["age"]]}, "feature_names"),
        ({"trees": []}, "trees"),
        ({"trees": {}}, "trees"),
        ({"trees": [1]}, "trees[0]"),
        ({"trees": [{}]}, "trees[0].tree_structure"),
        ({"num_class": 3}, "num_class"),
    ],
)
def test_boosted_model_faults(client: APIClient, change: Json, path: str) -> None:
    state = {**STATES["gradient_boosted"]["modelState"], **change}
    assert f"modelState.{path}" in faults(create(client, "gradient_boosted", modelState=state))


def test_trees_have_a_greatest_depth() -> None:
    tree: Json = {"leaf_value": 1}
    for _ in range(MAX_DEPTH - 1):
        tree = {**SPLIT, "left_child": tree}
    state = {"feature_names": ["age"], "trees": [{"tree_structure": tree}]}
    assert model_faults("gradient_boosted", {}, state, complete=True) == []
    state["trees"][0]["tree_structure"] = {**SPLIT, "left_child": tree}
    found = model_faults("gradient_boosted", {}, state, complete=True)
    assert {text for _, text in found} == {f"Is deeper than {MAX_DEPTH} levels."}
    assert [path.count("_child") for path, _ in found] == [MAX_DEPTH, MAX_DEPTH]


def test_only_so_many_faults_are_told() -> None:
    state = {"weights": {str(position): None for position in range(1000)}}
    found = model_faults("logistic_regression", {}, state, complete=True)
    assert len(found) == MAX_FAULTS


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:secret@example.com"}, "url"),
        ({"url": "https://example.com:99999"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": "https://example.com/a b"}, "url"),
        ({"url": 7}, "url"),
        ({"timeoutMs": 0}, "timeoutMs"),
        ({"timeoutMs": 60001}, "timeoutMs"),
        ({"timeoutMs": 1.5}, "timeoutMs"),
        ({"retries": 2}, "retries"),
        ({"batchSize": 0}, "batchSize"),
        ({"fallbackScore": 1.1}, "fallbackScore"),
        ({"responseMapping": []}, "responseMapping"),
        ({"responseMapping": {"scoresPath": ""}}, "responseMapping.scoresPath"),
        ({"responseMapping": {"path": "x"}}, "responseMapping.path"),
        ({"apiKey": "secret"}, "apiKey"),
    ],
)
def test_external_endpoint_faults(client: APIClient, config: Json, path: str) -> None:
    found = faults(create(client, "external_endpoint", config=config))
    assert list(found) == [f"config.{path}"]


def test_key_is_there_once_and_stays(client: APIClient) -> None:
    made = create(client).json()
    assert create(client).status_code == 409
    url = f"{API}/{made['id']}"
    assert list(faults(client.patch(url, {"key": "other"}, format="json"))) == ["key"]
    same = client.patch(url, {"key": "churn", "name": "Same"}, format="json")
    assert same.json()["name"] == "Same"


def test_models_of_others_are_not_found(tenant: Tenant) -> None:
    foreign = factories.AlgorithmModelFactory()
    admin = api_client(tenant, "admin")
    url = f"{API}/{foreign.public_id}"
    assert admin.get(API).json()["data"] == []
    for answer in (admin.get(url), admin.patch(url, {}, format="json"), admin.delete(url)):
        assert answer.status_code == 404


@pytest.mark.parametrize("count", [1, 20])
def test_list(client: APIClient, tenant: Tenant, django_assert_num_queries, count: int) -> None:
    models = factories.AlgorithmModelFactory.create_batch(count, tenant=tenant)
    factories.AlgorithmModelFactory(tenant=tenant, model_type="bayesian", key="b", name="Bayes")
    client.get(API)
    with django_assert_num_queries(3):
        assert client.get(API).json()["pagination"]["total"] == count + 1
    for query, keys in [
        ({"modelType": "bayesian", "status": "draft"}, ["b"]),
        ({"key": models[0].key}, [models[0].key]),
        ({"search": "bayes"}, ["b"]),
        ({"ordering": "modelType", "limit": 1}, ["b"]),
        ({"status": "active"}, []),
    ]:
        assert [row["key"] for row in client.get(API, query).json()["data"]] == keys
    assert list(faults(client.get(API, {"modelType": "oracle"}))) == ["modelType"]
