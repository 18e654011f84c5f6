"""What the config of each node may say, by phase; `nodes` ties them to their types."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from executor.flow.model import (
    Conditions,
    Flag,
    Many,
    Model,
    Name,
    Prefix,
    Scalar,
    Share,
    Source,
    Text,
    Weight,
    percent_of,
)

if TYPE_CHECKING:
    from executor.flow.nodes import BranchNode

Statuses = Literal["draft", "active", "paused", "archived"]


class InventoryConfig(Model):
    """Which offers the flow starts with; each list of ids belongs to the scope of its name."""

    scope: Literal["all", "category", "subcategory", "offers"] = "all"
    category_ids: tuple[str, ...] = ()
    sub_category_ids: tuple[str, ...] = ()
    offer_ids: tuple[str, ...] = ()
    include_statuses: Annotated[tuple[Statuses, ...], Field(min_length=1)] = ("active",)


class FilterConfig(Conditions):
    """Keeps the candidates for which all (AND) or any (OR) of the conditions hold."""


class MatchCreativesConfig(Model):
    """Gives each candidate its creative; `placementIds` stand in for the placement of a request."""

    require_creative: Flag = True
    placement_match_mode: Literal["any", "none", "exact"] = "any"
    placement_ids: tuple[str, ...] = ()


class EnrichConfig(Model):
    """Adds the columns of another schema's row as customer.<prefix>.<column>.

    Without `schemaId` only the joins with autoEnrich are merged, as they always are.
    """

    schema_id: str | None = None
    lookup_key: Text | None = Field(
        default=None,
        description="a column of the customer that holds the row's key; the customer's key if left"
        " out",
    )
    prefix: Prefix | None = Field(default=None, description="the schema's name if left out")


class QualifyConfig(Model):
    """Applies all active qualification rules."""

    mode: Literal["all"] = "all"


class ContactPolicyConfig(Model):
    """Applies all active contact policies."""

    mode: Literal["all"] = "all"


class ConditionalConfig(Conditions):
    """Sends what meets the conditions through `then`, and all else through `otherwise`."""

    then: tuple["BranchNode", ...] = ()
    otherwise: tuple["BranchNode", ...] = ()


class CallFlowConfig(Model):
    """Runs the nodes that another flow's published version has in the phase of this node."""

    flow_key: Text


class FormulaWeights(Model):
    """Exponents of the formula; they sum to 1."""

    propensity_weight: Weight = 0.4
    relevance_weight: Weight = 0.2
    impact_weight: Weight = 0.3
    emphasis_weight: Weight = 0.1


class Scoring(Model):
    """How a score is made; the formula and its factors belong to method formula."""

    method: Literal["priority_weighted", "propensity", "formula"] = "priority_weighted"
    model_key: Text | None = Field(
        default=None, description="the model of the propensity, for propensity and formula"
    )
    evidence: Literal["first", "never"] = Field(
        default="first",
        description="whether an offer's own outcomes come before the model, once there are enough",
    )
    smoothing_weight: Weight = 10.0
    formula: FormulaWeights = FormulaWeights()
    #: A ranking profile's weights, in place of those of the formula.
    strategy_profile_id: str | None = None
    propensity: Source = 0.5
    relevance: Source = 1.0
    impact: Source = percent_of("offer.business_value")
    emphasis: Source = percent_of("offer.priority")


class StrategyOverride(Model):
    """The ranking profile of the candidates of one category, product type or channel, by name."""

    scope: Literal["category", "productType", "channel"]
    value: Text
    profile_id: str


class ChannelOverride(Scoring):
    """How the candidates of one channel are scored instead."""

    channel_id: str


class ScoreConfig(Scoring):
    """How candidates are scored; what falls below the floor is not recommended."""

    score_floor: Share = 0.0
    strategy_overrides: Annotated[tuple[StrategyOverride, ...], Field(max_length=100)] = ()
    channel_overrides: Annotated[tuple[ChannelOverride, ...], Field(max_length=50)] = ()


class OptimizeConfig(Model):
    """Scores anew: the objectives, each to the power of its share of the profile's weights."""

    profile_id: str | None = None
    weights: dict[str, Share] | None = None


class RankConfig(Model):
    """Which and how many offers a customer gets at most."""

    method: Literal["top_n", "diversity", "round_robin", "weighted_random"] = "top_n"
    max_candidates: Many = 5
    max_per_category: Many | None = Field(
        default=None, description="only with diversity, which takes 1 if left out"
    )


class GroupConfig(Model):
    """Gives each placement at most its maxSlots offers, best first, and no offer twice."""

    method: Literal["greedy"] = "greedy"


class ComputeConfig(Model):
    """Evaluates the computed fields of the recommended offers, or some of them."""

    fields: Annotated[tuple[Name, ...], Field(min_length=1, max_length=500)] | None = None


class Property(Model):
    """A property: a constant `value`, or a `formula` with the type of what it gives."""

    name: Name
    value: Scalar = None
    formula: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    output_type: Literal["number", "text"] = "text"


class SetPropertiesConfig(Model):
    """Puts properties beside each recommendation, for templates and file columns."""

    properties: Annotated[tuple[Property, ...], Field(min_length=1, max_length=100)]


class ResponseConfig(Model):
    response_format: Literal["standard"] = "standard"


class ExtensionPointConfig(Model):
    """A place for a model of one's own; without a `modelKey` nothing happens."""

    hook: Literal["pre_score", "score_override", "post_rank"]
    model_key: Text | None = Field(
        default=None, description="only with score_override: its output is the score"
    )
