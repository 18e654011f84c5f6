"""What the config of each type of qualification rule may say; attribute conditions apart."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from executor.flow.model import Model, Share, Text
from executor.flow.operators import quoted
from executor.flow.policies import Amount, Days, Distinct, SegmentId
from executor.flow.shape import check_shape

Fault = tuple[str, str]

#: Every type of rule, with the stage it is for if none is given.
STAGES = ("eligibility", "fit", "match")
DEFAULT_STAGE: Mapping[str, str] = {
    "segment_required": "eligibility",
    "attribute_condition": "eligibility",
    "propensity_threshold": "match",
    "recency_check": "match",
    "metric_condition": "eligibility",
    "offer_attribute": "eligibility",
}
#: What a match rule leaves of the score of a candidate that fails it.
DEFAULT_MULTIPLIER = 0.5
MULTIPLIER = "fitMultiplier"


class SegmentRequired(Model):
    """The customer must be in all of the segments; an empty list asks nothing."""

    required_segments: Annotated[tuple[SegmentId, ...], Field(max_length=100), Distinct] = ()


class PropensityThreshold(Model):
    """The propensity, by the model or as the flow scores it, must compare so with the threshold."""

    threshold: Share
    operator: Literal["gt", "gte", "lt", "lte"] = "gte"
    model_key: Text | None = None


class RecencyCheck(Model):
    """The latest event, or the instant an attribute holds, must lie within or before some days."""

    source: Literal["contact", "impression", "outcome", "attribute"] = "contact"
    attribute: Text | None = None
    within_days: Days | None = None
    older_than_days: Days | None = None


class RuleMetric(Model):
    """A count of the customer's history must compare so with the threshold."""

    metric: Literal["contacts", "impressions", "positive", "negative", "neutral", "converts"]
    operator: Literal["gt", "gte", "lt", "lte"]
    threshold: Amount
    lookback_days: Days | None = None


CONFIGS: Mapping[str, type[Model]] = {
    "segment_required": SegmentRequired,
    "propensity_threshold": PropensityThreshold,
    "recency_check": RecencyCheck,
    "metric_condition": RuleMetric,
}


def read_rule_config(rule_type: str, config: object) -> tuple[Model | None, list[Fault]]:
    """The config, or None and what is wrong with it, with paths below the config."""
    model, faults = check_shape(CONFIGS[rule_type], config)
    if isinstance(model, RecencyCheck):
        faults = list(_recency_faults(model))
    return (None if faults else model), faults


def multiplier_fault(value: object) -> str:
    """What is wrong with a fit multiplier, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 1:
        return f"must be a number from 0.1 to 1, got {quoted(value)}"
    return ""


def _recency_faults(config: RecencyCheck) -> Iterator[Fault]:
    if (config.within_days is None) == (config.older_than_days is None):
        yield "withinDays", "exactly one of withinDays and olderThanDays is required"
    if (config.source == "attribute") != (config.attribute is not None):
        yield "attribute", 'is required with source "attribute", and only used with it'
