"""Contact policies for one customer and one candidate at a time; see reference_engine."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from executor.flow.catalog import Catalog, OfferUsage, PolicyFacts
from tests.reference_conditions import ORDER, Candidate, compare
from tests.reference_rules import Clock, Event, Person, concerns, counted, events, key_of

CAPS = {"maxPerDay", "maxPerWeek", "maxPerMonth", "maxTotal"}
BY_CONTACT = {"global", "offer", "creative", "channel"}
EVERYTHING = BY_CONTACT | {"category", "subcategory"}
#: Type -> the scopes it may have, the keys its config may have, those of which it needs one.
TYPES: Mapping[str, tuple[set[str], set[str], set[str]]] = {
    "frequency_cap": (
        EVERYTHING,
        CAPS | {"lookbackHours", "withinCampaignId", "excludeCampaignIds"},
        CAPS,
    ),
    "cooldown": (EVERYTHING, {"cooldownHours"}, {"cooldownHours"}),
    "budget_exhausted": ({"offer", "creative"}, {"checkImpressions", "checkDailyBudget"}, set()),
    "outcome_based": (
        {"global", "offer", "creative"},
        {"outcomeType", "outcomeTypes", "lookbackDays"},
        {"outcomeType", "outcomeTypes"},
    ),
    "segment_exclusion": ({"global"}, {"excludeSegments"}, {"excludeSegments"}),
    "time_window": (
        {"global", "channel"},
        {"allowedDays", "startTime", "endTime"},
        {"allowedDays", "startTime"},
    ),
    "mutual_exclusion": ({"offer"}, {"offerIds", "lookbackDays"}, {"offerIds"}),
    "cross_channel_cap": (BY_CONTACT, CAPS | {"lookbackHours"}, CAPS),
    "customer_total_cap": ({"global"}, CAPS | {"lookbackHours"}, CAPS),
    "allow_override": (BY_CONTACT, set(), set()),
    "category_suppression": ({"global"}, {"categoryIds", "lookbackDays"}, set()),
    "metric_condition": (
        EVERYTHING,
        {"metric", "operator", "threshold", "lookbackDays"},
        {"metric"},
    ),
}
Withholds = Callable[["Policies", PolicyFacts, Candidate, Person], bool]


class Policies:
    """The active policies in the order in which they are applied, and whom each withholds."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.clock = clock
        self.all = sorted(catalog.policies, key=lambda policy: (-policy.priority, policy.key))
        self.offers = {offer.key: offer for offer in catalog.offers}
        self.segments = {segment.key for segment in catalog.segments}
        self.usage = {usage.offer_key: usage for usage in catalog.usage}
        self.readable = {policy.key: self.can_be_evaluated(policy) for policy in self.all}
        self.overrides = [
            policy
            for policy in self.all
            if policy.rule_type == "allow_override" and not policy.config
        ]
        self.lets_past: dict[tuple[int, tuple[int, int, int]], bool] = {}

    def can_be_evaluated(self, policy: PolicyFacts) -> bool:
        if policy.rule_type not in TYPES:
            return False
        scopes, keys, needed = TYPES[policy.rule_type]
        given = set(policy.config)
        if policy.rule_type != "allow_override":
            given.discard("bypassable")
        if given - keys or (needed and not given & needed):
            return False
        if any(kind not in scopes or not is_place(kind, key) for kind, key in policy.places):
            return False
        excluded = policy.config.get("excludeSegments", ())
        return all(key_of("Segment", one) in self.segments for one in excluded)

    def withholds(self, policy: PolicyFacts, candidate: Candidate, person: Person) -> bool:
        """Whether the customer may not have the candidate because of the policy."""
        if policy.rule_type == "allow_override":
            return False
        if not self.readable[policy.key]:
            unknown = any(
                kind not in EVERYTHING or not is_place(kind, key) for kind, key in policy.places
            )
            return unknown or self.is_of(policy, candidate)
        if self.is_let_past(policy, candidate):
            return False
        if policy.rule_type != "mutual_exclusion" and not self.is_of(policy, candidate):
            return False
        return WITHHOLDS[policy.rule_type](self, policy, candidate, person)

    def is_of(self, policy: PolicyFacts, candidate: Candidate) -> bool:
        return concerns(policy, candidate, Person(None, None), set()) is True

    def is_let_past(self, policy: PolicyFacts, candidate: Candidate) -> bool:
        """Overrides and mandatory offers pass what can be bypassed; caps bind mandatory ones."""
        place = policy.key, candidate.name
        if place not in self.lets_past:
            past = any(
                kind in BY_CONTACT
                and is_place(kind, key)
                and self.is_of_place((kind, key), candidate)
                for override in self.overrides
                for kind, key in override.places
            )
            if policy.rule_type not in ("frequency_cap", "cross_channel_cap"):
                past = past or candidate.offer.mandatory
            self.lets_past[place] = past and policy.config.get("bypassable", True)
        return self.lets_past[place]

    def is_of_place(self, place: tuple[str, int | None], candidate: Candidate) -> bool:
        one = PolicyFacts(0, "", "", place[0], place[1])
        return concerns(one, candidate, Person(None, None), set()) is True

    def places(self, policy: PolicyFacts, candidate: Candidate) -> Iterable[tuple[str, int | None]]:
        """The places of the policy that have the candidate."""
        return [one for one in policy.places if self.is_of_place(one, candidate)]

    def is_event_of(self, place: tuple[str, int | None], event: Event) -> bool:
        kind, key = place
        offer = self.offers.get(event.offer)
        found = {
            "offer": event.offer,
            "channel": event.channel,
            "creative": event.creative,
            "category": offer.category_key if offer else None,
            "subcategory": offer.sub_category_key if offer else None,
        }
        return kind == "global" or found[kind] == key

    def was_shown(self, person: Person, days: int | None, offers: Callable[[int], bool]) -> bool:
        """Whether the customer was given one of the offers, or an impression was reported."""
        since = self.clock.days(days)
        return any(
            events(person, self.clock, source, since, lambda event: offers(event.offer))
            for source in ("contacts", "impressions")
        )


