"""Contact policies as conditions over the history, for the candidates that they withhold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from executor.flow.catalog import (
    Catalog,
    ChannelFacts,
    OfferFacts,
    OfferUsage,
    PolicyFacts,
    RuleFacts,
    SegmentFacts,
)
from executor.flow.columns import column_expr
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.outcomes import OUTCOMES
from executor.flow.policies import TYPES
from executor.flow.policy_scopes import PolicyContext
from executor.flow.policy_steps import PolicyStep, compile_policies
from kaireon import ids
from tests.flow_samples import EMAIL, GOLD, LOAN, SMS

#: A Sunday, 01:30 of which is 02:30 in Rome.
NOW = datetime(2026, 3, 22, 1, 30, tzinfo=UTC)
SILVER = replace(GOLD, key=5, name="Silver Card", priority=40)
PAUSED = replace(GOLD, key=9, name="Old Card", status="paused")


@dataclass(frozen=True)
class Candidate:
    offer: OfferFacts
    channel: ChannelFacts
    creative_key: int | None = None


#: 0 and 1: Gold Card by e-mail and SMS; 2: Car Loan by e-mail; 3: Silver Card by SMS.
PAIRS = (
    Candidate(GOLD, EMAIL, 21),
    Candidate(GOLD, SMS, 22),
    Candidate(LOAN, EMAIL, 23),
    Candidate(SILVER, SMS),
)
CONTEXT = PolicyContext(NOW, "Europe/Rome", offers=(GOLD, LOAN, SILVER, PAUSED))
CARDS = (1, 5, 9)


def policy(
    rule_type: str, scope: str = "global", scope_key: int | None = None, **fields: Any
) -> Any:
    """Fields that are not the policy's own are its config."""
    known = {"key": 1, "name": "P", "priority": 50, "scopes": ()}
    known |= {name: fields.pop(name) for name in list(fields) if name in known}
    return PolicyFacts(
        rule_type=rule_type, scope=scope, scope_key=scope_key, config=fields, **known
    )


def steps_of(*policies: PolicyFacts, pairs: Any = PAIRS, **context: Any) -> list[PolicyStep]:
    return list(compile_policies(policies, pairs, replace(CONTEXT, **context)))


def only(*policies: PolicyFacts, pairs: Any = PAIRS, **context: Any) -> PolicyStep:
    (step,) = steps_of(*policies, pairs=pairs, **context)
    return step


def passes(step: PolicyStep, values: Mapping[Metric | SegmentFlag, Any]) -> bool:
    if isinstance(step.condition, bool):
        return step.condition
    names = {column.name: column for column in (*step.metrics, *step.segments)}
    frame = pl.DataFrame({name: [values[column]] for name, column in names.items()})
    return bool(frame.select(column_expr(step.condition)).item())


def rome(*moment: int) -> datetime:
    """An instant that is one hour before what clocks show in Rome in winter."""
    return datetime(*moment, tzinfo=UTC) - timedelta(hours=1)


ALL = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("scope", "key", "positions", "narrowed"),
    [
        ("global", None, ALL, {}),
        ("offer", 1, (0, 1), {"offers": (1,)}),
        ("creative", 22, (1,), {"creatives": (22,)}),
        ("channel", 2, (1, 3), {"channels": (2,)}),
        ("category", 1, (0, 1, 3), {"offers": CARDS}),
        ("subcategory", 11, (0, 1, 3), {"offers": CARDS}),
    ],
)
def test_a_scope_says_what_counts_and_what_is_withheld(
    scope: str, key: int | None, positions: tuple[int, ...], narrowed: Any
) -> None:
    step = only(policy("frequency_cap", scope, key, maxTotal=2))
    metric = Metric("contacts", **narrowed)
    assert (step.positions, step.metrics) == (positions, (metric,))
    assert [passes(step, {metric: count}) for count in range(4)] == [True, True, False, False]


def test_days_are_local_and_the_present_one_is_the_last_of_them() -> None:
    step = only(policy("frequency_cap", maxPerDay=1, maxPerWeek=2, maxPerMonth=3, maxTotal=4))
    starts = [rome(2026, 3, 22), rome(2026, 3, 16), rome(2026, 2, 21), None]
    assert [metric.since for metric in step.metrics] == starts
    assert step.label == (
        "contacts: fewer than 1 in 1 day, fewer than 2 in 7 days, fewer than 3 in 30 days,"
        " fewer than 4 in all"
    )
    enough = dict(zip(step.metrics, (0, 1, 2, 3), strict=True))
    assert passes(step, enough)
    for metric in step.metrics:
        assert not passes(step, enough | {metric: enough[metric] + 1})


