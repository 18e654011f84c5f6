"""Deciding offer and channel leaves early changes nothing for any customer."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.flow.catalog import OfferFacts
from executor.flow.columns import column_expr
from executor.flow.compile import compile_flow
from executor.flow.plan import Plan
from tests.flow_samples import (
    CATALOG,
    GOLD,
    KINDS,
    LOAN,
    SETTING,
    Json,
    conditions,
    flow,
    leaf,
    node,
)

AGES = (None, 20, 40)
FRAME = pl.DataFrame({"age": AGES}, schema={"age": pl.Int64})

LEAVES = st.one_of(
    st.builds(
        lambda op, n: leaf("customer.age", op, n), st.sampled_from(["gt", "neq"]), st.just(30)
    ),
    st.just(leaf("customer.age", "is_null")),
    st.builds(lambda op: leaf("offer.margin", op, 3), st.sampled_from(["eq", "gt"])),
    st.just(leaf("offer.margin", "is_null")),
    st.just(leaf("channel.name", "eq", "SMS")),
)
TREES = st.recursive(
    LEAVES,
    lambda inside: st.builds(
        lambda word, items: {"combinator": word, "conditions": items},
        st.sampled_from(["AND", "OR"]),
        st.lists(inside, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


def holds(tree: Json, age: int | None, offer: OfferFacts, channel: str) -> bool:
    """The condition, read straight from its JSON."""
    if "conditions" in tree:
        answers = [holds(item, age, offer, channel) for item in tree["conditions"]]
        return all(answers) if tree["combinator"] == "AND" else any(answers)
    fields = {"customer.age": age, "offer.margin": offer.margin, "channel.name": channel}
    value, wanted = fields[tree["field"]], tree.get("value")
    if tree["operator"] == "is_null" or value is None:
        return value is None and tree["operator"] == "is_null"
    tests = {"eq": value == wanted, "neq": value != wanted}
    return tests.get(tree["operator"], value > wanted)


def kept(plan: Plan) -> set[tuple[str, str, int | None]]:
    """Which offer in which channel remains for a customer of which age."""
    remaining = {
        (plan.offers[one.offer].name, plan.channels[one.channel].name, age): index
        for index, one in enumerate(plan.candidates)
        for age in AGES
    }
    for step in plan.steps:
        passing = FRAME.filter(column_expr(step.condition))["age"].to_list()
        remaining = {
            fate: index
            for fate, index in remaining.items()
            if index not in step.candidates or fate[2] in passing
        }
    return set(remaining)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(TREES)
def test_folded_filter_keeps_the_same_customers(tree: Json) -> None:
    definition = flow(conditions(tree), node("match_creatives", requireCreative=False))
    assert kept(compile_flow(definition, CATALOG, KINDS, SETTING)) == {
        (offer.name, channel.name, age)
        for offer in (GOLD, LOAN)
        for channel in CATALOG.channels
        for age in AGES
        if holds(tree, age, offer, channel.name)
    }