def is_place(kind: str, key: int | None) -> bool:
    return kind == "global" or (kind in EVERYTHING and key is not None)


def is_reached(
    policies: Policies, config: Mapping[str, Any], person: Person, like: Callable[[Event], bool]
) -> bool:
    """Whether one of the caps has been reached."""
    clock, hours = policies.clock, config.get("lookbackHours")
    of_all = None if hours is None else clock.now - timedelta(hours=hours)
    windows = {
        "maxPerDay": clock.days(1),
        "maxPerWeek": clock.days(7),
        "maxPerMonth": clock.days(30),
        "maxTotal": of_all,
    }
    return any(
        name in config and len(events(person, clock, "contacts", since, like)) >= config[name]
        for name, since in windows.items()
    )


def frequency_cap(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    config = policy.config
    within = key_of("Campaign", config.get("withinCampaignId"))
    without = {key_of("Campaign", one) for one in config.get("excludeCampaignIds", ())}

    def like(event: Event) -> bool:
        if within is not None:
            return event.campaign == within
        return event.campaign is None or event.campaign not in without

    return any(
        is_reached(
            policies,
            config,
            person,
            lambda event, place=place: policies.is_event_of(place, event) and like(event),
        )
        for place in policies.places(policy, candidate)
    )


def cross_channel_cap(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    offer = candidate.offer.key
    return is_reached(policies, policy.config, person, lambda event: event.offer == offer)


def customer_total_cap(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    return is_reached(policies, policy.config, person, lambda event: True)


def cooldown(policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person) -> bool:
    clock, pause = policies.clock, timedelta(hours=policy.config["cooldownHours"])
    return any(
        clock.now - event.at < pause
        for place in policies.places(policy, candidate)
        for event in events(person, clock, "contacts", None)
        if policies.is_event_of(place, event)
    )


def budget_exhausted(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    usage = policies.usage.get(candidate.offer.key, OfferUsage(candidate.offer.key))
    counts = {"max_total": (usage.contacts, usage.impressions)}
    if policy.config.get("checkDailyBudget", True):
        counts["max_per_day"] = (usage.contacts_today, usage.impressions_today)
    checks = policy.config.get("checkImpressions", True)
    budget = candidate.offer.budget
    return any(
        name in budget and (max(both) if checks else both[0]) >= budget[name]
        for name, both in counts.items()
    )


def outcome_based(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    config = policy.config
    named = config.get("outcomeTypes") or [config["outcomeType"]]
    words, since = {one.lower() for one in named}, policies.clock.days(config.get("lookbackDays"))
    return any(
        event.word in words and policies.is_event_of(place, event)
        for place in policies.places(policy, candidate)
        for event in events(person, policies.clock, "outcomes", since)
    )


def segment_exclusion(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    assert person.customer is not None
    excluded = {key_of("Segment", one) for one in policy.config["excludeSegments"]}
    return bool(excluded & person.customer.segments)


def time_window(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    config, local = policy.config, policies.clock.local()
    day, clock = local.date(), local.strftime("%H:%M")
    start, end = config.get("startTime", "00:00"), config.get("endTime", "24:00")
    if start < end and not start <= clock < end:
        return True
    if start > end:
        if end <= clock < start:
            return True
        if clock < end:
            day -= timedelta(days=1)
    return (day.weekday() + 1) % 7 not in config.get("allowedDays", range(7))


def mutual_exclusion(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    group = {key for _, key in policy.places}
    group |= {key_of("Offer", one) for one in policy.config["offerIds"]}
    own = candidate.offer.key
    if own not in group:
        return False
    days = policy.config.get("lookbackDays")
    return policies.was_shown(person, days, lambda offer: offer in group and offer != own)


def category_suppression(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    own = candidate.offer.category_key
    named = policy.config.get("categoryIds")
    wanted = named and {key_of("Category", one) for one in named}
    if own is None or (wanted and own not in wanted):
        return False

    def is_of_category(offer: int) -> bool:
        return offer in policies.offers and policies.offers[offer].category_key == own

    return policies.was_shown(person, policy.config.get("lookbackDays"), is_of_category)


def metric_condition(
    policies: Policies, policy: PolicyFacts, candidate: Candidate, person: Person
) -> bool:
    config = policy.config
    source, like = counted(config["metric"])
    since, holds = policies.clock.days(config.get("lookbackDays")), ORDER[config["operator"]]
    found = events(person, policies.clock, source, since, like)
    return any(
        holds(
            compare(sum(policies.is_event_of(place, event) for event in found), config["threshold"])
        )
        for place in policies.places(policy, candidate)
    )


WITHHOLDS: Mapping[str, Withholds] = {
    "frequency_cap": frequency_cap,
    "cooldown": cooldown,
    "budget_exhausted": budget_exhausted,
    "outcome_based": outcome_based,
    "segment_exclusion": segment_exclusion,
    "time_window": time_window,
    "mutual_exclusion": mutual_exclusion,
    "cross_channel_cap": cross_channel_cap,
    "customer_total_cap": customer_total_cap,
    "category_suppression": category_suppression,
    "metric_condition": metric_condition,
}
