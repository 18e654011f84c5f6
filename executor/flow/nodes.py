"""The nodes of a flow definition, and the JSON Schema they make."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from executor.flow.configs import (
    CallFlowConfig,
    ComputeConfig,
    ConditionalConfig,
    ContactPolicyConfig,
    EnrichConfig,
    ExtensionPointConfig,
    FilterConfig,
    GroupConfig,
    InventoryConfig,
    MatchCreativesConfig,
    OptimizeConfig,
    QualifyConfig,
    RankConfig,
    ResponseConfig,
    ScoreConfig,
    SetPropertiesConfig,
)
from executor.flow.model import Model, NodeId

#: The phase of a node's type; 0 for those that may stand in any.
PHASES = {
    "inventory": 1,
    "filter": 1,
    "match_creatives": 1,
    "enrich": 1,
    "qualify": 1,
    "contact_policy": 1,
    "conditional": 1,
    "score": 2,
    "optimize": 2,
    "rank": 2,
    "group": 2,
    "compute": 3,
    "set_properties": 3,
    "response": 3,
    "call_flow": 0,
    "extension_point": 0,
}
PHASE_NAMES = {1: "narrow", 2: "score and rank", 3: "output"}
#: What may stand in a branch of a conditional.
BRANCH_TYPES = ("filter", "qualify", "contact_policy", "conditional", "call_flow")


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


class EnrichNode(NodeBase):
    type: Literal["enrich"]
    config: EnrichConfig = EnrichConfig()


class QualifyNode(NodeBase):
    type: Literal["qualify"]
    config: QualifyConfig = QualifyConfig()


class ContactPolicyNode(NodeBase):
    type: Literal["contact_policy"]
    config: ContactPolicyConfig = ContactPolicyConfig()


class ConditionalNode(NodeBase):
    type: Literal["conditional"]
    config: ConditionalConfig


class CallFlowNode(NodeBase):
    type: Literal["call_flow"]
    config: CallFlowConfig


class ScoreNode(NodeBase):
    type: Literal["score"]
    config: ScoreConfig = ScoreConfig()


class OptimizeNode(NodeBase):
    type: Literal["optimize"]
    config: OptimizeConfig = OptimizeConfig()


class RankNode(NodeBase):
    type: Literal["rank"]
    config: RankConfig = RankConfig()


class GroupNode(NodeBase):
    type: Literal["group"]
    config: GroupConfig = GroupConfig()


class ComputeNode(NodeBase):
    type: Literal["compute"]
    config: ComputeConfig = ComputeConfig()


class SetPropertiesNode(NodeBase):
    type: Literal["set_properties"]
    config: SetPropertiesConfig


class ResponseNode(NodeBase):
    type: Literal["response"]
    config: ResponseConfig = ResponseConfig()


class ExtensionPointNode(NodeBase):
    type: Literal["extension_point"]
    config: ExtensionPointConfig


Node = (
    InventoryNode
    | FilterNode
    | MatchCreativesNode
    | EnrichNode
    | QualifyNode
    | ContactPolicyNode
    | ConditionalNode
    | CallFlowNode
    | ScoreNode
    | OptimizeNode
    | RankNode
    | GroupNode
    | ComputeNode
    | SetPropertiesNode
    | ResponseNode
    | ExtensionPointNode
)
NODE_MODELS: dict[str, type[Node]] = {
    "inventory": InventoryNode,
    "filter": FilterNode,
    "match_creatives": MatchCreativesNode,
    "enrich": EnrichNode,
    "qualify": QualifyNode,
    "contact_policy": ContactPolicyNode,
    "conditional": ConditionalNode,
    "call_flow": CallFlowNode,
    "score": ScoreNode,
    "optimize": OptimizeNode,
    "rank": RankNode,
    "group": GroupNode,
    "compute": ComputeNode,
    "set_properties": SetPropertiesNode,
    "response": ResponseNode,
    "extension_point": ExtensionPointNode,
}
BranchNode = Annotated[
    FilterNode | QualifyNode | ContactPolicyNode | ConditionalNode | CallFlowNode,
    Field(discriminator="type"),
]
ConditionalConfig.model_rebuild(_types_namespace={"BranchNode": BranchNode})
ConditionalNode.model_rebuild(force=True)


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