def test_a_day_begins_where_the_clock_is_put_forward_at_midnight() -> None:
    at = datetime(2026, 4, 24, 9, tzinfo=UTC)
    step = only(policy("frequency_cap", maxPerDay=1), now=at, zone="Africa/Cairo")
    assert step.metrics[0].since == datetime(2026, 4, 23, 22, tzinfo=UTC)
    at += timedelta(days=1)
    step = only(policy("frequency_cap", maxPerDay=1), now=at, zone="Africa/Cairo")
    assert step.metrics[0].since == datetime(2026, 4, 24, 21, tzinfo=UTC)


def test_hours_are_exact() -> None:
    step = only(policy("frequency_cap", maxTotal=1, lookbackHours=36))
    assert step.metrics == (Metric("contacts", since=NOW - timedelta(hours=36)),)


def test_a_frequency_cap_counts_one_campaign_or_all_but_some() -> None:
    own, other = ids.encode("Campaign", 7), ids.encode("Campaign", 8)
    within = only(policy("frequency_cap", maxTotal=1, withinCampaignId=own))
    assert within.metrics == (Metric("contacts", campaigns=(7,)),)
    without = only(policy("frequency_cap", maxTotal=1, excludeCampaignIds=[own, other]))
    assert without.metrics == (Metric("contacts", without_campaigns=(7, 8)),)


def test_a_cooldown_ends_after_its_hours() -> None:
    step = only(policy("cooldown", "offer", 2, cooldownHours=24))
    last = Metric("contacts", "last", since=NOW - timedelta(hours=24), offers=(2,))
    assert (step.positions, step.metrics) == ((2,), (last,))
    values = [(None, True), (0.0, False), (86_399.999999, False), (86_400.0, True)]
    assert [(value, passes(step, {last: value})) for value, _ in values] == values


@pytest.mark.parametrize(
    ("scope", "key", "positions"),
    [
        ("global", None, [(0, 1), (2,), (3,)]),
        ("offer", 1, [(0, 1)]),
        ("creative", 22, [(1,)]),
        ("channel", 2, [(1,), (3,)]),
    ],
)
def test_a_cross_channel_cap_counts_each_offer_over_all_channels(
    scope: str, key: int | None, positions: list[tuple[int, ...]]
) -> None:
    steps = steps_of(policy("cross_channel_cap", scope, key, maxTotal=1))
    assert [step.positions for step in steps] == positions
    offers = [PAIRS[step.positions[0]].offer.key for step in steps]
    assert [step.metrics for step in steps] == [
        (Metric("contacts", offers=(offer,)),) for offer in offers
    ]


def test_a_total_cap_counts_every_contact() -> None:
    step = only(policy("customer_total_cap", maxPerWeek=2))
    assert step.metrics == (Metric("contacts", since=rome(2026, 3, 16)),)
    assert step.positions == ALL


BOTH = {"checkImpressions": True, "checkDailyBudget": True}
CONTACTS = {"checkImpressions": False}
IN_ALL = {"checkDailyBudget": False}


@pytest.mark.parametrize(
    ("config", "budget", "used", "told"),
    [
        (BOTH, {}, (9, 9, 9, 9), ""),
        (BOTH, {"max_per_day": 3}, (2, 9, 2, 9), ""),
        (BOTH, {"max_per_day": 3}, (3, 3, 0, 0), "3 of 3 today"),
        (BOTH, {"max_per_day": 3}, (0, 0, 4, 4), "4 of 3 today"),
        (BOTH, {"max_total": 5}, (0, 4, 0, 4), ""),
        (BOTH, {"max_total": 5}, (0, 5, 0, 0), "5 of 5"),
        (CONTACTS, {"max_per_day": 3, "max_total": 5}, (2, 4, 9, 9), ""),
        (CONTACTS, {"max_per_day": 3}, (3, 3, 9, 9), "3 of 3 today"),
        (IN_ALL, {"max_per_day": 1, "max_total": 5}, (4, 4, 4, 4), ""),
        (IN_ALL, {"max_per_day": 1, "max_total": 5}, (0, 0, 0, 6), "6 of 5"),
    ],
)
def test_a_budget_that_is_used_up(config: Any, budget: Any, used: Any, told: str) -> None:
    """used: contacts today and in all, impressions today and in all."""
    gold = replace(GOLD, budget=budget)
    pairs = [replace(pair, offer=gold) if pair.offer is GOLD else pair for pair in PAIRS]
    usage = {1: OfferUsage(1, *used)}
    step = only(policy("budget_exhausted", "offer", 1, **config), pairs=pairs, usage=usage)
    if told:
        assert (step.condition, step.positions) == (False, (0, 1))
        assert step.label == f'the budget of "Gold Card" is used up: {told}'
    else:
        assert (step.condition, step.positions) == (True, ())


