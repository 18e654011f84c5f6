"""Random customers with odd values, and random conditions on them and on offers."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from executor.flow.types import Kind
from tests.reference_rules import Customer, Event

Json = dict[str, Any]

#: Local days of the zone begin in the middle of a day of UTC.
NOW = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
ZONE = "America/New_York"
KINDS: Mapping[str, Kind] = {
    "age": Kind.INTEGER,
    "balance": Kind.NUMBER,
    "ratio": Kind.NUMBER,
    "city": Kind.TEXT,
    "größe m": Kind.TEXT,
    "active": Kind.BOOLEAN,
    "born": Kind.DATE,
    "seen": Kind.DATETIME,
    "account": Kind.INTEGER,
    "reference": Kind.TEXT,
    "propensity_card": Kind.NUMBER,
    "propensity_car_loan": Kind.NUMBER,
}
WORDS = ("", "Rome", "rome", "Zürich", "日本", "a%b_c", "🙂", " ", "Rome\n", "Oslo", "x" * 300)
VALUES: Mapping[Kind, tuple[Any, ...]] = {
    Kind.INTEGER: (0, 1, -1, 17, 18, 65, 2**53 + 1, 2**63 - 1, -(2**63)),
    Kind.NUMBER: (math.nan, math.inf, -math.inf, -0.0, 0.0, 1e308, -1e308, 5e-324, 0.5, 1.0, 100.0),
    Kind.TEXT: WORDS,
    Kind.BOOLEAN: (True, False),
    Kind.DATE: (date(1, 1, 1), date(9999, 12, 31), date(2026, 3, 9), date(2026, 2, 28)),
    Kind.DATETIME: (
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        NOW,
        NOW - timedelta(days=7),
    ),
}
OUTCOMES = ("click", "Clicked", "complaint", "impression", "purchase", "delivered", "ÜBER", "")


def random_value(random: Random, kind: Kind, missing: float = 0.15) -> Any:
    if random.random() < missing:
        return None
    if random.random() < 0.4:
        return random.choice(VALUES[kind])
    days = timedelta(seconds=random.randint(-60 * 86_400, 86_400))
    return {
        Kind.INTEGER: random.randint(0, 90),
        Kind.NUMBER: random.choice((random.random(), random.gauss(100, 1000))),
        Kind.TEXT: random.choice(WORDS),
        Kind.BOOLEAN: random.random() < 0.5,
        Kind.DATE: (NOW + days).date(),
        Kind.DATETIME: NOW + days,
    }[kind]


#: Sets of customers, so that not every flow needs new ones.
SETS = 60
SEGMENTS = (1, 2, 3)


@cache
def random_customers(seed: str, number: int) -> list[Customer]:
    """Accounts and references are those of rows of other schemas, mostly."""
    random = Random(seed)
    customers = []
    for row in range(number):
        columns = {name: random_value(random, kind) for name, kind in KINDS.items()}
        columns["account"] = random.choice((None, *range(40)))
        columns["reference"] = random.choice((None, "", *(f"r{one}" for one in range(12))))
        many = random.choice((0, 0, 1, 3, 8))
        customers.append(
            Customer(
                key=f"c{row:04}",
                h=random.getrandbits(64) - 2**63,
                columns=columns,
                events=tuple(random_event(random) for _ in range(many)),
                segments=frozenset(k for k in SEGMENTS if random.random() < 0.5),
            )
        )
    return customers


def random_event(random: Random) -> Event:
    ages = (0, 1, 3600, 86_400, 7 * 86_400, 30 * 86_400, random.randint(-9, 40 * 86_400))
    midnights = (datetime(2026, 3, 9, 4, tzinfo=UTC), datetime(2026, 3, 3, 5, tzinfo=UTC))
    at = random.choice((*(NOW - timedelta(seconds=age) for age in ages), *midnights))
    at -= timedelta(microseconds=random.choice((0, 0, 1)))
    kind = random.choice(("", "", "impression", "email", "Impression"))
    channel = random.choice((1, 2, 3))
    offer = random.randint(1, 6)
    return Event(
        at=at,
        offer=offer,
        channel=channel,
        creative=random.choice((None, 100 * offer + 10 * channel, 100 * offer + 10 * channel + 1)),
        campaign=random.choice((None, 1, 2, 3)),
        interaction_type=kind,
        outcome=random.choice(OUTCOMES) if kind else "",
    )


def random_condition(random: Random, fields: Mapping[str, Kind], depth: int = 0) -> Json:
    """A condition over `customer.<column>`, and over offers and channels."""
    if depth < 2 and random.random() < 0.3:
        many = random.randint(1, 3)
        return {
            "combinator": random.choice(("AND", "OR", "or")),
            "conditions": [random_condition(random, fields, depth + 1) for _ in range(many)],
        }
    if random.random() < 0.25:
        return catalog_leaf(random)
    name = random.choice(list(fields))
    return {"field": f"customer.{name}", **random_test(random, fields[name])}


def random_test(random: Random, kind: Kind) -> Json:
    """Operator and value for a column of the kind."""
    operators = ["eq", "neq", "in", "not_in", "is_null", "is_not_null", "exists"]
    if kind is not Kind.BOOLEAN:
        operators += ["gt", "gte", "lt", "lte", ">", "<="] * 2
    if kind is Kind.TEXT:
        operators += ["contains", "starts_with", "regex"]
    operator = random.choice(operators)
    if operator in ("is_null", "is_not_null", "exists"):
        return {"operator": operator}
    if operator == "regex":
        return {"operator": operator, "value": random.choice(("^[A-Z]", "o.e$", "a|日", r"\w+\s"))}
    if operator in ("in", "not_in"):
        many = random.choice((0, 1, 2, 4))
        return {"operator": operator, "value": [operand(random, kind, True) for _ in range(many)]}
    return {"operator": operator, "value": operand(random, kind, operator in ("eq", "neq"))}


def operand(random: Random, kind: Kind, is_exact: bool) -> Any:
    """A JSON value; an instant that is compared for equality must have a time."""
    if kind is Kind.INTEGER:
        return random.choice((0, 1, 17, 18.0, 17.5, 40, 65, 2**53 + 1, 1e30, -1e30, 2**70, -1))
    if kind is Kind.NUMBER:
        return random.choice((0, -0.0, 0.5, 1, 100, 1e308, -1e308, 5e-324, 2**70, 333.3))
    if kind is Kind.TEXT:
        return random.choice(WORDS)
    if kind is Kind.BOOLEAN:
        return random.random() < 0.5
    day = random.choice(("2026-03-09", "2026-02-28", "0001-01-01", "2026-01-31"))
    if kind is Kind.DATE:
        return day
    times = (f"{day}T12:30:00Z", f"{day}T07:00:00-05:00", f"{day} 09:00")
    return random.choice(times if is_exact or random.random() < 0.7 else (day,))


def catalog_leaf(random: Random, namespaces: tuple[str, ...] = ("offer", "channel")) -> Json:
    """A test of an attribute that every offer or channel has in one kind, or lacks."""
    leaves: list[tuple[str, list[Json]]] = [
        ("offer.name", [tested("starts_with", "Offer"), tested("in", ["Offer 1", "Offer 2"])]),
        ("offer.category", [tested("eq", "Cards"), tested("is_null"), tested("neq", "Loans")]),
        ("offer.subCategory", [tested("eq", "Credit"), tested("not_in", ["Credit"])]),
        ("offer.priority", [tested("gte", 50), tested("lt", 50.5), tested("eq", 1e30)]),
        ("offer.weight", [tested("gt", 40)]),
        ("offer.businessValue", [tested("lte", 50), tested("neq", 80)]),
        ("offer.margin", [tested("gt", 1.5), tested("is_null"), tested("lt", 1e308)]),
        ("offer.product_type", [tested("regex", "^[a-z]+$"), tested("eq", "card")]),
        (
            "offer.tags",
            [tested("contains", "new"), tested("in", ["new", "old"])],
        ),
        ("offer.tags", [tested("not_in", ["new"]), tested("not_in", []), tested("is_null")]),
        ("offer.metadata.tier", [tested("eq", "gold"), tested("neq", "gold"), tested("is_null")]),
        ("offer.metadata.fee", [tested("gt", 12), tested("in", [1, 2.5]), tested("exists")]),
        ("offer.metadata.terms", [tested("in", [12]), tested("in", [24, 36])]),
        ("channel.name", [tested("eq", "Email"), tested("in", ["SMS", "Letter"])]),
        ("channel.channelType", [tested("neq", "sms"), tested("is_null")]),
    ]
    field, tests = random.choice(
        [(name, tests) for name, tests in leaves if name.startswith(namespaces)]
    )
    return {"field": field, **random.choice(tests)}


def tested(operator: str, *value: Any) -> Json:
    return {"operator": operator, **({"value": value[0]} if value else {})}
