"""The decision customer by customer in Python: what one writes without columns.

It works for any plan whose conditions are simple, and everything that does not depend on the
customer is done once before the loop.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from benchmarks.floor import used_columns
from benchmarks.runs import Subject
from executor.flow.conditions import Condition, Leaf
from executor.flow.operators import Op
from executor.flow.plan import Plan, Term
from executor.results import PARENT
from executor.scoring import UNIT
from executor.spec import VIEW_SCHEMA

#: The columns of a result in the order they are written, and their types.
COLUMNS = {
    "run_id": "int8",
    "offer_id": "int8",
    "channel_id": "int8",
    "creative_id": "int8",
    "score": "float8",
    "chunk": "int4",
    "rank": "int2",
    "customer_key": "text",
}
FETCH_ROWS = 2000

Row = dict[str, Any]
#: (fixed-point log score, minus the place of the candidate): the greatest is the best.
Pick = tuple[int, int]
#: An offer's candidates with equal terms, best constant first: terms, (constant, -place, bit).
Group = tuple[int, list[tuple[int, int, int]]]


@dataclass(frozen=True, slots=True)
class LoopResult:
    """Seconds for a sample of so many customers, and the last key of it."""

    seconds: float
    customers: int
    last_key: str


def run_loop(
    reader: psycopg.Connection,
    writer: psycopg.Connection,
    subject: Subject,
    *,
    table: str,
    sample: int,
) -> LoopResult:
    """Decide for the first `sample` customers and load the results into the new `table`."""
    plan, run_key = subject.plan, subject.run_key
    name = sql.Identifier(table)
    writer.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    writer.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(name, sql.Identifier(PARENT)))
    load = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        name, sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    )
    decide = compile_decision(plan)
    described = [
        (plan.offers[c.offer].key, plan.channels[c.channel].key, c.creative_key)
        for c in plan.candidates
    ]
    key, customers = "", 0
    start = time.perf_counter()
    with (
        reader.transaction(),
        reader.cursor("bench_loop", row_factory=dict_row) as rows,
        writer.cursor() as cursor,
        cursor.copy(load) as copy,
    ):
        copy.set_types([*COLUMNS.values()])
        rows.itersize = FETCH_ROWS
        rows.execute(_select(subject, sample), binary=True)
        for row in rows:
            key = row[subject.key_column]
            customers += 1
            for rank, (fixed, place) in enumerate(decide(row), 1):
                offer, channel, creative = described[-place]
                copy.write_row((run_key, offer, channel, creative, exp(fixed / UNIT), 0, rank, key))
    return LoopResult(time.perf_counter() - start, customers, key)


def compile_decision(plan: Plan) -> Callable[[Row], Sequence[Pick]]:
    """A function from a customer to its best candidates, best first."""
    everything = (1 << len(plan.candidates)) - 1
    steps = [
        (_test(step.condition), everything - sum(1 << place for place in step.candidates))
        for step in plan.steps
    ]
    terms = list(dict.fromkeys(term for each in plan.score.terms for term in each))
    factors = [_factor(term) for term in terms]
    distinct = list(dict.fromkeys(plan.score.terms))
    sums = [tuple(terms.index(term) for term in each) for each in distinct]
    offers = _offers(plan, distinct)
    top = plan.k

    def decide(row: Row) -> Sequence[Pick]:
        left = everything
        for passes, others in steps:
            if not passes(row):
                left &= others
        if not left:
            return ()
        logs = [factor(row) for factor in factors]
        scores = [round(UNIT * sum([logs[number] for number in each])) for each in sums]
        found = []
        for groups in offers:
            best = None
            for score, candidates in groups:
                for constant, place, bit in candidates:
                    if left & bit:
                        pick = (scores[score] + constant, place)
                        if best is None or pick > best:
                            best = pick
                        break
            if best is not None:
                found.append(best)
        return heapq.nlargest(top, found)

    return decide


def _offers(plan: Plan, distinct: list[tuple[Term, ...]]) -> list[list[Group]]:
    offers: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
    for place, candidate in enumerate(plan.candidates):
        terms = distinct.index(plan.score.terms[place])
        constant = round(UNIT * plan.score.constants[place])
        groups = offers.setdefault(candidate.offer, {})
        groups.setdefault(terms, []).append((constant, -place, 1 << place))
    return [
        [(terms, sorted(group, reverse=True)) for terms, group in groups.items()]
        for groups in offers.values()
    ]


def _test(condition: Condition) -> Callable[[Row], bool]:
    assert isinstance(condition, Leaf)  # noqa: S101 - the bench's rules are single comparisons
    name, wanted = condition.field, condition.operand
    match condition.operator:
        case Op.EQ:
            return lambda row: bool(row[name] == wanted)
        case Op.GTE:
            return lambda row: row[name] is not None and row[name] >= wanted
    raise NotImplementedError(condition.operator)


def _factor(term: Term) -> Callable[[Row], float]:
    column, low, width = term.column, term.low, term.high - term.low
    weight, missing = term.weight, term.weight * log(term.default)

    def factor(row: Row) -> float:
        value = row[column]
        if value is None:
            return missing
        return weight * log(min(max((value - low) / width, 0.0), 1.0))

    return factor


def _select(subject: Subject, sample: int) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(map(sql.Identifier, used_columns(subject))),
        sql.Identifier(VIEW_SCHEMA, subject.view),
        sql.Identifier(subject.key_column),
        sql.Literal(sample),
    )