def test_an_outcome_withholds_from_then_on() -> None:
    step = only(policy("outcome_based", outcomeTypes=["Unsubscribe", "complaint"]))
    metric = Metric("outcomes", outcomes=("complaint", "unsubscribe"))
    assert (step.positions, step.metrics) == (ALL, (metric,))
    assert (passes(step, {metric: 0}), passes(step, {metric: 1})) == (True, False)
    narrow = only(policy("outcome_based", "creative", 21, outcomeType="reject", lookbackDays=2))
    since = rome(2026, 3, 21)
    assert narrow.metrics == (
        Metric("outcomes", since=since, outcomes=("reject",), creatives=(21,)),
    )
    assert narrow.positions == (0,)


def test_members_of_segments_are_excluded() -> None:
    vip, staff = SegmentFlag("seg_a", "id"), SegmentFlag("seg_b", "id")
    named = [ids.encode("Segment", key) for key in (3, 4)]
    known = {"segments": {3: vip, 4: staff}, "segment_names": {3: "VIP"}}
    step = only(policy("segment_exclusion", excludeSegments=named), **known)
    assert step.label == f'not in "VIP" or "{named[1]}"'
    assert step.segments == (vip, staff)
    for values, passing in (((0, 0), True), ((1, 0), False), ((0, 1), False)):
        flags = dict(zip((vip, staff), map(bool, values), strict=True))
        assert passes(step, flags) is passing


WEEKEND = {"allowedDays": [0, 6]}
NIGHT = {"startTime": "22:00", "endTime": "06:30"}
DAY = {"startTime": "09:00", "endTime": "17:00"}


@pytest.mark.parametrize(
    ("config", "at", "is_open"),
    [
        (WEEKEND, rome(2026, 3, 22, 2, 30), True),  # Sunday
        (WEEKEND, rome(2026, 3, 22, 23, 59), True),
        (WEEKEND, rome(2026, 3, 23), False),
        (DAY, rome(2026, 3, 22, 9), True),
        (DAY, rome(2026, 3, 22, 8, 59), False),
        (DAY, rome(2026, 3, 22, 16, 59), True),
        (DAY, rome(2026, 3, 22, 17), False),
        (DAY | WEEKEND, rome(2026, 3, 23, 12), False),
        (NIGHT, rome(2026, 3, 22, 22), True),
        (NIGHT, rome(2026, 3, 22, 6, 29), True),
        (NIGHT, rome(2026, 3, 22, 6, 30), False),
        (NIGHT, rome(2026, 3, 22, 21, 59), False),
        (NIGHT | WEEKEND, rome(2026, 3, 23, 6), True),  # still Sunday's night
        (NIGHT | WEEKEND, rome(2026, 3, 21, 6), False),  # Friday's
        (NIGHT | {"allowedDays": [5]}, rome(2026, 3, 21, 6), True),
        # Clocks go from 02:00 to 03:00 at 01:00 UTC.
        ({"startTime": "02:00", "endTime": "03:00"}, datetime(2026, 3, 29, 1, tzinfo=UTC), False),
        ({"startTime": "03:00", "endTime": "04:00"}, datetime(2026, 3, 29, 1, tzinfo=UTC), True),
    ],
)
def test_a_window_is_open_by_the_clock_of_the_tenant(
    config: Any, at: datetime, is_open: bool
) -> None:
    step = only(policy("time_window", "channel", 2, **config), now=at)
    assert (step.condition, step.positions) == (is_open, (1, 3))


