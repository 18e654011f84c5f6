"""Qualification rules and contact policies for one customer at a time; see reference_engine."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from executor.flow.catalog import Catalog, PolicyFacts, RuleFacts
from executor.flow.outcomes import OUTCOMES
from kaireon import ids
from tests.reference_conditions import (
    ORDER,
    Answer,
    Candidate,
    both,
    compare,
    either,
    is_hopeless,
    opposite,
    read,
)

key_of = cache(ids.decode)


@dataclass(frozen=True)
class Event:
    """A contact, or with a type an interaction that was reported."""

    at: datetime
    offer: int
    channel: int | None = None
    creative: int | None = None
    campaign: int | None = None
    interaction_type: str = ""
    outcome: str = ""

    @property
    def word(self) -> str:
        return (self.outcome or self.interaction_type).lower()

    def is_of(self, source: str) -> bool:
        if source == "contacts":
            return not self.interaction_type
        if not self.interaction_type:
            return False
        shown = "impression" in (self.word, self.interaction_type.lower())
        return shown if source == "impressions" else self.word != "impression"


@dataclass(frozen=True)
class Customer:
    """One customer: the columns of the segment, and what is known besides."""

    key: str
    h: int
    columns: Mapping[str, Any]
    events: tuple[Event, ...] = ()
    segments: frozenset[int] = frozenset()


@dataclass
class Person:
    """Who is asked about, with the columns known by now; no customer is nobody in particular."""

    customer: Customer | None
    columns: dict[str, Any] | None
    #: What a model, a count or a test said, so that it is asked once.
    said: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, ask: Callable[[], Any]) -> Any:
        if key not in self.said:
            self.said[key] = ask()
        return self.said[key]


@dataclass(frozen=True)
class Clock:
    now: datetime
    zone: str

    def local(self) -> datetime:
        return self.now.astimezone(ZoneInfo(self.zone))

    def days(self, days: int | None) -> datetime | None:
        """Where the last so many local days begin, today included."""
        if days is None:
            return None
        day = self.local().date() - timedelta(days=days - 1)
        return datetime.combine(day, time(), ZoneInfo(self.zone)).astimezone(UTC)


def events(
    person: Person,
    clock: Clock,
    source: str,
    since: datetime | None,
    like: Callable[[Event], bool] = lambda event: True,
) -> list[Event]:
    assert person.customer is not None
    return [
        event
        for event in person.customer.events
        if event.at <= clock.now
        and (since is None or event.at >= since)
        and event.is_of(source)
        and like(event)
    ]


def counted(metric: str) -> tuple[str, Callable[[Event], bool]]:
    """The source of a metric of rules and policies, and which of its events count."""
    if metric in ("contacts", "impressions"):
        return metric, lambda event: True
    return "outcomes", lambda event: event.word in OUTCOMES[metric]


Propensity = Callable[[str | None, Candidate, Person], float | list[float] | None]
Verdict = Callable[[Candidate, Person], Answer]


def rule_test(
    rule: RuleFacts,
    kinds: Mapping[str, str],
    clock: Clock,
    segments: Iterable[int],
    propensity: Propensity,
) -> Verdict:
    """What a customer must meet for the rule to let a candidate pass."""
    config = {key: value for key, value in rule.config.items() if key != "fitMultiplier"}
    passes = rule.on_missing == "pass"
    if rule.rule_type in ("attribute_condition", "offer_attribute"):
        namespace = "customer" if rule.rule_type == "attribute_condition" else "offer"
        test = read(with_fields(config, namespace), kinds, passes)
        return lambda candidate, person: test(candidate, person.columns)
    if rule.rule_type == "segment_required":
        wanted = [key_of("Segment", one) for one in config.get("requiredSegments", ())]
        known = set(segments)
        return lambda _, person: both(in_segment(one, person, known) for one in wanted)
    if rule.rule_type == "recency_check":
        return recency(config, kinds, clock, passes)
    if rule.rule_type == "metric_condition":
        source, like = counted(config["metric"])
        since, holds = clock.days(config.get("lookbackDays")), ORDER[config["operator"]]
        hopeless = is_hopeless(config["operator"], "integer", config["threshold"])

        def enough(_: Candidate, person: Person) -> Answer:
            if person.customer is None:
                return False if hopeless else None
            count = len(events(person, clock, source, since, like))
            return holds(compare(count, config["threshold"]))

        return enough
    holds = ORDER[config.get("operator", "gte")]

    def likely(candidate: Candidate, person: Person) -> Answer:
        found = propensity(config.get("modelKey"), candidate, person)
        if isinstance(found, list):  # all that it can be, as nobody is asked about
            answers = [holds(compare(one, config["threshold"])) for one in found]
            return None if not found or any(answers) else False
        return passes if found is None else holds(compare(found, config["threshold"]))

    return likely


def in_segment(key: int | None, person: Person, known: set[int]) -> Answer:
    """A segment that is gone has no customers."""
    if key not in known:
        return False
    return None if person.customer is None else key in person.customer.segments


def with_fields(config: Any, namespace: str) -> Any:
    """`attribute` works in place of `field`, and the namespace may be left out."""
    if isinstance(config, list):
        return [with_fields(one, namespace) for one in config]
    if "conditions" in config:
        inside = [with_fields(one, namespace) for one in config["conditions"]]
        return {**config, "conditions": inside}
    name = config.get("attribute") or config["field"]
    if not name.startswith(f"{namespace}."):
        name = f"{namespace}.{name}"
    return {**config, "field": name}


def recency(
    config: Mapping[str, Any], kinds: Mapping[str, str], clock: Clock, passes: bool
) -> Verdict:
    within, older = config.get("withinDays"), config.get("olderThanDays")
    limit = timedelta(days=within or older)
    source = config.get("source", "contact")

    def by_attribute(_: Candidate, person: Person) -> Answer:
        if person.columns is None:
            return None
        column = config["attribute"].removeprefix("customer.")
        value = person.columns[column]
        if value is None:
            return passes
        now = clock.local().date() if kinds[column] == "date" else clock.now
        return value >= now - limit if within else value < now - limit

    def by_event(_: Candidate, person: Person) -> Answer:
        if person.customer is None:
            return None
        found = events(person, clock, f"{source}s", None)
        if not found:
            return within is None
        age = clock.now - max(event.at for event in found)
        return age <= limit if within else age > limit

    return by_attribute if source == "attribute" else by_event


def concerns(
    facts: RuleFacts | PolicyFacts, candidate: Candidate, person: Person, segments: set[int]
) -> Answer:
    """Whether one of the places where a rule or policy acts has the candidate and the customer."""
    return either(is_in(place, candidate, person, segments) for place in facts.places)


def is_in(
    place: tuple[str, int | None], candidate: Candidate, person: Person, segments: set[int]
) -> Answer:
    scope, key = place
    if scope == "segment":
        return in_segment(key, person, segments)
    found = {
        "global": key,
        "channel": candidate.channel.key,
        "category": candidate.offer.category_key,
        "subcategory": candidate.offer.sub_category_key,
        "offer": candidate.offer.key,
        "creative": candidate.creative,
        "placement": candidate.placement,
    }
    return scope == "global" or (key is not None and found[scope] == key)


class Rules:
    """The active rules of a flow, in the order in which they are applied."""

    def __init__(
        self,
        catalog: Catalog,
        kinds: Mapping[str, str],
        clock: Clock,
        propensity: Propensity,
    ) -> None:
        self.segments = {segment.key for segment in catalog.segments}
        ordered = sorted(catalog.rules, key=lambda rule: (-rule.priority, rule.key))
        self.all = [
            (rule, rule_test(rule, kinds, clock, self.segments, propensity)) for rule in ordered
        ]

    def verdict(
        self, rule: RuleFacts, test: Verdict, candidate: Candidate, person: Person
    ) -> Answer:
        """Whether the candidate passes: a rule says nothing of what is outside its scope."""
        concerned = concerns(rule, candidate, person, self.segments)
        if concerned is False:
            return True
        return either((opposite(concerned), test(candidate, person)))
