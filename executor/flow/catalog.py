"""What a flow decides by besides the customers, as it is frozen into a run's spec."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from executor.flow.inputs import SegmentFlag

#: A scope and the key of what it names; "global" has none.
Place = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """An offer; `priority`, `weight` and `business_value` run from 0 to 100."""

    key: int
    name: str
    category_key: int | None = None
    category_name: str = ""
    sub_category_key: int | None = None
    sub_category_name: str = ""
    priority: int = 50
    weight: int = 100
    business_value: float = 50.0
    margin: float | None = None
    revenue_value: float | None = None
    product_type: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "active"
    #: max_per_day and max_total, as far as they are set.
    budget: Mapping[str, int] = field(default_factory=dict)
    #: The first instant at which it is given, and the first at which no more.
    starts: datetime | None = None
    ends: datetime | None = None
    #: Whether it is mandatory at the instant of the run.
    mandatory: bool = False

    def is_offered(self, now: datetime) -> bool:
        """Whether its schedule lets it be given at the instant."""
        begun = self.starts is None or self.starts <= now
        return begun and (self.ends is None or now < self.ends)


@dataclass(frozen=True, slots=True)
class OfferUsage:
    """How often an offer was given to anybody, as far as it has a budget."""

    offer_key: int
    contacts_today: int = 0
    contacts: int = 0
    impressions_today: int = 0
    impressions: int = 0


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    key: int
    name: str
    channel_type: str = "email"
    delivery_mode: str = "file"


@dataclass(frozen=True, slots=True)
class CreativeFacts:
    """An active creative; `weight` is its share of the traffic, 0 to 100."""

    key: int
    name: str
    offer_key: int
    channel_key: int
    placement_key: int | None = None
    weight: int = 100


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """An active qualification rule as stored; only the compiler knows what it means."""

    key: int
    name: str
    rule_type: str = "attribute_condition"
    scope: str = "global"
    scope_key: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50
    stage: str = "eligibility"
    on_missing: str = "fail"
    #: If any, they replace `scope` and `scope_key`.
    scopes: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the rule acts."""
        return self.scopes or ((self.scope, self.scope_key),)


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """An active contact policy as stored; only `policy_steps` knows what it means."""

    key: int
    name: str
    rule_type: str
    scope: str = "offer"
    scope_key: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50
    #: If any, they replace `scope` and `scope_key`.
    scopes: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the policy acts."""
        return self.scopes or ((self.scope, self.scope_key),)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """A segment that a rule or a policy names, and whose view is there."""

    key: int
    name: str
    view: str
    key_column: str

    @property
    def flag(self) -> SegmentFlag:
        return SegmentFlag(self.view, self.key_column)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All offers with their status, the batch channels of the campaign, and what is active of the
    creatives, rules and policies; the segments that those name, and the use of offers' budgets."""

    offers: tuple[OfferFacts, ...] = ()
    channels: tuple[ChannelFacts, ...] = ()
    creatives: tuple[CreativeFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()
    policies: tuple[PolicyFacts, ...] = ()
    segments: tuple[SegmentFacts, ...] = ()
    usage: tuple[OfferUsage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What a JSON column can hold; `from_json` gives back an equal catalog."""
        data = asdict(self)
        for offer in data["offers"]:
            offer["tags"] = list(offer["tags"])
            for name in _FLOATS:
                offer[name] = _float_to_json(offer[name])
            for name in _INSTANTS:
                offer[name] = offer[name] and offer[name].isoformat()
        for row in (*data["rules"], *data["policies"]):
            row["scopes"] = [list(place) for place in row["scopes"]]
        return {part: list(rows) for part, rows in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Catalog":
        return cls(
            offers=tuple(map(_offer_from_json, data["offers"])),
            channels=tuple(ChannelFacts(**row) for row in data["channels"]),
            creatives=tuple(CreativeFacts(**row) for row in data["creatives"]),
            rules=tuple(RuleFacts(**_scoped(row)) for row in data["rules"]),
            policies=tuple(PolicyFacts(**_scoped(row)) for row in data.get("policies", ())),
            segments=tuple(SegmentFacts(**row) for row in data.get("segments", ())),
            usage=tuple(OfferUsage(**row) for row in data.get("usage", ())),
        )


_FLOATS = ("business_value", "margin", "revenue_value")
_INSTANTS = ("starts", "ends")


def _offer_from_json(row: Mapping[str, Any]) -> OfferFacts:
    floats = {name: None if row[name] is None else float(row[name]) for name in _FLOATS}
    given = {name: row[name] for name in _INSTANTS if row.get(name)}
    instants = {name: datetime.fromisoformat(text) for name, text in given.items()}
    return OfferFacts(**{**row, **floats, **instants, "tags": tuple(row["tags"])})


def _scoped(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "scopes": tuple((scope, key) for scope, key in row.get("scopes", ()))}


def _float_to_json(value: float | None) -> float | str | None:
    # JSON has no infinity and no NaN; float() reads the words back.
    return value if value is None or math.isfinite(value) else repr(value)