def test_mutual_exclusion_holds_each_offer_back_for_the_others() -> None:
    loan = ids.encode("Offer", 2)
    steps = steps_of(policy("mutual_exclusion", "offer", 1, offerIds=[loan], lookbackDays=1))
    since = rome(2026, 3, 22)
    assert [step.positions for step in steps] == [(0, 1), (2,)]
    assert [step.metrics for step in steps] == [
        (
            Metric("contacts", since=since, offers=(key,)),
            Metric("impressions", since=since, offers=(key,)),
        )
        for key in (2, 1)
    ]
    contacts, impressions = steps[0].metrics
    for given, shown, passing in ((0, 0, True), (1, 0, False), (0, 1, False)):
        assert passes(steps[0], {contacts: given, impressions: shown}) is passing


def test_several_scopes_of_a_mutual_exclusion_are_one_group() -> None:
    one = policy("mutual_exclusion", offerIds=[ids.encode("Offer", 9)])
    steps = steps_of(replace(one, scopes=(("offer", 1), ("offer", 5))))
    assert [step.positions for step in steps] == [(0, 1), (3,)]
    assert [step.metrics[0].offers for step in steps] == [(5, 9), (1, 9)]


@pytest.mark.parametrize(("listed", "groups"), [(None, [(0, 1, 3), (2,)]), ([2], [(2,)])])
def test_a_category_is_suppressed_as_a_whole(listed: Any, groups: Any) -> None:
    named = {} if listed is None else {"categoryIds": [ids.encode("Category", k) for k in listed]}
    steps = steps_of(policy("category_suppression", **named))
    assert [step.positions for step in steps] == groups
    offers = [CARDS, (2,)] if listed is None else [(2,)]
    assert [step.metrics for step in steps] == [
        (Metric("contacts", offers=keys), Metric("impressions", offers=keys)) for keys in offers
    ]


@pytest.mark.parametrize(
    ("operator", "threshold", "withheld"),
    [
        ("gt", 2, [3, 4]),
        ("gt", 2.5, [3, 4]),
        ("gte", 2, [2, 3, 4]),
        ("gte", 2.5, [3, 4]),
        ("lt", 2, [0, 1]),
        ("lt", 2.5, [0, 1, 2]),
        ("lte", 2, [0, 1, 2]),
        ("lte", 1.5, [0, 1]),
        ("gt", 1e300, []),
        ("lt", 1e300, [0, 1, 2, 3, 4]),
    ],
)
def test_a_metric_withholds_while_it_compares_so(
    operator: str, threshold: float, withheld: list[int]
) -> None:
    config = {"metric": "contacts", "operator": operator, "threshold": float(threshold)}
    step = only(policy("metric_condition", **config))
    (metric,) = step.metrics
    assert [n for n in range(5) if not passes(step, {metric: n})] == withheld


@pytest.mark.parametrize("name", ["contacts", "impressions", *OUTCOMES])
def test_metrics_count_what_their_name_says(name: str) -> None:
    config = {"metric": name, "operator": "gt", "threshold": 0.0, "lookbackDays": 7}
    step = only(policy("metric_condition", "channel", 1, **config))
    source: Any = name if name in ("contacts", "impressions") else "outcomes"
    since = rome(2026, 3, 16)
    outcomes = OUTCOMES.get(name, ())
    assert step.metrics == (Metric(source, since=since, outcomes=outcomes, channels=(1,)),)


def test_an_override_lets_its_candidates_past_what_is_bypassable() -> None:
    cap = policy("frequency_cap", key=4, maxTotal=1, priority=99)
    hard = policy("cooldown", key=3, cooldownHours=1, bypassable=False)
    override = policy("allow_override", "channel", 2, priority=1)
    steps = {step.policy_key: step for step in steps_of(override, hard, cap)}
    assert (steps[4].positions, steps[3].positions) == ((0, 2), ALL)
    assert steps[1].condition is True
    assert steps[1].label == "lets 2 candidates past every policy that is bypassable"


def test_an_override_that_cannot_be_read_lets_nobody_past() -> None:
    override = policy("allow_override", unknown=1)
    steps = steps_of(override, replace(policy("cooldown", cooldownHours=1), key=2))
    assert [step.positions for step in steps] == [(), ALL]
    assert "cannot be evaluated" in steps[0].label


def test_mandatory_offers_are_bound_by_caps_on_contacts_and_what_is_not_bypassable() -> None:
    pairs = [replace(PAIRS[0], offer=replace(GOLD, mandatory=True)), *PAIRS[1:]]
    policies = [
        policy("frequency_cap", maxTotal=1),
        policy("cross_channel_cap", "offer", 1, maxTotal=1),
        policy("cooldown", cooldownHours=1),
        policy("customer_total_cap", maxTotal=1, bypassable=False),
    ]
    numbered = [replace(one, key=number) for number, one in enumerate(policies)]
    steps = steps_of(*numbered, pairs=pairs)
    assert [step.positions for step in steps] == [ALL, (0, 1), (1, 2, 3), ALL]


