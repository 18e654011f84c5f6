"""The engine against the reference interpreter: random flows, random customers, same decisions.

`REFERENCE_FLOWS=3000` compares more flows than usual.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest

from executor.decide import Decider, assess, choose
from executor.errors import Rejected
from executor.flow.compile import compile_flow
from executor.flow.inputs import HASH, KEY, Metric
from executor.flow.plan import Plan
from executor.flow.work import Setting
from executor.models.compile import compile_model
from executor.results import result_rows
from executor.scoring import true_keys
from tests.random_flows import random_world
from tests.random_values import KINDS
from tests.reference_engine import SCORE, Decision, Pick, Reference
from tests.reference_narrowing import Place, World
from tests.reference_rules import Customer
from tests.reference_scores import Refused

FLOWS = int(os.environ.get("REFERENCE_FLOWS", "300"))
CUSTOMERS = 500
PARTS = 10
SEED = "2026-11-25"
DTYPES: Mapping[str, Any] = {
    "integer": pl.Int64,
    "number": pl.Float64,
    "text": pl.String,
    "boolean": pl.Boolean,
    "date": pl.Date,
    "datetime": pl.Datetime("us", "UTC"),
}


def frozen(world: World, plan: Plan) -> pl.DataFrame:
    """What the freeze would put into a chunk, looked up and counted customer by customer."""
    people = world.customers
    rows: list[dict[str, Any]] = [dict(one.columns) for one in people]
    kinds: dict[str, str] = {name: str(kind) for name, kind in KINDS.items()}
    for enrichment in plan.inputs.enrichments:
        schema = next(
            one for one in world.catalog.schemas if one.relation_name == enrichment.relation_name
        )
        found = {str(row[enrichment.key_column]): row for row in world.rows[schema.key]}
        for row in rows:
            looked_up = row.get(enrichment.lookup)
            other = {} if looked_up is None else found.get(str(looked_up), {})
            row.update({enrichment.name(name): other.get(name) for name in enrichment.kinds})
        kinds |= {enrichment.name(name): str(kind) for name, kind in enrichment.kinds.items()}
    columns = {
        name: pl.Series(name, [row[name] for row in rows], dtype=DTYPES[kind])
        for name, kind in kinds.items()
    }
    columns[KEY] = pl.Series(KEY, [one.key for one in people])
    columns[HASH] = pl.Series(HASH, [one.h for one in people], dtype=pl.Int64)
    keys = {one.view: one.key for one in world.catalog.segments}
    for flag in plan.inputs.segments:
        inside = [keys[flag.view] in one.segments for one in people]
        columns[flag.name] = pl.Series(flag.name, inside, dtype=pl.Boolean)
    for metric in plan.inputs.metrics:
        dtype = pl.Int64 if metric.aggregate == "count" else pl.Float64
        values = [measured(metric, one, world) for one in people]
        columns[metric.name] = pl.Series(metric.name, values, dtype=dtype)
    return pl.DataFrame(columns)


def measured(metric: Metric, customer: Customer, world: World) -> float | None:
    """A metric of one customer's history, as executor.flow.inputs describes it."""
    found = [
        event
        for event in customer.events
        if event.at <= world.now
        and (metric.since is None or event.at >= metric.since)
        and event.is_of(metric.source)
        and (not metric.outcomes or event.word in metric.outcomes)
        and (not metric.offers or event.offer in metric.offers)
        and (not metric.channels or event.channel in metric.channels)
        and (not metric.creatives or event.creative in metric.creatives)
        and (not metric.campaigns or event.campaign in metric.campaigns)
        and event.campaign not in metric.without_campaigns
    ]
    if metric.aggregate == "count":
        return len(found)
    ages = [(world.now - event.at).total_seconds() for event in found]
    return min(ages, default=None)


def by_engine(world: World) -> tuple[list[list[Pick]], Counter[Place]]:
    """The picks of each customer, and how many customers lost their last candidate where."""
    models = {one.name: compile_model(one) for one in world.catalog.models}
    setting = Setting(world.now, world.zone, world.campaign, models)
    plan = compile_flow(world.definition, world.catalog, KINDS, setting, world.key_column)
    picks: list[list[Pick]] = [[] for _ in world.customers]
    if not plan.candidates:
        return picks, Counter()
    frame = frozen(world, plan)
    decider = Decider(plan, models, draw=world.draw)
    assessed = assess(decider, frame)
    winners = choose(decider, frame, assessed)
    rows = result_rows(plan, frame, winners)
    units = true_keys(plan, winners)
    for n, row in enumerate(winners.row.tolist()):
        creative = None if rows.without_creative[n] else int(rows.creatives[n])
        offer, channel, rank = int(rows.offers[n]), int(rows.channels[n]), int(rows.ranks[n])
        picks[row].append(
            Pick(offer, channel, creative, rank, int(units[n]), float(rows.scores[n]))
        )
    places = [(step.node, step.rule_key, step.policy_key) for step in plan.steps]
    removed: Counter[Place] = Counter()
    for place, gone in zip([*places, SCORE], assessed.removed, strict=True):
        removed[place] += gone.customers
    return picks, +removed


def by_reference(world: World) -> list[Decision]:
    reference = Reference(world)
    return [reference.decide(customer) for customer in world.customers]


@dataclass(frozen=True)
class Compared:
    """What the two say of a flow."""

    disagreements: tuple[str, ...] = ()
    picks: int = 0


def compared(number: int) -> Compared:
    """Both on the flow of this number; one that both refuse is agreed upon."""
    world = random_world(SEED, number, CUSTOMERS)
    try:
        picks, removed = by_engine(world)
    except Rejected as error:
        try:
            Reference(world)
        except Refused:
            return Compared()
        return Compared((f"flow {number}: only the engine refuses it: {error}",))
    decisions = by_reference(world)
    told = [
        f"flow {number}, {customer.key}: the engine gives {one}, the reference {decision}"
        for customer, one, decision in zip(world.customers, picks, decisions, strict=True)
        if not alike(one, decision.picks)
    ]
    ended = Counter(one.removed_by for one in decisions if one.removed_by is not None)
    if not told and ended != removed:
        told.append(f"flow {number}: the engine ended {removed}, the reference {ended}")
    return Compared(tuple(told), sum(map(len, picks)))


def alike(one: Sequence[Pick], other: Sequence[Pick]) -> bool:
    """Scores are rounded in two ways to six digits, all else is the same."""
    return len(one) == len(other) and all(
        a == Pick(b.offer, b.channel, b.creative, b.rank, b.units, a.score)
        and abs(a.score - b.score) <= 1.1e-6 * b.score
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_engine_and_reference_agree(part: int) -> None:
    found = [compared(number) for number in range(part, FLOWS, PARTS)]
    assert [line for one in found for line in one.disagreements] == []
    # Flows that give nobody anything would prove little.
    assert sum(one.picks > 0 for one in found) > len(found) / 2
