"""compute and set_properties in a run: what stands beside each recommendation in the file."""

import csv
import io
from typing import Any

import pytest

from campaigns.models import FlowVersion, RunFile
from executor import runner
from executor.storage import open_storage
from tests import factories
from tests import world as worlds
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")
EXACT = ["0.1234567", "1e-10", "-2.5"]
FIELDS = [
    {"key": "rate", "type": "number", "defaultValue": 2},
    {"key": "gain", "type": "computed", "formula": "rate * customer.age", "outputType": "number"},
    {"key": "other", "type": "computed", "formula": "rate + 1", "outputType": "number"},
]


def with_nodes(world: World, *nodes: dict[str, Any]) -> None:
    config = worlds.flow_config(1)
    listed: Any = config["nodes"]
    listed[-1:-1] = nodes
    FlowVersion.objects.create(flow=world.campaign.flow, version=2, config=config)


def lines(world: World, *columns: str) -> list[dict[str, str]]:
    run = world.run(file_columns=["customer_id", *columns])
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    file = RunFile.objects.of(run.tenant).get(run=run)
    return list(csv.DictReader(io.StringIO(open_storage().get(file.storage_key).decode())))


def test_values_and_formulas_of_the_flow_stand_beside_each_offer() -> None:
    world = worlds.build(40)
    category = factories.CategoryFactory(tenant=world.tenant, custom_fields=FIELDS)
    for offer in world.offers:
        offer.category = category
        offer.save()
    properties = [
        {"name": "season", "value": 'the "spring"'},
        {"name": "double", "formula": "customer.age * 2", "outputType": "number"},
        {"name": "other", "value": 7},
        {"name": "exact", "value": 0.1234567},
        {"name": "tiny", "value": 1e-10},
        {"name": "sign", "value": -2.5},
    ]
    with_nodes(
        world,
        {"id": "c", "type": "compute", "config": {"fields": ["gain"]}},
        {"id": "p", "type": "set_properties", "config": {"properties": properties}},
    )
    names = ("season", "double", "gain", "other", "exact", "tiny", "sign")
    found = lines(world, *(f"personalization.{name}" for name in names))
    assert len(found) > 20
    for line in found:
        age = 18 + int(line["customer_id"][1:]) % 60
        values = [line[f"personalization.{name}"] for name in names]
        assert values == ['the "spring"', str(2 * age), str(2 * age), "7", *EXACT]
