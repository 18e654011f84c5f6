"""Everything that a definition names by id or key, wherever it stands."""

from collections.abc import Iterator
from dataclasses import dataclass

from executor.flow.configs import (
    CallFlowConfig,
    EnrichConfig,
    ExtensionPointConfig,
    InventoryConfig,
    MatchCreativesConfig,
    OptimizeConfig,
    ScoreConfig,
)
from executor.flow.inventory import references
from executor.flow.nodes import ConditionalNode, Definition, Node
from executor.flow.scoring_choice import model_keys, profile_ids


@dataclass(frozen=True, slots=True)
class Named:
    """A row named in a node; models and flows are named by their key, all else by public id."""

    node: str
    path: str
    model: str
    name: str


def named_in(definition: Definition) -> Iterator[Named]:
    """All of it, in order, with paths below the definition."""
    for path, node in _nodes("nodes", definition.nodes):
        for place, model, name in _of_config(node):
            yield Named(node.id, f"{path}.config.{place}", model, name)


def _nodes(path: str, nodes: tuple[Node, ...]) -> Iterator[tuple[str, Node]]:
    for position, node in enumerate(nodes):
        own = f"{path}[{position}]"
        yield own, node
        if isinstance(node, ConditionalNode):
            yield from _nodes(f"{own}.config.then", node.config.then)
            yield from _nodes(f"{own}.config.otherwise", node.config.otherwise)


def _of_config(node: Node) -> Iterator[tuple[str, str, str]]:
    """Path below the config, model, id or key."""
    match node.config:
        case InventoryConfig() as config:
            yield from ((one.path, one.model, one.public_id) for one in references(config))
        case MatchCreativesConfig() as config:
            for position, one in enumerate(config.placement_ids):
                yield f"placementIds[{position}]", "Placement", one
        case EnrichConfig() as config:
            if config.schema_id is not None:
                yield "schemaId", "Schema", config.schema_id
        case CallFlowConfig() as config:
            yield "flowKey", "Flow", config.flow_key
        case ScoreConfig() as config:
            yield from _of_score(config)
        case OptimizeConfig() as config:
            if config.profile_id is not None:
                yield "profileId", "RankingProfile", config.profile_id
        case ExtensionPointConfig() as config:
            if config.model_key is not None:
                yield "modelKey", "AlgorithmModel", config.model_key


def _of_score(config: ScoreConfig) -> Iterator[tuple[str, str, str]]:
    yield from ((place, "AlgorithmModel", key) for place, key in model_keys(config))
    yield from ((place, "RankingProfile", one) for place, one in profile_ids(config))
    for position, override in enumerate(config.channel_overrides):
        yield f"channelOverrides[{position}].channelId", "Channel", override.channel_id
