"""What each type of contact policy asks of a customer, for the candidates in its scopes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor
from typing import Any
from zoneinfo import ZoneInfo

from executor.flow.catalog import OfferFacts, OfferUsage
from executor.flow.conditions import Condition, Group, Leaf
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.leaves import Verdict
from executor.flow.operators import Op, quoted
from executor.flow.outcomes import OUTCOMES, words
from executor.flow.policies import (
    BudgetExhausted,
    Caps,
    CategorySuppression,
    Cooldown,
    FrequencyCap,
    MetricCondition,
    MutualExclusion,
    OutcomeBased,
    SegmentExclusion,
    TimeWindow,
)
from executor.flow.policy_scopes import Pair, PolicyContext, Scope
from kaireon import ids


@dataclass(frozen=True, slots=True)
class Part:
    """What must hold for a customer to keep these candidates, and the columns it reads."""

    label: str
    condition: Verdict
    positions: tuple[int, ...]
    metrics: tuple[Metric, ...] = ()
    segments: tuple[SegmentFlag, ...] = ()


Parts = Callable[[Any, Sequence[Scope], Sequence[Pair], PolicyContext], Iterator[Part]]

#: No customer has so many contacts, and int64 still holds it.
MOST = 2**62


def _frequency_cap(
    config: FrequencyCap, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    within, without = config.within_campaign_id, config.exclude_campaign_ids or ()
    base = Metric(
        "contacts",
        campaigns=_keys("Campaign", () if within is None else (within,)),
        without_campaigns=_keys("Campaign", without),
    )
    for scope in scopes:
        yield _capped(config, scope.of(base), scope.positions, scope.words, context)


def _cross_channel_cap(
    config: Caps, scopes: Sequence[Scope], pairs: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    """Each offer by itself, over all channels."""
    for scope in scopes:
        for offer, positions in _by_offer(scope, pairs):
            metric = Metric("contacts", offers=(offer.key,))
            about = f" of {quoted(offer.name)} in all channels"
            yield _capped(config, metric, positions, about, context)


def _customer_total_cap(
    config: Caps, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    for scope in scopes:
        yield _capped(config, Metric("contacts"), scope.positions, "", context)


def _capped(
    config: Caps, metric: Metric, positions: tuple[int, ...], about: str, context: PolicyContext
) -> Part:
    """Fewer contacts than each cap allows, so that one more is within it."""
    hours = config.lookback_hours
    of_days = ((config.max_per_day, 1), (config.max_per_week, 7), (config.max_per_month, 30))
    windows = [(most, context.since_days(days), _window(days)) for most, days in of_days if most]
    if config.max_total:
        window = " in all" if hours is None else f" in {_count(hours, 'hour')}"
        windows.append((config.max_total, context.since_hours(hours), window))
    metrics = [replace(metric, since=since) for _, since, _ in windows]
    told = [f"fewer than {most}{window}" for most, _, window in windows]
    leaves = [Leaf(m.name, Op.LT, most) for m, (most, _, _) in zip(metrics, windows, strict=True)]
    label = f"contacts{about}: {', '.join(told)}"
    return Part(label, _all(leaves), positions, tuple(dict.fromkeys(metrics)))


def _cooldown(
    config: Cooldown, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    hours = config.cooldown_hours
    for scope in scopes:
        last = scope.of(Metric("contacts", "last", since=context.since_hours(hours)))
        condition = Group(
            "or", (Leaf(last.name, Op.IS_NULL, None), Leaf(last.name, Op.GTE, hours * 3600.0))
        )
        label = f"no contact{scope.words} in {_count(hours, 'hour')}"
        yield Part(label, condition, scope.positions, (last,))


def _budget_exhausted(
    config: BudgetExhausted, scopes: Sequence[Scope], pairs: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    for scope in scopes:
        for offer, positions in _by_offer(scope, pairs):
            usage = context.usage.get(offer.key, OfferUsage(offer.key))
            for why in _used_up(config, offer, usage):
                yield Part(why, False, positions)
                break


def _used_up(config: BudgetExhausted, offer: OfferFacts, usage: OfferUsage) -> Iterator[str]:
    """Why the offer may not be given any more, in words; nothing if it may."""
    counts = [("max_total", "", usage.contacts, usage.impressions)]
    if config.check_daily_budget:
        daily = ("max_per_day", " today", usage.contacts_today, usage.impressions_today)
        counts.insert(0, daily)
    for limit, when, contacts, impressions in counts:
        used = max(contacts, impressions) if config.check_impressions else contacts
        most = offer.budget.get(limit)
        if most is not None and used >= most:
            yield f"the budget of {quoted(offer.name)} is used up: {used} of {most}{when}"


def _outcome_based(
    config: OutcomeBased, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    named = config.outcome_types or ((config.outcome_type,) if config.outcome_type else ())
    since = context.since_days(config.lookback_days)
    for scope in scopes:
        metric = scope.of(Metric("outcomes", since=since, outcomes=words(named)))
        window = _window(config.lookback_days)
        yield _none(f"no {' or '.join(named)}{scope.words}{window}", (metric,), scope.positions)


def _segment_exclusion(
    config: SegmentExclusion, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    flags: dict[SegmentFlag, str] = {}
    for public_id, key in zip(
        config.exclude_segments, _keys("Segment", config.exclude_segments), strict=True
    ):
        flag = context.segments.get(key)
        if flag is None:
            raise ValueError(f"the segment {public_id} is gone")
        flags[flag] = quoted(context.segment_names.get(key, public_id))
    leaves = [Leaf(flag.name, Op.EQ, False) for flag in flags]
    for scope in scopes:
        label = f"not in {' or '.join(flags.values())}"
        yield Part(label, _all(leaves), scope.positions, segments=tuple(flags))


def _time_window(
    config: TimeWindow, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    local = context.now.astimezone(ZoneInfo(context.zone))
    is_open = _is_open(config, local)
    label = f"it is {'inside' if is_open else 'outside'} the window, {local:%A %H:%M}"
    for scope in scopes:
        yield Part(f"{label} in {context.zone}", is_open, scope.positions)


def _is_open(config: TimeWindow, local: datetime) -> bool:
    """Whether the wall clock is in the window; its end is not. Past midnight it is still the
    window of the day before."""
    day, clock = local.date(), f"{local:%H:%M}"
    start, end = config.start_time, config.end_time
    if start is not None and end is not None:
        if start < end:
            if not start <= clock < end:
                return False
        elif clock < end:
            day -= timedelta(days=1)
        elif clock < start:
            return False
    return config.allowed_days is None or day.isoweekday() % 7 in config.allowed_days


def _mutual_exclusion(
    config: MutualExclusion, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    """One group of the offers of all scopes and those listed: each goes without the others."""
    group = {scope.key for scope in scopes if scope.key is not None}
    since = context.since_days(config.lookback_days)
    for scope in {scope.key: scope for scope in scopes}.values():
        others = tuple(sorted(group - {scope.key}))
        if others and scope.positions:
            label = f"none of {_count(len(others), 'other offer')} of the group was given"
            label += _window(config.lookback_days)
            yield _none(label, _shown(others, since), scope.positions)


def _category_suppression(
    config: CategorySuppression,
    scopes: Sequence[Scope],
    pairs: Sequence[Pair],
    context: PolicyContext,
) -> Iterator[Part]:
    """A category at a time: all its offers, once one of them was given or shown."""
    wanted = config.category_ids and set(_keys("Category", config.category_ids))
    known = (*context.offers, *(pair.offer for pair in pairs))
    since = context.since_days(config.lookback_days)
    categories: dict[int, list[int]] = {}
    for place in sorted({place for scope in scopes for place in scope.positions}):
        key = pairs[place].offer.category_key
        if key is not None and (wanted is None or key in wanted):
            categories.setdefault(key, []).append(place)
    for key, positions in categories.items():
        offers = tuple(sorted({offer.key for offer in known if offer.category_key == key}))
        name = quoted(pairs[positions[0]].offer.category_name)
        label = f"no offer of the category {name} was given{_window(config.lookback_days)}"
        yield _none(label, _shown(offers, since), tuple(positions))


def _metric_condition(
    config: MetricCondition, scopes: Sequence[Scope], _: Sequence[Pair], context: PolicyContext
) -> Iterator[Part]:
    since = context.since_days(config.lookback_days)
    keeps, most = _opposite(config.operator, config.threshold)
    sign = {Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}[keeps]
    if config.metric in OUTCOMES:
        base = Metric("outcomes", since=since, outcomes=OUTCOMES[config.metric])
    else:
        base = Metric("impressions" if config.metric == "impressions" else "contacts", since=since)
    for scope in scopes:
        metric = scope.of(base)
        label = f"{config.metric}{scope.words} {sign} {most}{_window(config.lookback_days)}"
        yield Part(label, Leaf(metric.name, keeps, most), scope.positions, (metric,))


def _opposite(operator: str, threshold: float) -> tuple[Op, int]:
    """What a whole number must fulfil not to compare so with the threshold."""
    down, up = min(floor(threshold), MOST), min(ceil(threshold), MOST)
    return {
        "gt": (Op.LTE, down),
        "gte": (Op.LT, up),
        "lt": (Op.GTE, up),
        "lte": (Op.GT, down),
    }[operator]


def _shown(offers: tuple[int, ...], since: datetime | None) -> tuple[Metric, ...]:
    """Contacts with any of the offers, and impressions of them that were reported."""
    return (
        Metric("contacts", since=since, offers=offers),
        Metric("impressions", since=since, offers=offers),
    )


def _none(label: str, metrics: tuple[Metric, ...], positions: tuple[int, ...]) -> Part:
    return Part(label, _all(Leaf(metric.name, Op.LT, 1) for metric in metrics), positions, metrics)


def _by_offer(scope: Scope, pairs: Sequence[Pair]) -> Iterator[tuple[OfferFacts, tuple[int, ...]]]:
    """The offers of the scope's candidates, each with its own."""
    grouped: dict[int, list[int]] = {}
    for place in scope.positions:
        grouped.setdefault(pairs[place].offer.key, []).append(place)
    for positions in grouped.values():
        yield pairs[positions[0]].offer, tuple(positions)


def _all(leaves: Iterable[Leaf]) -> Condition:
    children = tuple(leaves)
    return children[0] if len(children) == 1 else Group("and", children)


def _keys(model: str, public_ids: Iterable[str]) -> tuple[int, ...]:
    """The keys of ids that the config's shape has been checked to be ids."""
    keys = [(public_id, ids.decode(model, public_id)) for public_id in public_ids]
    wrong = [public_id for public_id, key in keys if key is None]
    if wrong:
        raise ValueError(f"{wrong[0]} is no id")
    return tuple(key for _, key in keys if key is not None)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _window(days: int | None) -> str:
    return "" if days is None else f" in {_count(days, 'day')}"


PARTS: Mapping[str, Parts] = {
    "frequency_cap": _frequency_cap,
    "cooldown": _cooldown,
    "budget_exhausted": _budget_exhausted,
    "outcome_based": _outcome_based,
    "segment_exclusion": _segment_exclusion,
    "time_window": _time_window,
    "mutual_exclusion": _mutual_exclusion,
    "cross_channel_cap": _cross_channel_cap,
    "customer_total_cap": _customer_total_cap,
    "category_suppression": _category_suppression,
    "metric_condition": _metric_condition,
}
