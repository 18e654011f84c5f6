"""Random configs of contact policies, a few of which nobody can evaluate."""

from random import Random
from typing import Any

from executor.flow.policies import TYPES
from kaireon import ids

Json = dict[str, Any]

GONE = 99


def policy_config(random: Random, offers: int) -> tuple[str, tuple[str, ...], Json]:
    """Type, scopes to choose from, config."""
    kind = random.choice(list(TYPES))
    scopes, config = TYPES[kind][1], _CONFIGS[kind](random)
    if kind == "mutual_exclusion":
        config["offerIds"] = [
            ids.encode("Offer", one)
            for one in random.sample((*range(1, offers + 1), GONE), random.randint(1, 2))
        ]
    if kind != "allow_override" and random.random() < 0.25:
        config.setdefault("bypassable", random.random() < 0.5)
    if random.random() < 0.06:
        broken = random.choice(("type", "scope", "config"))
        if broken == "type":
            return "magic", scopes, config
        if broken == "scope":
            return kind, (random.choice(("offer", "channel", "category", "placement")),), config
        return kind, scopes, {**config, "unknown": 1}
    return kind, scopes, config


def _caps(random: Random) -> Json:
    names = random.sample(
        ("maxPerDay", "maxPerWeek", "maxPerMonth", "maxTotal"), random.randint(1, 3)
    )
    config: Json = {name: random.choice((1, 2, 4)) for name in names}
    if "maxTotal" in config and random.random() < 0.5:
        config["lookbackHours"] = random.choice((1, 24, 168))
    return config


def _frequency_cap(random: Random) -> Json:
    config, choice = _caps(random), random.random()
    if choice < 0.25:
        config["withinCampaignId"] = ids.encode("Campaign", random.randint(1, 3))
    elif choice < 0.5:
        config["excludeCampaignIds"] = [ids.encode("Campaign", one) for one in (1, 2)]
    return config


def _budget(random: Random) -> Json:
    checks = random.choice(((True, True), (True, False), (False, True)))
    return dict(zip(("checkImpressions", "checkDailyBudget"), checks, strict=True))


def _outcomes(random: Random) -> Json:
    words = random.sample(("click", "COMPLAINT", "purchase", "email", "clicked"), 2)
    config: Json = random.choice(({"outcomeType": words[0]}, {"outcomeTypes": words}))
    return {**config, **_days(random)}


def _segments(random: Random) -> Json:
    keys = random.sample((1, 2, 3), random.randint(1, 2))
    if random.random() < 0.1:
        named = [ids.encode("Segment", one) for one in (*keys, GONE)]
        return {"excludeSegments": named, "bypassable": False}
    return {"excludeSegments": [ids.encode("Segment", one) for one in keys]}


def _window(random: Random) -> Json:
    config: Json = {}
    if random.random() < 0.7:
        start, end = random.choice((("08:30", "08:31"), ("09:00", "17:00"), ("22:00", "08:30")))
        config |= {"startTime": start, "endTime": end}
    if not config or random.random() < 0.5:
        config["allowedDays"] = random.choice(([1], [0, 6], [1, 2, 3, 4, 5], [0]))
    return config


def _categories(random: Random) -> Json:
    named = {"categoryIds": [ids.encode("Category", random.choice((1, 2)))]}
    return {**random.choice(({}, named)), **_days(random)}


def _metric(random: Random) -> Json:
    metrics = ("contacts", "impressions", "positive", "negative", "neutral", "converts")
    return {
        "metric": random.choice(metrics),
        "operator": random.choice(("gt", "gte", "lt", "lte")),
        "threshold": random.choice((0, 1, 1.5, 3, 1e300)),
        **_days(random),
    }


def _days(random: Random) -> Json:
    return {"lookbackDays": random.choice((1, 7, 30))} if random.random() < 0.5 else {}


_CONFIGS = {
    "frequency_cap": _frequency_cap,
    "cooldown": lambda random: {"cooldownHours": random.choice((1, 24, 168))},
    "budget_exhausted": _budget,
    "outcome_based": _outcomes,
    "segment_exclusion": _segments,
    "time_window": _window,
    "mutual_exclusion": _days,
    "cross_channel_cap": _caps,
    "customer_total_cap": _caps,
    "allow_override": lambda random: {},
    "category_suppression": _categories,
    "metric_condition": _metric,
}
