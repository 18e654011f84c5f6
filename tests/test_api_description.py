"""What the description says of campaigns and runs is what they answer, and its examples fit."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from campaigns.api.documentation import OPENAPI
from executor import runner
from tests import factories
from tests import world as worlds
from tests.clients import api_client
from tests.world import World

RUNS, RUN = "/api/v1/runs", "/api/v1/campaign-runs"
DESCRIBED = json.loads(OPENAPI.read_text())


def check(schema: dict[str, Any], value: object) -> None:
    """Fail with everything in which the value does not fit."""
    validator = Draft202012Validator({**schema, "components": DESCRIBED["components"]})
    assert [error.message for error in validator.iter_errors(value)] == []


def shown(client: APIClient, path: str, id: str = "") -> Any:
    """The answer to a GET, which must be as described."""
    response = client.get(path.replace("{id}", id))
    assert response.status_code == 200
    answers = DESCRIBED["paths"][path]["get"]["responses"]["200"]["content"]
    check(answers["application/json"]["schema"], response.json())
    return response.json()


@pytest.fixture
def world(clean_relations: None) -> World:
    return worlds.build(60)


@pytest.fixture
def client(world: World) -> APIClient:
    return api_client(world.tenant)


def test_a_finished_run_with_caps(client: APIClient, world: World) -> None:
    run = world.run(max_total_per_run=20, max_per_offer=12, max_per_channel=15)
    assert runner.execute(run.pk)
    (detail,) = shown(client, f"{RUNS}/{{id}}", world.campaign.public_id)["runs"]
    assert {cap["cap"] for cap in detail["summary"]["caps"]} == {
        "maxTotalPerRun",
        "maxPerOffer",
        "maxPerChannel",
    }
    assert shown(client, f"{RUN}/{{id}}", run.public_id)["events"]
    assert shown(client, f"{RUNS}/{{id}}", run.public_id)["id"] == run.public_id
    for list_of_runs in (RUNS + "/{id}/campaign-runs", RUN):
        shown(client, list_of_runs, world.campaign.public_id)
    for part in ("results", "events", "files"):
        assert shown(client, f"{RUN}/{{id}}/{part}", run.public_id)["data"]


def test_what_is_deleted_has_no_name(client: APIClient, world: World) -> None:
    run = world.run(max_per_offer=12)
    assert runner.execute(run.pk)
    for offer in world.offers:
        offer.creatives.all().delete()
        offer.delete()
    detail = shown(client, f"{RUNS}/{{id}}", world.campaign.public_id)
    assert {row["offerName"] for row in detail["recommendations"]} == {None}


@pytest.mark.parametrize("status", ["pending", "running", "failed", "cancelled"])
def test_an_unfinished_run(client: APIClient, world: World, status: str) -> None:
    run = factories.RunFactory(
        campaign=world.campaign, run_number=1, status=status, error="no disk"
    )
    assert shown(client, f"{RUN}/{{id}}", run.public_id)["summary"] is None
    assert shown(client, RUNS)["runs"][0]["latestRun"]["status"] == status


def test_a_campaign_without_runs(client: APIClient, world: World) -> None:
    assert shown(client, f"{RUNS}/{{id}}", world.campaign.public_id)["resultsUrl"] is None
    assert shown(client, RUNS)["runs"][0]["latestRun"] is None


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """What may be sent and answered, with the name of the operation."""
    for operations in DESCRIBED["paths"].values():
        for operation in operations.values():
            parts = [operation.get("requestBody", {}), *operation["responses"].values()]
            for part in parts:
                for content in part.get("content", {}).values():
                    yield operation["operationId"], content


EXAMPLES = [
    pytest.param(content["schema"], example["value"], id=f"{operation} {name}")
    for operation, content in contents()
    for name, example in content.get("examples", {}).items()
]


@pytest.mark.parametrize(("schema", "value"), EXAMPLES)
def test_examples_fit(schema: dict[str, Any], value: object) -> None:
    check(schema, value)


def test_the_documented_examples_are_there() -> None:
    assert {param.id for param in EXAMPLES} >= {
        "runs_list Campaigns",
        "runs_create AWeeklyCampaign",
        "runs_campaign_runs_trigger Triggered",
        "runs_execute_inline OfACampaign",
        "runs_execute_inline Dispatched",
    }
