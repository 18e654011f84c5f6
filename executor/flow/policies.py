"""Contact policies: what the config of each type may say, and on what each type may act.

Pure: whether the ids in a config exist, and whom a policy withholds, is decided elsewhere.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AllowInfNan, Field, Strict
from pydantic_core import PydanticCustomError

from executor.flow.model import Model
from executor.flow.operators import quoted
from executor.flow.shape import check_shape
from kaireon import ids

Fault = tuple[str, str]

TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MAX_COUNT = 2**31 - 1
MAX_DAYS = 3650
MAX_ITEMS = 1000


def _distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(items)) < len(items):
        raise PydanticCustomError("repeated", "a list without repetition")
    return items


def _id(model: str, text: str) -> str:
    if ids.decode(model, text) is None:
        raise PydanticCustomError(
            "public_id", "an id that begins with {prefix}_", {"prefix": ids.PREFIXES[model]}
        )
    return text


def _time_of_day(text: str) -> str:
    if not TIME_OF_DAY.fullmatch(text):
        raise PydanticCustomError("time_of_day", 'a time of day as HH:mm, such as "09:00"')
    return text


Count = Annotated[int, Strict(), Field(ge=1, le=MAX_COUNT)]
Hours = Annotated[int, Strict(), Field(ge=1, le=24 * MAX_DAYS)]
Days = Annotated[int, Strict(), Field(ge=1, le=MAX_DAYS)]
Weekday = Annotated[int, Strict(), Field(ge=0, le=6)]
Flag = Annotated[bool, Strict()]
Amount = Annotated[float, Strict(), AllowInfNan(False), Field(ge=0)]
Outcome = Annotated[str, Field(min_length=1, max_length=50)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
CampaignId = Annotated[str, AfterValidator(partial(_id, "Campaign"))]
CategoryId = Annotated[str, AfterValidator(partial(_id, "Category"))]
OfferId = Annotated[str, AfterValidator(partial(_id, "Offer"))]
SegmentId = Annotated[str, AfterValidator(partial(_id, "Segment"))]
Distinct = AfterValidator(_distinct)
Some = Field(min_length=1, max_length=MAX_ITEMS)


class PolicyConfig(Model):
    """What all blocking policies have; mandatory offers pass only bypassable ones."""

    bypassable: Flag = True


class Caps(PolicyConfig):
    """Most contacts in a day, week or month, or in all (in the last `lookbackHours`, if given)."""

    max_per_day: Count | None = None
    max_per_week: Count | None = None
    max_per_month: Count | None = None
    max_total: Count | None = None
    lookback_hours: Hours | None = None


class FrequencyCap(Caps):
    """Counts contacts of one campaign only, or of all but some."""

    within_campaign_id: CampaignId | None = None
    exclude_campaign_ids: Annotated[tuple[CampaignId, ...], Some, Distinct] | None = None

    @property
    def names_campaigns_twice(self) -> bool:
        return self.within_campaign_id is not None and self.exclude_campaign_ids is not None


class Cooldown(PolicyConfig):
    cooldown_hours: Hours


class BudgetExhausted(PolicyConfig):
    check_impressions: Flag = True
    check_daily_budget: Flag = True


class OutcomeBased(PolicyConfig):
    """Withholds after one of the outcomes; ever after without `lookbackDays`."""

    outcome_type: Outcome | None = None
    outcome_types: Annotated[tuple[Outcome, ...], Some, Distinct] | None = None
    lookback_days: Days | None = None


class SegmentExclusion(PolicyConfig):
    exclude_segments: Annotated[tuple[SegmentId, ...], Some, Distinct]


class TimeWindow(PolicyConfig):
    """Allows contacts on some days (0 = Sunday) and hours; past midnight if end is before start."""

    allowed_days: Annotated[tuple[Weekday, ...], Some, Distinct] | None = None
    start_time: TimeOfDay | None = None
    end_time: TimeOfDay | None = None


class MutualExclusion(PolicyConfig):
    """One offer for a customer out of the offer of the scope and these."""

    offer_ids: Annotated[tuple[OfferId, ...], Some, Distinct]
    lookback_days: Days | None = None


class CategorySuppression(PolicyConfig):
    """Withholds the offers of a category of which one was given or shown."""

    category_ids: Annotated[tuple[CategoryId, ...], Some, Distinct] | None = None
    lookback_days: Days | None = None


class MetricCondition(PolicyConfig):
    """Withholds while the customer's count compares so with the threshold."""

    metric: Literal["contacts", "impressions", "positive", "negative", "neutral", "converts"]
    operator: Literal["gt", "gte", "lt", "lte"]
    threshold: Amount
    lookback_days: Days | None = None


