"""A run customer by customer in Python: what one writes without columns.

It leaves what a run leaves: results, contacts, file and the counts of the funnel. It works for any
plan whose conditions are simple; what does not depend on the customer is done once before the loop.
"""

import csv
import heapq
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from benchmarks.floor import used_columns
from benchmarks.runs import Subject
from executor.contacts import PARENT as CONTACTS
from executor.flow.conditions import Condition, Leaf
from executor.flow.operators import Op
from executor.flow.plan import Plan, Step, Term
from executor.results import PARENT as RESULTS
from executor.scoring import UNIT
from executor.spec import VIEW_SCHEMA

#: The columns of a result in the order they are written, and their types.
RESULT_COLUMNS = {
    "run_id": "int8",
    "offer_id": "int8",
    "channel_id": "int8",
    "creative_id": "int8",
    "score": "float8",
    "chunk": "int4",
    "rank": "int2",
    "customer_key": "text",
}
#: The same of a contact.
CONTACT_COLUMNS = {
    "at": "timestamptz",
    "tenant_id": "int8",
    "campaign_id": "int8",
    "run_id": "int8",
    "offer_id": "int8",
    "channel_id": "int8",
    "creative_id": "int8",
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
    """Seconds for a sample of so many customers, the last key of it, and its funnel.

    The funnel has per step the customers that lost their last candidate and the candidates removed.
    """

    seconds: float
    customers: int
    last_key: str
    funnel: list[list[int]]


def run_loop(
    reader: psycopg.Connection,
    writer: psycopg.Connection,
    subject: Subject,
    *,
    table: str,
    sample: int,
) -> LoopResult:
    """Decide for the first `sample` customers and load the results into the new `table`.

    The contacts are loaded into a table beside it that is gone afterwards.
    """
    contacts = f"{table}_contacts"
    _create(writer, table, RESULTS)
    _create(writer, contacts, CONTACTS)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryFile("w+", newline="") as file:
            decided = _Decided(subject, csv.writer(file))
            with reader.transaction(), reader.cursor("loop", row_factory=dict_row) as rows:
                rows.itersize = FETCH_ROWS
                rows.execute(_select(subject, sample), binary=True)
                _copy(writer, table, RESULT_COLUMNS, decided.results(rows))
            _copy(writer, contacts, CONTACT_COLUMNS, decided.contacts)
            file.flush()
        seconds = time.perf_counter() - start
    finally:
        writer.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(contacts)))
    return LoopResult(seconds, decided.customers, decided.last_key, decided.funnel)


class _Decided:
    """Decides customer after customer, keeps the contacts and writes the lines of the file."""

    def __init__(self, subject: Subject, file: Any) -> None:
        self._subject, self._file = subject, file
        self.contacts: list[tuple[Any, ...]] = []
        self.funnel = [[0, 0] for _ in subject.plan.steps]
        self.customers, self.last_key = 0, ""

    def results(self, rows: Iterable[Row]) -> Iterable[tuple[Any, ...]]:
        plan, run_key = self._subject.plan, self._subject.run_key
        decide, key_column = compile_decision(plan, self.funnel), self._subject.key_column
        keys = [
            (plan.offers[c.offer].key, plan.channels[c.channel].key, c.creative_key)
            for c in plan.candidates
        ]
        names = [
            (plan.offers[c.offer].name, plan.channels[c.channel].name) for c in plan.candidates
        ]
        now, add, write = datetime.now(UTC), self.contacts.append, self._file.writerow
        for row in rows:
            key = row[key_column]
            self.customers += 1
            for rank, (fixed, place) in enumerate(decide(row), 1):
                score = exp(fixed / UNIT)
                add((now, run_key, run_key, run_key, *keys[-place], key))
                write((key, *names[-place], score))
                yield (run_key, *keys[-place], score, 0, rank, key)
            self.last_key = key


def _create(writer: psycopg.Connection, table: str, like: str) -> None:
    writer.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
    create = sql.SQL("CREATE TABLE {} (LIKE {})")
    writer.execute(create.format(sql.Identifier(table), sql.Identifier(like)))


def _copy(
    writer: psycopg.Connection, table: str, columns: dict[str, str], rows: Iterable[Sequence[Any]]
) -> None:
    load = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with writer.cursor() as cursor, cursor.copy(load) as copy:
        copy.set_types([*columns.values()])
        for row in rows:
            copy.write_row(row)


def compile_decision(plan: Plan, funnel: list[list[int]]) -> Callable[[Row], Sequence[Pick]]:
    """A function from a customer to its best candidates, best first, that counts the funnel."""
    everything = (1 << len(plan.candidates)) - 1
    steps = [
        (_test(_condition(step)), sum(1 << place for place in step.candidates), counts)
        for step, counts in zip(plan.steps, funnel, strict=True)
    ]
    of_candidates = plain_terms(plan)
    terms = list(dict.fromkeys(term for each in of_candidates for term in each))
    factors = [_factor(term) for term in terms]
    distinct = list(dict.fromkeys(of_candidates))
    sums = [tuple(terms.index(term) for term in each) for each in distinct]
    offers = _offers(plan, distinct)
    top = plan.k

    def decide(row: Row) -> Sequence[Pick]:
        left = everything
        for passes, removes, counts in steps:
            if not passes(row) and (gone := left & removes):
                left ^= gone
                counts[0] += not left
                counts[1] += gone.bit_count()
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


def _condition(step: Step) -> Condition:
    assert not isinstance(step.condition, bool)  # noqa: S101 - no policy of the benchmark is broken
    return step.condition


def plain_terms(plan: Plan) -> list[tuple[Term, ...]]:
    """The terms of each candidate, in a plan without soft rules."""
    found = [tuple(one for one in each if isinstance(one, Term)) for each in plan.score.terms]
    assert found == list(plan.score.terms)  # noqa: S101 - the benchmark's rules are hard
    return found


def _offers(plan: Plan, distinct: list[tuple[Term, ...]]) -> list[list[Group]]:
    offers: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
    of_candidates = plain_terms(plan)
    for place, candidate in enumerate(plan.candidates):
        terms = distinct.index(of_candidates[place])
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
