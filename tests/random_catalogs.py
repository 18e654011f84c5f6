"""Random offers, channels, creatives, rules, policies and models."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from executor.flow.catalog import (
    Catalog,
    ChannelFacts,
    CreativeFacts,
    Evidence,
    JoinFacts,
    ModelFacts,
    OfferFacts,
    OfferUsage,
    PlacementFacts,
    PolicyFacts,
    ProfileFacts,
    RuleFacts,
    SchemaFacts,
    SegmentFacts,
)
from executor.flow.types import Kind
from kaireon import ids
from tests.random_policies import policy_config
from tests.random_values import KINDS, NOW, SEGMENTS, catalog_leaf, random_condition, random_test

Json = dict[str, Any]

CATEGORIES = {None: "", 1: "Cards", 2: "Loans", 3: "Savings"}
#: Of a segment, an offer and a placement that are gone.
GONE = 99
ACCOUNTS = SchemaFacts(
    1,
    "Accounts",
    "data",
    "ds_accounts",
    "id",
    {"id": Kind.INTEGER, "tier": Kind.TEXT, "worth": Kind.NUMBER, "next": Kind.TEXT},
)
BRANCHES = SchemaFacts(
    2,
    "Branches",
    "data",
    "ds_branches",
    "code",
    {"code": Kind.TEXT, "level": Kind.INTEGER, "open": Kind.BOOLEAN, "since": Kind.DATE},
)
MODELS = (
    ModelFacts(
        1,
        "points",
        "scorecard",
        {
            "baseScore": 40,
            "rules": [
                {"field": "age", "operator": "gte", "value": 18, "points": 20},
                {"field": "customer.balance", "operator": "gt", "value": 0.5, "points": 10.5},
                {"field": "city", "operator": "in", "value": ["Rome", "日本"], "points": -30},
                {"field": "offer.priority", "operator": "lt", "value": 60, "points": 5},
                {"field": "offer.tags", "operator": "contains", "value": "new", "points": 9},
            ],
        },
    ),
    ModelFacts(
        2,
        "straight",
        "scorecard",
        {
            "normalization": "linear",
            "minScore": 0,
            "maxScore": 80,
            "baseScore": 10,
            "rules": [
                {"field": "active", "operator": "eq", "value": True, "points": 50},
                {"field": "ratio", "operator": "lte", "value": 0.5, "points": -25},
            ],
        },
    ),
    ModelFacts(
        3,
        "logit",
        "logistic_regression",
        {"missing": {"age": 30}},
        (),
        {
            "bias": -0.5,
            "weights": {
                "age": 0.01,
                "ratio": -0.7,
                "city=Rome": 1.25,
                "city=日本": -2,
                "active=true": 0.3,
                "offer.business_value": 0.02,
            },
        },
    ),
)


def random_catalog(random: Random) -> Catalog:
    number = random.randint(3, 6)
    offers = tuple(random_offer(random, key) for key in range(1, number + 1))
    if random.random() < 0.8:  # else a flow that weighs margins is refused
        offers = tuple(replace(one, margin=one.margin or 2.0) for one in offers)
    channels = tuple(CHANNELS[: random.choice((1, 2, 2, 3))])
    placements = tuple(
        PlacementFacts(10 * channel.key + one, f"slot {one}", channel.key, random.choice((1, 1, 2)))
        for channel in channels
        for one in (1, 2)
    )
    catalog = Catalog(
        offers=offers,
        channels=channels,
        creatives=tuple(random_creatives(random, offers, channels)),
        placements=placements,
        models=MODELS,
        evidence=random_evidence(random, offers),
        usage=tuple(OfferUsage(one.key, *random.choices(range(8), k=4)) for one in offers[1:]),
        profiles=(
            ProfileFacts(1, "own", {"propensity": 0.5, "relevance": 0.25, "impact": 1.0}),
            ProfileFacts(2, "more", {"conversion": 0.2, "engagement": 0.2, "fairness": 0.4}),
            ProfileFacts(3, "money", {"margin": 0.6, "propensity": 0.3, "recency": 0.0}),
        ),
        segments=tuple(SegmentFacts(key, f"segment {key}", f"seg_{key}", "id") for key in SEGMENTS),
        schemas=(ACCOUNTS, BRANCHES),
        joins=(JoinFacts("auto", 2, "reference", "code"),) if random.random() < 0.3 else (),
        rules=tuple(random_rule(random, key) for key in range(1, random.randint(1, 6))),
    )
    many = random.randint(1, 6)
    policies = tuple(random_policy(random, key, number) for key in range(1, many))
    return replace(catalog, policies=policies)


CHANNELS = (
    ChannelFacts(1, "Email"),
    ChannelFacts(2, "SMS", "sms"),
    ChannelFacts(3, "Letter", "", "manual"),
)


def random_offer(random: Random, key: int) -> OfferFacts:
    category = random.choice(list(CATEGORIES))
    sub = random.choice((None, 11, 12)) if category else None
    metadata: Json = {}
    if random.random() < 0.5:
        metadata = {"tier": random.choice(("gold", "silver")), "fee": random.choice((1, 12.5, 0))}
    if random.random() < 0.3:
        metadata["terms"] = random.choice(([12, 24], [], [36]))
    day = timedelta(days=1)
    return OfferFacts(
        key=key,
        name=f"Offer {key}",
        category_key=category,
        category_name=CATEGORIES[category],
        sub_category_key=sub,
        sub_category_name={None: "", 11: "Credit", 12: "Débit"}[sub],
        priority=random.choice((0, 30, 50, 50, 50, 90, 90, 100)),
        weight=random.choice((100, 100, 50, 1)),
        business_value=random.choice((0.0, 1.0, 50.0, 50.0, 80.0, 80.0, 250.0)),
        margin=random.choice((None, 1.5, 3.0, 10.0)),
        product_type=random.choice(("card", "Car Loan", "Çàr  loan", "", "Fund")),
        tags=random.choice(((), ("new",), ("new", "premium"), ("old",))),
        metadata=metadata,
        status=random.choice((*["active"] * 9, "paused")),
        budget=random.choice(({}, {"max_total": 4}, {"max_per_day": 3, "max_total": 7})),
        starts=random.choice((*[None] * 8, NOW, NOW - day, NOW + day)),
        ends=random.choice((*[None] * 8, NOW, NOW + day)),
        mandatory=random.random() < 0.12,
    )


def random_creatives(
    random: Random, offers: tuple[OfferFacts, ...], channels: tuple[ChannelFacts, ...]
) -> list[CreativeFacts]:
    found = []
    for offer in offers:
        for channel in channels:
            for number in range(random.choice((0, 1, 1, 1, 2, 2, 3))):
                key = 100 * offer.key + 10 * channel.key + number
                place = random.choice((None, 1, 1, 2))
                placement = None if place is None else 10 * channel.key + place
                weight = random.choice((0, 1, 50, 100, 100))
                name = f"creative {key}"
                found.append(CreativeFacts(key, name, offer.key, channel.key, placement, weight))
    return found


def random_evidence(random: Random, offers: tuple[OfferFacts, ...]) -> Evidence:
    def counts(key: int) -> tuple[int, int, int]:
        total = random.choice((0, 1, 19, 20, 49, 50, 200))
        return key, total, random.randint(0, total)

    total = random.choice((0, 9, 10, 500))
    return Evidence(
        offers=tuple(counts(one.key) for one in offers if random.random() < 0.6),
        categories=tuple(counts(key) for key in (1, 2) if random.random() < 0.5),
        total=total,
        positive=random.randint(0, total),
    )


def random_place(random: Random, scopes: tuple[str, ...]) -> tuple[str, int | None]:
    """A scope and its key, now and then of something that is not there."""
    scope = random.choice(scopes)
    keys: dict[str, tuple[int | None, ...]] = {
        "global": (None,),
        "segment": (1, 2, 3, GONE),
        "channel": (1, 2, 3),
        "category": (1, 2, 3),
        "subcategory": (11, 12),
        "offer": (1, 2, 3, 4, GONE),
        "creative": (110, 111, 120, 210, 220, 221, 310),
        "placement": (11, 12, 21, 22),
    }
    return scope, random.choice(keys[scope])


def random_rule(random: Random, key: int) -> RuleFacts:
    kind, config = random_rule_config(random)
    stage = random.choice(("eligibility", "fit", "match", "match", "match"))
    if stage == "match" and random.random() < 0.7:
        config["fitMultiplier"] = random.choice((0.1, 0.5, 0.77, 1))
    scopes = ("segment", "channel", "category", "subcategory", "offer", "creative", "placement")
    scopes += ("global",) * (4 if stage == "match" else 1)
    scope, scope_key = random_place(random, scopes)
    many = random.choice((0, 0, 0, 1, 2, 3))
    return RuleFacts(
        key=key,
        name=f"Rule {key}",
        rule_type=kind,
        scope=scope,
        scope_key=scope_key,
        config=config,
        priority=random.choice((0, 50, 50, 90)),
        stage=stage,
        on_missing=random.choice(("fail", "pass")),
        scopes=tuple(random_place(random, scopes) for _ in range(many)),
    )


def random_rule_config(random: Random) -> tuple[str, Json]:
    kind = random.choice(
        (
            "segment_required",
            "attribute_condition",
            "attribute_condition",
            "propensity_threshold",
            "recency_check",
            "metric_condition",
            "offer_attribute",
        )
    )
    operator = random.choice(("gt", "gte", "lt", "lte"))
    days = random.choice((1, 7, 30))
    if kind == "segment_required":
        keys = random.sample((1, 2, 3, GONE), random.choice((0, 1, 1, 2)))
        return kind, {"requiredSegments": [ids.encode("Segment", one) for one in keys]}
    if kind == "propensity_threshold":
        config: Json = {"threshold": random.choice((0, 0.3, 0.5, 1)), "operator": operator}
        if random.random() < 0.5:
            config["modelKey"] = random.choice(MODELS).name
        return kind, config
    if kind == "recency_check":
        config = {random.choice(("withinDays", "olderThanDays")): days}
        source = random.choice(("contact", "impression", "outcome", "attribute"))
        attribute = {"attribute": random.choice(("born", "customer.seen"))}
        return kind, {**config, "source": source, **(attribute if source == "attribute" else {})}
    if kind == "metric_condition":
        return kind, {**random_metric(random), "operator": operator}
    if kind == "offer_attribute":
        leaf = catalog_leaf(random, ("offer",))
        if random.random() < 0.5:
            leaf = {"attribute": leaf["field"].removeprefix("offer."), **leaf}
            del leaf["field"]
        return kind, leaf if random.random() < 0.6 else {"conditions": [leaf]}
    name = random.choice(list(KINDS))
    if random.random() < 0.6:
        return kind, {"attribute": name, **random_test(random, KINDS[name])}
    return kind, {"combinator": "OR", "conditions": [attribute_leaf(random) for _ in range(2)]}


def attribute_leaf(random: Random) -> Json:
    leaf: Json = {"field": "offer."}
    while not leaf.get("field", "offer.").startswith("customer."):
        leaf = random_condition(random, KINDS, depth=9)
    return leaf


def random_metric(random: Random) -> Json:
    config: Json = {
        "metric": random.choice(
            ("contacts", "impressions", "positive", "negative", "neutral", "converts")
        ),
        "threshold": random.choice((0, 1, 1.5, 2, 1e300)),
    }
    if random.random() < 0.5:
        config["lookbackDays"] = random.choice((1, 7, 30))
    return config


def random_policy(random: Random, key: int, offers: int) -> PolicyFacts:
    kind, scopes, config = policy_config(random, offers)
    scope, scope_key = random_place(random, scopes)
    many = random.choice((0, 0, 0, 1, 2))
    return PolicyFacts(
        key=key,
        name=f"Policy {key}",
        rule_type=kind,
        scope=scope,
        scope_key=scope_key,
        config=config,
        priority=random.choice((0, 50, 50, 90)),
        scopes=tuple(random_place(random, scopes) for _ in range(many)),
    )
