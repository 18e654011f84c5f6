"""The shape of a flow definition: one typed model per node, and the JSON Schema they make."""

from typing import Annotated, Any, Literal

from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Strict,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from executor.flow.operators import ALIASES, Op

PHASES = {
    "inventory": 1,
    "filter": 1,
    "match_creatives": 1,
    "qualify": 1,
    "score": 2,
    "rank": 2,
    "response": 3,
}
PHASE_NAMES = {1: "narrow", 2: "score and rank", 3: "output"}
LATER_TYPES = (
    "enrich",
    "contact_policy",
    "conditional",
    "call_flow",
    "optimize",
    "group",
    "compute",
    "set_properties",
    "extension_point",
)
#: Values the format knows that this version does not do.
LATER_VALUES = ("propensity", "diversity")

Number = Annotated[float, Strict(), AllowInfNan(False)]
Share = Annotated[Number, Field(ge=0, le=1)]
NodeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        field_title_generator=lambda name, _: name.replace("_", " "),
    )


class ConditionLeaf(Model):
    """One comparison; `value` is left out for is_null and is_not_null."""

    field: str = Field(description="customer.<column>, offer.<attribute> or channel.<attribute>")
    operator: Annotated[str, WithJsonSchema({"enum": [*map(str, Op), *ALIASES], "type": "string"})]
    value: Any = None


class ConditionGroup(Model):
    """All (AND) or any (OR) of the conditions."""

    combinator: Literal["AND", "OR"] = "AND"
    conditions: Annotated[tuple["ConditionLeaf | ConditionGroup", ...], Field(min_length=1)]


class ConditionSchema:
    """Describes a condition in the JSON Schema; conditions are read by `parse_condition`."""

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(ConditionLeaf | ConditionGroup).core_schema)


class InventoryConfig(Model):
    """Which offers the flow starts with; each list of ids belongs to the scope of its name."""

    scope: Literal["all", "category", "subcategory", "offers"] = "all"
    category_ids: tuple[str, ...] = ()
    sub_category_ids: tuple[str, ...] = ()
    offer_ids: tuple[str, ...] = ()
    include_statuses: Annotated[
        tuple[Literal["draft", "active", "paused", "archived"], ...], Field(min_length=1)
    ] = ("active",)


class FilterConfig(Model):
    """Keeps the candidates for which all (AND) or any (OR) of the conditions hold."""

    conditions: Annotated[
        tuple[Annotated[Any, ConditionSchema()], ...], Field(min_length=1, max_length=200)
    ]
    combinator: Literal["AND", "OR"] = "AND"

    def as_condition(self) -> dict[str, Any]:
        """The JSON of one condition."""
        return {"combinator": self.combinator, "conditions": list(self.conditions)}


class MatchCreativesConfig(Model):
    """Gives each candidate its creative; a batch run names no placement, so the mode is moot."""

    require_creative: Annotated[bool, Strict()] = True
    placement_match_mode: Literal["any", "none", "exact"] = "any"


class QualifyConfig(Model):
    """Applies all active qualification rules."""

    mode: Literal["all"] = "all"


class FormulaWeights(Model):
    """Exponents of the formula; they sum to 1."""

    propensity_weight: Annotated[Number, Field(ge=0)] = 0.4
    relevance_weight: Annotated[Number, Field(ge=0)] = 0.2
    impact_weight: Annotated[Number, Field(ge=0)] = 0.3
    emphasis_weight: Annotated[Number, Field(ge=0)] = 0.1


class FieldSource(Model):
    """A factor read from a field: `min` becomes 0, `max` becomes 1, beyond is cut off."""

    field: str = Field(
        max_length=200,
        description="customer.<column> or offer.<attribute>; the column's name may contain"
        " {offer.<attribute>} and {channel.<attribute>}",
    )
    low: Number = Field(default=0.0, alias="min")
    high: Number = Field(default=1.0, alias="max")
    default: Share | None = Field(
        default=None, description="the factor, 0 to 1, where the field is missing"
    )


NUMBER_TAG, FIELD_TAG = "<number>", "<field>"


def source_tag(value: object) -> str:
    return NUMBER_TAG if isinstance(value, int | float) else FIELD_TAG


Source = Annotated[
    Annotated[Share, Tag(NUMBER_TAG)] | Annotated[FieldSource, Tag(FIELD_TAG)],
    Discriminator(source_tag),
]


def _percent_of(field: str) -> FieldSource:
    return FieldSource.model_validate({"field": field, "max": 100})


class ScoreConfig(Model):
    """How candidates are scored; the formula and its four factors belong to method formula."""

    method: Literal["priority_weighted", "formula"] = "priority_weighted"
    formula: FormulaWeights = FormulaWeights()
    propensity: Source = 0.5
    relevance: Source = 1.0
    impact: Source = _percent_of("offer.business_value")
    emphasis: Source = _percent_of("offer.priority")


class RankConfig(Model):
    """How many offers a customer gets at most, best first."""

    method: Literal["top_n"] = "top_n"
    max_candidates: Annotated[int, Strict(), Field(ge=1, le=50)] = 5


class ResponseConfig(Model):
    response_format: Literal["standard"] = "standard"


class NodeBase(Model):
    id: NodeId
    #: Implied by the order of the nodes; checked against it when given.
    phase: Annotated[int, Strict()] | None = None
    position: Annotated[int, Strict()] | None = None


class InventoryNode(NodeBase):
    type: Literal["inventory"]
    config: InventoryConfig = InventoryConfig()


class FilterNode(NodeBase):
    type: Literal["filter"]
    config: FilterConfig


class MatchCreativesNode(NodeBase):
    type: Literal["match_creatives"]
    config: MatchCreativesConfig = MatchCreativesConfig()


class QualifyNode(NodeBase):
    type: Literal["qualify"]
    config: QualifyConfig = QualifyConfig()


class ScoreNode(NodeBase):
    type: Literal["score"]
    config: ScoreConfig = ScoreConfig()


class RankNode(NodeBase):
    type: Literal["rank"]
    config: RankConfig = RankConfig()


class ResponseNode(NodeBase):
    type: Literal["response"]
    config: ResponseConfig = ResponseConfig()


Node = (
    InventoryNode
    | FilterNode
    | MatchCreativesNode
    | QualifyNode
    | ScoreNode
    | RankNode
    | ResponseNode
)
NODE_MODELS: dict[str, type[Node]] = {
    "inventory": InventoryNode,
    "filter": FilterNode,
    "match_creatives": MatchCreativesNode,
    "qualify": QualifyNode,
    "score": ScoreNode,
    "rank": RankNode,
    "response": ResponseNode,
}


class FlowConfig(Model):
    """Settings of the whole flow; there are none yet."""


class Definition(Model):
    """A decision flow: nodes in the order they run."""

    version: Literal[2]
    nodes: tuple[Annotated[Node, Field(discriminator="type")], ...]
    flow_config: FlowConfig = FlowConfig()


def definition_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a definition; what it cannot say is in docs/flows.md."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Definition.model_json_schema(),
        "title": "Decision flow",
    }