def test_steps_come_by_priority_and_then_the_oldest() -> None:
    made = [(3, 50), (1, 50), (2, 90)]
    policies = [
        replace(policy("cooldown", cooldownHours=1), key=key, priority=priority)
        for key, priority in made
    ]
    assert [step.policy_key for step in steps_of(*policies)] == [2, 1, 3]


def test_several_scopes_are_as_several_policies() -> None:
    cap = replace(policy("frequency_cap", maxTotal=1), scopes=(("offer", 2), ("channel", 2)))
    steps = steps_of(cap)
    assert [(step.positions, step.metrics) for step in steps] == [
        ((2,), (Metric("contacts", offers=(2,)),)),
        ((1, 3), (Metric("contacts", channels=(2,)),)),
    ]


def test_a_policy_without_candidates_holds_for_everybody() -> None:
    step = only(policy("frequency_cap", "category", 77, maxTotal=1))
    assert (step.condition, step.positions, step.metrics) == (True, (), ())


@pytest.mark.parametrize(
    ("wrong", "positions", "told"),
    [
        (policy("frequency_cap", "offer", 1), (0, 1), "config needs at least one of maxPerDay"),
        (policy("cooldown", "channel", 2, cooldownHours="x"), (1, 3), "config.cooldownHours"),
        (policy("no_such_type", "offer", 2), (2,), 'there is no type "no_such_type"'),
        (policy("cooldown", "offer", None, cooldownHours=1), ALL, 'its scope is "offer"'),
        (policy("cooldown", "planet", 1, cooldownHours=1), ALL, 'its scope is "planet"'),
        (policy("segment_exclusion", "offer", 1, excludeSegments=["x"]), (0, 1), "config."),
        (
            policy("segment_exclusion", excludeSegments=[ids.encode("Segment", 3)]),
            ALL,
            f"the segment {ids.encode('Segment', 3)} is gone",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_withheld(wrong: Any, positions: Any, told: str) -> None:
    step = only(wrong, segments={3: None})
    assert (step.condition, step.positions) == (False, positions)
    assert step.label.startswith("cannot be evaluated: ")
    assert told in step.label


@pytest.mark.parametrize("kind", ["cooldown", "allow_override"])
def test_a_config_that_is_no_object_cannot_be_evaluated(kind: str) -> None:
    step = only(replace(policy(kind), config=[]))
    assert step.label == "cannot be evaluated: config must be an object, got []"


def test_a_zone_that_is_not_there_withholds() -> None:
    step = only(policy("frequency_cap", maxPerDay=1), zone="Mars/Olympus")
    assert (step.condition, step.positions) == (False, ALL)
    assert only(policy("frequency_cap", maxTotal=1), zone="Mars/Olympus").condition is not False


def test_every_type_has_its_part() -> None:
    for kind in TYPES:
        step = only(policy(kind, junk=1))
        assert "cannot be evaluated" in step.label


def test_the_catalog_survives_json() -> None:
    gold = replace(GOLD, budget={"max_total": 3}, starts=NOW, ends=None, mandatory=True)
    catalog = Catalog(
        offers=(gold,),
        rules=(RuleFacts(1, "R", scopes=(("offer", 1),)),),
        policies=(replace(policy("cooldown", cooldownHours=1), scopes=(("global", None),)),),
        segments=(SegmentFacts(3, "VIP", "seg_a", "id"),),
        usage=(OfferUsage(1, 2, 3, 4, 5),),
    )
    assert Catalog.from_json(json.loads(json.dumps(catalog.to_json()))) == catalog
    context = PolicyContext.of(catalog, NOW, "UTC")
    assert context.segments == {3: SegmentFlag("seg_a", "id")}
    assert context.usage[1].impressions == 5


@pytest.mark.parametrize(
    ("starts", "ends", "now"),
    [(None, None, True), (NOW, None, True), (None, NOW, False), (NOW, NOW, False)],
)
def test_an_offer_is_given_from_its_start_to_its_end(starts: Any, ends: Any, now: bool) -> None:
    assert replace(GOLD, starts=starts, ends=ends).is_offered(NOW) is now
