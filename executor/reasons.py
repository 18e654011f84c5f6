"""Why a condition does not hold for one customer, leaf by leaf."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from executor.flow.columns import column_expr
from executor.flow.conditions import Condition, Group, Leaf, Not
from executor.flow.leaves import leaves

Verdicts = Mapping[Leaf, bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """A leaf that would have to be `wanted` for its condition to hold, and the value it saw."""

    leaf: Leaf
    wanted: bool
    value: Any


def verdicts(conditions: Iterable[Condition | bool], row: pl.DataFrame) -> Verdicts:
    """Whether each leaf of the conditions holds for the one customer of `row`."""
    every = dict.fromkeys(
        leaf
        for condition in conditions
        if not isinstance(condition, bool)
        for leaf in leaves(condition)
    )
    found = row.select(column_expr(leaf).alias(str(n)) for n, leaf in enumerate(every))
    return {leaf: bool(found[str(n)][0]) for n, leaf in enumerate(every)}


def holds(condition: Condition | bool, known: Verdicts) -> bool:
    if isinstance(condition, bool):
        return condition
    if isinstance(condition, Leaf):
        return known[condition]
    if isinstance(condition, Not):
        return not holds(condition.child, known)
    each = (holds(child, known) for child in condition.children)
    return all(each) if condition.combinator == "and" else any(each)


def faults(condition: Condition | bool, known: Verdicts, row: pl.DataFrame) -> list[Fault]:
    """The leaves that keep a condition from holding; none of one that holds for nobody at all."""
    if isinstance(condition, bool):
        return []
    blamed = dict.fromkeys(_blamed(condition, True, known))
    return [Fault(leaf, wanted, row[leaf.field][0]) for leaf, wanted in blamed]


def _blamed(condition: Condition, wanted: bool, known: Verdicts) -> Iterator[tuple[Leaf, bool]]:
    if holds(condition, known) == wanted:
        return
    if isinstance(condition, Leaf):
        yield condition, wanted
    elif isinstance(condition, Not):
        yield from _blamed(condition.child, not wanted, known)
    elif isinstance(condition, Group):
        for child in condition.children:
            yield from _blamed(child, wanted, known)
