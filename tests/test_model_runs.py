"""Runs that score by models: the same file however the customers are cut into chunks."""

from typing import Any

import pytest

from campaigns.models import AlgorithmModel, CampaignRun, Flow, Recommendation, RunEvent, RunFile
from executor import runner
from executor.artifacts import store_artifact
from executor.storage import open_storage
from kaireon import ids
from tests import factories
from tests import world as worlds
from tests.json_server import json_server
from tests.onnx_models import linear
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

WEIGHTS = {"age": 0.03, "balance": -0.0002, "offer.priority": 0.01}


def scored_by(world: World, key: str, **config: Any) -> None:
    """Publish the flow anew, scoring by the model alone."""
    flow = Flow.objects.of(world.tenant).get()
    newest = flow.versions.order_by("-version").first()
    definition = newest.config
    nodes = [node for node in definition["nodes"] if node["type"] != "score"]
    at = next(n for n, node in enumerate(nodes) if node["type"] == "rank")
    score = {"method": "propensity", "modelKey": key, "evidence": "never", **config}
    nodes.insert(at, {"id": "score-1", "type": "score", "config": score})
    flow.versions.create(version=newest.version + 1, config={**definition, "nodes": nodes})


def logistic(world: World) -> AlgorithmModel:
    return factories.AlgorithmModelFactory(
        tenant=world.tenant,
        key="logistic",
        model_type="logistic_regression",
        status="active",
        model_state={"weights": WEIGHTS, "bias": -1.0},
    )


def imported(world: World) -> AlgorithmModel:
    model = factories.AlgorithmModelFactory(
        tenant=world.tenant,
        key="imported",
        model_type="onnx_imported",
        config={"inputs": ["age", "p_cards"]},
        status="active",
    )
    model.artifact_sha256 = store_artifact(open_storage(), model.pk, linear())
    model.save()
    return model


def ended(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


@pytest.mark.parametrize("make", [logistic, imported])
def test_file_does_not_depend_on_chunks(make: Any, settings: Any) -> None:
    world = worlds.build(5000, k=3)
    scored_by(world, make(world).key)
    hashes = set()
    for rows in (1024, 98_304):
        settings.KAIREON_CHUNK_ROWS = rows
        run = ended(world.run(file_columns=["customer_id", "offer_name", "channel", "score"]))
        file = RunFile.objects.of(world.tenant).get(run=run)
        assert file.row_count > 5000
        hashes.add(file.sha256)
    assert len(hashes) == 1


def test_offers_of_the_customer_are_weighed_by_the_model() -> None:
    world = worlds.build(50, k=3)
    scored_by(world, logistic(world).key)
    run = ended(world.run())
    found = Recommendation.objects.filter(run_id=run.pk, customer_key="C0000007")
    # 25 years old and 5398 of balance: z = -1 + 0.75 - 1.0796 + 0.01 x priority.
    assert [(row.offer_id, row.score) for row in found.order_by("rank")] == [
        (world.offers[0].pk, 0.37061),
        (world.offers[1].pk, 0.325283),
        (world.offers[2].pk, 0.283006),
    ]


def test_endpoint_is_asked_once_and_its_answers_are_frozen(settings: Any) -> None:
    settings.KAIREON_ALLOWED_PRIVATE_HOSTS = ["127.0.0.1"]
    settings.KAIREON_CHUNK_ROWS = 1024
    world = worlds.build(3000, k=1)
    loan = ids.encode("Offer", world.offers[1].pk)

    def answer(body: Any) -> Any:
        return {
            "scores": [
                {"key": one["key"], "offerId": loan, "score": 0.9}
                for one in body["customers"]
                if one["attributes"]["age"] >= 40
            ]
        }

    with json_server(answer) as server:
        factories.AlgorithmModelFactory(
            tenant=world.tenant,
            key="elsewhere",
            model_type="external_endpoint",
            status="active",
            config={"url": server.url, "fallbackScore": 0.2, "batchSize": 1000},
            predictors=[{"field": "age"}],
        )
        scored_by(world, "elsewhere")
        run = ended(world.run(max_total_per_run=2000))
        # Each chunk of 1,024 is two batches, and the last one is one; no retry asks again.
        assert len(server.requests) == 5
    rows = Recommendation.objects.filter(run_id=run.pk)
    assert rows.count() == 2000
    assert {row.score for row in rows} <= {0.9, 0.2}
    assert {row.offer_id for row in rows if row.score == 0.9} == {world.offers[1].pk}
    events = RunEvent.objects.filter(run=run, kind="fallback").values_list("message", flat=True)
    assert list(events) == ["3000 customers have the fallback of model elsewhere"]


def test_run_that_lacks_an_input_of_the_model_says_which() -> None:
    world = worlds.build(10)
    model = logistic(world)
    model.model_state = {"weights": {"agee": 1.0}, "bias": 0.0}
    model.save()
    scored_by(world, model.key)
    run = world.run()
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "failed"
    assert 'the model "logistic" needs the column "agee"' in run.error
    assert 'did you mean "age"?' in run.error