class AllowOverride(Model):
    """Lets the candidates of its scope past every blocking policy; says nothing more."""


_EVERYTHING = ("global", "offer", "creative", "channel", "category", "subcategory")
_BY_CONTACT = ("global", "offer", "creative", "channel")
#: Type -> (what its config may say, the scopes it may have).
TYPES: Mapping[str, tuple[type[Model], tuple[str, ...]]] = {
    "frequency_cap": (FrequencyCap, _EVERYTHING),
    "cooldown": (Cooldown, _EVERYTHING),
    "budget_exhausted": (BudgetExhausted, ("offer", "creative")),
    "outcome_based": (OutcomeBased, ("global", "offer", "creative")),
    "segment_exclusion": (SegmentExclusion, ("global",)),
    "time_window": (TimeWindow, ("global", "channel")),
    "mutual_exclusion": (MutualExclusion, ("offer",)),
    "cross_channel_cap": (Caps, _BY_CONTACT),
    "customer_total_cap": (Caps, ("global",)),
    "allow_override": (AllowOverride, _BY_CONTACT),
    "category_suppression": (CategorySuppression, ("global",)),
    "metric_condition": (MetricCondition, _EVERYTHING),
}
#: Model -> the keys of configs that hold ids of it.
ID_KEYS: Mapping[str, tuple[str, ...]] = {
    "Campaign": ("withinCampaignId", "excludeCampaignIds"),
    "Segment": ("excludeSegments",),
    "Offer": ("offerIds",),
    "Category": ("categoryIds",),
}


def read_config(rule_type: str, config: object) -> tuple[Model | None, list[Fault]]:
    """The config of a policy, or None and what is wrong with it, with paths below the config."""
    model, errors = check_shape(TYPES[rule_type][0], config)
    if model is not None:
        errors = list(_combined_faults(model))
    return (None if errors else model), errors


def scope_faults(rule_type: str, scope: str) -> Iterator[Fault]:
    allowed = TYPES[rule_type][1]
    if scope not in allowed:
        yield "scope", f"of a {rule_type} policy must be {_listed(allowed)}, got {quoted(scope)}"


def references(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Model, path below the config and id of everything that a faultless config names."""
    for model, keys in ID_KEYS.items():
        for key in keys:
            value = config.get(key)
            if isinstance(value, str):
                yield model, key, value
            else:
                yield from ((model, f"{key}[{n}]", one) for n, one in enumerate(value or ()))


def _combined_faults(config: Model) -> Iterator[Fault]:
    """Faults of keys together."""
    match config:
        case Caps():
            yield from _cap_faults(config)
        case OutcomeBased():
            if (config.outcome_type is None) == (config.outcome_types is None):
                yield "outcomeTypes", "exactly one of outcomeType and outcomeTypes is required"
        case BudgetExhausted():
            if not (config.check_impressions or config.check_daily_budget):
                yield "", "checkImpressions or checkDailyBudget must be true"
        case TimeWindow():
            yield from _window_faults(config)


def _cap_faults(config: Caps) -> Iterator[Fault]:
    caps = (config.max_per_day, config.max_per_week, config.max_per_month, config.max_total)
    if caps == (None,) * 4:
        yield "", "needs at least one of maxPerDay, maxPerWeek, maxPerMonth and maxTotal"
    elif config.lookback_hours is not None and config.max_total is None:
        yield "lookbackHours", "is the window of maxTotal, which is not given"
    if isinstance(config, FrequencyCap) and config.names_campaigns_twice:
        yield "excludeCampaignIds", "cannot be combined with withinCampaignId"


def _window_faults(config: TimeWindow) -> Iterator[Fault]:
    if (config.start_time is None) != (config.end_time is None):
        missing = "startTime" if config.start_time is None else "endTime"
        yield missing, "is required: startTime and endTime belong together"
    elif config.start_time is None and config.allowed_days is None:
        yield "", "needs allowedDays, or startTime and endTime"
    elif config.start_time is not None and config.start_time == config.end_time:
        yield "endTime", "must differ from startTime"


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(map(quoted, words))
