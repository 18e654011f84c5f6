"""The offers, channels, creatives and rules of a flow, as they are frozen into a run's spec."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Catalog:
    """All offers with their status, the batch channels of the campaign, active creatives, rules."""

    offers: tuple[OfferFacts, ...] = ()
    channels: tuple[ChannelFacts, ...] = ()
    creatives: tuple[CreativeFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What a JSON column can hold; `from_json` gives back an equal catalog."""
        data = asdict(self)
        for offer in data["offers"]:
            offer["tags"] = list(offer["tags"])
            for name in _FLOATS:
                offer[name] = _float_to_json(offer[name])
        return {part: list(rows) for part, rows in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Catalog":
        return cls(
            offers=tuple(map(_offer_from_json, data["offers"])),
            channels=tuple(ChannelFacts(**row) for row in data["channels"]),
            creatives=tuple(CreativeFacts(**row) for row in data["creatives"]),
            rules=tuple(RuleFacts(**row) for row in data["rules"]),
        )


_FLOATS = ("business_value", "margin", "revenue_value")


def _offer_from_json(row: Mapping[str, Any]) -> OfferFacts:
    floats = {name: None if row[name] is None else float(row[name]) for name in _FLOATS}
    return OfferFacts(**{**row, **floats, "tags": tuple(row["tags"])})


def _float_to_json(value: float | None) -> float | str | None:
    # JSON has no infinity and no NaN; float() reads the words back.
    return value if value is None or math.isfinite(value) else repr(value)
