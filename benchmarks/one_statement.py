"""Fills in and times the statements of one_statement.sql: the decision by PostgreSQL alone."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.floor import build_index, settle
from benchmarks.python_loop import plain_terms
from benchmarks.runs import Subject
from executor.flow.conditions import Leaf
from executor.flow.operators import Op
from executor.flow.plan import Plan
from executor.scoring import UNIT
from executor.spec import VIEW_SCHEMA

SQL_FILE = Path(__file__).with_name("one_statement.sql")
#: A packed number: fixed-point log score in the upper bits, place of the offer below, best first.
PLACE_BITS = 16
PLACES = (1 << PLACE_BITS) - 1
RULE_FIELDS = ("age", "balance")
TRIES = 2


@dataclass(frozen=True, slots=True)
class OfferLine:
    """An offer as the statements know it; `least` holds what its rules ask of RULE_FIELDS."""

    key: int
    family: str
    packed: int
    least: dict[str, float]
    creatives: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A way to decide, and the seconds it took: deciding and indexing, best of all tries."""

    name: str
    seconds: float


def read_offers(plan: Plan) -> list[OfferLine]:
    """The offers of the bench's plan in tie order. Fails for a flow that is not the bench's."""
    width = len(plan.channels)
    lines = []
    for place, offer in enumerate(plan.offers):
        mine = range(place * width, (place + 1) * width)
        candidates = [plan.candidates[number] for number in mine]
        assert [(c.offer, c.channel) for c in candidates] == [(place, i) for i in range(width)]  # noqa: S101
        fixed = round(plan.score.constants[mine[0]] * UNIT)
        lines.append(
            OfferLine(
                key=offer.key,
                family=plain_terms(plan)[mine[0]][0].column,
                packed=(fixed << PLACE_BITS) + PLACES - place,
                least=_least(plan, tuple(mine)),
                creatives=tuple(c.creative_key for c in candidates),
            )
        )
    return lines


def _least(plan: Plan, candidates: tuple[int, ...]) -> dict[str, float]:
    found = {}
    for step in plan.steps:
        rule = step.condition
        if step.candidates == candidates and isinstance(rule, Leaf) and rule.operator is Op.GTE:
            assert isinstance(rule.operand, int | float)  # noqa: S101
            found[rule.field] = rule.operand
    return found


def consents(plan: Plan) -> list[str]:
    """The consent column of each channel."""
    steps = {step.candidates: step.condition for step in plan.steps}
    width = len(plan.channels)
    rules = [steps[tuple(range(i, len(plan.candidates), width))] for i in range(width)]
    return [rule.field for rule in rules if isinstance(rule, Leaf)]


def statements(top: int) -> dict[str, str]:
    """The templates that give each customer at most `top` offers, by name."""
    parts = re.split(r"^-- name: (.+)$", SQL_FILE.read_text(), flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: named[name] for name in ("lateral", f"unrolled top {top}") if name in named}


def run_statements(own: psycopg.Connection, subject: Subject, table: str) -> Iterator[Statement]:
    """Execute each statement; its result lies in `table` until the next one is asked for."""
    plan = subject.plan
    pieces = _pieces(plan) | {
        "result": sql.Identifier(table),
        "candidates": sql.Identifier(f"{table}_candidates"),
        "view": sql.Identifier(VIEW_SCHEMA, subject.view),
        "run": sql.Literal(subject.run_key),
    }
    with _candidates(own, f"{table}_candidates", read_offers(plan)):
        for name, template in statements(plan.k).items():
            filled = sql.SQL(template).format(**pieces)
            yield Statement(name, min(_times(own, filled, table)))


