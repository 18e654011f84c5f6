"""The offers, channels, creatives and rules of a flow, as they are frozen into a run's spec."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from executor.flow.inputs import SegmentFlag
from executor.flow.types import Kind
from kaireon import ids

#: A scope and the key of what it names; "global" has none.
Place = tuple[str, int | None]
#: The model of what a scope names.
SCOPED: Mapping[str, str] = {
    "segment": "Segment",
    "channel": "Channel",
    "category": "Category",
    "subcategory": "SubCategory",
    "offer": "Offer",
    "creative": "Creative",
    "placement": "Placement",
}


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """An offer; `priority`, `weight` and `business_value` run from 0 to 100."""

    # JSON has no infinity and no NaN: they are written, and read back, as words.
    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")

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
    #: Values of custom fields by key, and (key, formula, number or text) of the computed ones.
    custom_fields: Mapping[str, Any] = field(default_factory=dict)
    computed: tuple[tuple[str, str, str], ...] = ()

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
    template_type: str = "email_html"
    content: Mapping[str, Any] = field(default_factory=dict)
    personalization: tuple[Mapping[str, Any], ...] = ()
    ab_test_variant: str = ""


@dataclass(frozen=True, slots=True)
class PlacementFacts:
    """A slot of a channel that holds up to `max_slots` offers."""

    key: int
    name: str
    channel_key: int
    max_slots: int = 1


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """A ranking profile: objective -> 0 to 1."""

    key: int
    name: str
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """A segment whose view exists."""

    key: int
    name: str
    view: str
    key_column: str

    @property
    def flag(self) -> SegmentFlag:
        return SegmentFlag(self.view, self.key_column)


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """A schema whose relation exists, and the columns that can be used."""

    key: int
    name: str
    relation_schema: str
    relation_name: str
    key_column: str
    kinds: Mapping[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JoinFacts:
    """An automatic enrichment of the customers' schema: which schema, found by which column."""

    name: str
    schema_key: int
    lookup: str
    foreign_key: str


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """The published version of a flow that another calls."""

    name: str
    version: int
    config: Mapping[str, Any] = field(default_factory=dict)


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
class ModelFacts:
    """An active scoring model; `name` is its key, by which flows call it.

    The file of an imported model lies in the storage, so the facts name it and its SHA-256.
    """

    key: int
    name: str
    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    predictors: tuple[Mapping[str, Any], ...] = ()
    model_state: Mapping[str, Any] = field(default_factory=dict)
    artifact_key: str = ""
    artifact_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How customers have answered: (key, chances, positive answers) by offer and by category."""

    offers: tuple[tuple[int, int, int], ...] = ()
    categories: tuple[tuple[int, int, int], ...] = ()
    #: Of all offers, those that are gone included.
    total: int = 0
    positive: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """All offers with their status, the batch channels of the campaign, active creatives and rules,
    and what the flow refers to besides."""

    offers: tuple[OfferFacts, ...] = ()
    channels: tuple[ChannelFacts, ...] = ()
    creatives: tuple[CreativeFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()
    policies: tuple[PolicyFacts, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    usage: tuple[OfferUsage, ...] = ()
    placements: tuple[PlacementFacts, ...] = ()
    profiles: tuple[ProfileFacts, ...] = ()
    segments: tuple[SegmentFacts, ...] = ()
    schemas: tuple[SchemaFacts, ...] = ()
    joins: tuple[JoinFacts, ...] = ()
    flows: tuple[FlowFacts, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What a JSON column can hold; `from_json` gives back an equal catalog."""
        data: dict[str, Any] = json.loads(_JSON.dump_json(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Catalog":
        return _JSON.validate_python(data)


def read_places(scopes: Iterable[Mapping[str, Any]]) -> tuple[Place, ...]:
    """Several scopes as they are stored, with keys; what cannot be read names nothing."""
    return tuple((str(one.get("scope")), _key(one)) for one in scopes)


def _key(place: Mapping[str, Any]) -> int | None:
    model = SCOPED.get(str(place.get("scope")))
    return None if model is None else ids.decode(model, place.get("scopeId"))


_JSON = TypeAdapter(Catalog)
