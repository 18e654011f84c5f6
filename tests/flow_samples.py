"""A small catalog and definitions that flow tests vary."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from executor.flow.catalog import Catalog, ChannelFacts, CreativeFacts, OfferFacts, RuleFacts
from executor.flow.types import Kind
from executor.flow.work import Setting

Json = dict[str, Any]

SETTING = Setting(datetime(2026, 3, 9, 12, tzinfo=UTC))

GOLD = OfferFacts(
    1,
    "Gold Card",
    category_key=1,
    category_name="Cards",
    sub_category_key=11,
    sub_category_name="Credit",
    priority=90,
    weight=50,
    business_value=80.0,
    product_type="card",
    tags=("new", "premium"),
    metadata={"tier": "gold", "fee": 12.5, "terms": [12, 24]},
)
LOAN = OfferFacts(
    2, "Car Loan", category_key=2, category_name="Loans", product_type="Car Loan", margin=3.0
)
OLD = OfferFacts(3, "Old Card", category_key=1, category_name="Cards", status="paused")
EMAIL = ChannelFacts(1, "Email")
SMS = ChannelFacts(2, "SMS", "sms")
CREATIVES = (
    CreativeFacts(21, "gold mail", 1, 1),
    CreativeFacts(22, "gold text", 1, 2),
    CreativeFacts(23, "loan mail", 2, 1),
)
CATALOG = Catalog((LOAN, GOLD, OLD), (EMAIL, SMS), CREATIVES)
KINDS: Mapping[str, Kind] = {
    "age": Kind.INTEGER,
    "balance": Kind.NUMBER,
    "city": Kind.TEXT,
    "sms_ok": Kind.BOOLEAN,
    "propensity_card": Kind.NUMBER,
    "propensity_car_loan": Kind.NUMBER,
}


def node(kind: str, **config: Any) -> Json:
    """A node whose id is its type."""
    return {"id": kind, "type": kind, "config": config}


def flow(*middle: Json, score: Json | None = None, inventory: Json | None = None) -> Json:
    """A definition with these nodes between inventory and score."""
    ends = [score or node("score"), node("rank")]
    return {"version": 2, "nodes": [inventory or node("inventory"), *middle, *ends]}


def conditions(*items: Json, combinator: str = "AND") -> Json:
    return node("filter", conditions=list(items), combinator=combinator)


def leaf(field: str, operator: str, *value: Any) -> Json:
    return {"field": field, "operator": operator, **({"value": value[0]} if value else {})}


def formula(**config: Any) -> Json:
    return node("score", method="formula", **config)


def rule(name: str = "Rule", **fields: Any) -> RuleFacts:
    """A rule on customers older than 17, with these fields changed."""
    config = {"attribute": "age", "operator": "gt", "value": 17}
    return RuleFacts(**{"key": 1, "name": name, "config": config, **fields})


def with_rules(*rules: RuleFacts) -> Catalog:
    return Catalog(CATALOG.offers, CATALOG.channels, CATALOG.creatives, rules)