def _pieces(plan: Plan) -> dict[str, sql.Composable]:
    """What the templates' names stand for; every text is made of the plan's numbers and columns."""
    offers = read_offers(plan)
    texts = {
        "offers": _array([offer.key for offer in offers]),
        "channels": _array([channel.key for channel in plan.channels]),
        "creatives": _array([key for offer in offers for key in offer.creatives]),
        "width": str(len(plan.channels)),
        "top": str(plan.k),
        "first_channel": _first(consents(plan)),
        **_factors(plan, offers),
        **_keys(offers),
    }
    return {name: sql.SQL(text) for name, text in texts.items()}


def _factors(plan: Plan, offers: list[OfferLine]) -> dict[str, str]:
    """What depends on the customer, once for each family: weighted propensity and relevance."""
    unit = repr(plain_terms(plan)[0][0].weight * UNIT)
    factors = {
        family: f"round({unit}::float8 * ln({family}) + relevance)::bigint << {PLACE_BITS}"
        for family in _families(offers)
    }
    named = [f"{factor} AS {family}_factor" for family, factor in factors.items()]
    return {"factors": ", ".join(factors.values()), "named_factors": ", ".join(named)}


def _families(offers: list[OfferLine]) -> list[str]:
    return list(dict.fromkeys(offer.family for offer in offers))


def _keys(offers: list[OfferLine]) -> dict[str, str]:
    """The packed number of each offer, and the same without earlier winners."""
    keys = {f"key_{place}": _key(offer) for place, offer in enumerate(offers)}
    return {
        "keys": ", ".join(keys.values()),
        "key_names": ", ".join(keys),
        "named_keys": ", ".join(f"{key} AS {name}" for name, key in keys.items()),
        "keys_after_best": ", ".join(f"NULLIF({name}, best)" for name in keys),
        "keys_after_second": ", ".join(f"NULLIF(NULLIF({name}, best), second)" for name in keys),
    }


def _key(offer: OfferLine) -> str:
    """The packed number of an offer, NULL for whom its rules refuse."""
    rules = " AND ".join(f"{field} >= {value!r}" for field, value in offer.least.items())
    number = f"{offer.family}_factor + {offer.packed}"
    return f"CASE WHEN {rules} THEN {number} END" if rules else number


def _first(consent: list[str]) -> str:
    cases = [f"WHEN {column} THEN {number}" for number, column in enumerate(consent, 1)]
    return f"CASE {' '.join(cases)} END"


def _array(numbers: list[int | None] | list[int]) -> str:
    listed = ", ".join("NULL" if number is None else str(number) for number in numbers)
    return f"(ARRAY[{listed}]::bigint[])"


@contextmanager
def _candidates(own: psycopg.Connection, table: str, offers: list[OfferLine]) -> Iterator[None]:
    """A table of the offers: one that parallel workers can read, so not a temporary one."""
    name = sql.Identifier(table)
    families = _families(offers)
    own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    own.execute(
        sql.SQL(
            "CREATE TABLE {} (family integer, constant bigint, min_age bigint, min_balance float8)"
        ).format(name)
    )
    try:
        with own.cursor() as cursor:
            cursor.executemany(
                sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s)").format(name),
                [
                    (
                        families.index(offer.family) + 1,
                        offer.packed,
                        *(offer.least.get(field, 0) for field in RULE_FIELDS),
                    )
                    for offer in offers
                ],
            )
        own.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
        yield
    finally:
        own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def _times(own: psycopg.Connection, statement: sql.Composed, table: str) -> Iterator[float]:
    """Seconds of some tries of the statement and the index, also with JIT if the server has it."""
    found = own.execute("SELECT pg_jit_available()").fetchone()
    own.execute(
        "SET work_mem = '256MB'; SET maintenance_work_mem = '256MB';"
        " SET max_parallel_workers_per_gather = 2"
    )
    for jit in ("off", "on") if found == (True,) else ("off",):
        own.execute(sql.SQL("SET jit = {}").format(sql.SQL(jit)))
        for _ in range(TRIES):
            own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
            settle(own)
            start = time.perf_counter()
            own.execute(statement)
            build_index(own, table)
            yield time.perf_counter() - start
