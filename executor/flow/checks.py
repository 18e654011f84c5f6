"""What is wrong with a node's config though its shape is right; paths are below the node."""

from collections.abc import Iterator

from executor.errors import Rejected
from executor.flow.configs import (
    EnrichConfig,
    ExtensionPointConfig,
    MatchCreativesConfig,
    OptimizeConfig,
    RankConfig,
    SetPropertiesConfig,
)
from executor.flow.factors import OBJECTIVES
from executor.flow.filters import check_conditions
from executor.flow.formula import parse_formula
from executor.flow.inventory import check_inventory
from executor.flow.model import Conditions
from executor.flow.nodes import InventoryNode, Node, ScoreNode
from executor.flow.operators import quoted
from executor.flow.scoring_choice import check_score
from kaireon import ids

Fault = tuple[str, str]
#: Characters of a property's text.
MAX_TEXT = 500


def config_faults(node: Node | None) -> Iterator[Fault]:
    """Every fault of the node's config, if there is a node."""
    if node is None:
        return
    if isinstance(node.config, Conditions):
        try:
            check_conditions(node.config.as_condition(), "config")
        except Rejected as error:
            yield from error.errors
        return
    for place, text in _faults(node):
        yield f"config.{place}" if place else "config", text


def _faults(node: Node) -> Iterator[Fault]:
    match node.config:
        case MatchCreativesConfig() as config:
            yield from _wrong_ids("placementIds", "Placement", config.placement_ids)
        case EnrichConfig() as config:
            yield from _enrich_faults(config)
        case OptimizeConfig() as config:
            yield from _optimize_faults(config)
        case RankConfig() as config:
            if config.max_per_category is not None and config.method != "diversity":
                remedy = "remove it or change the method"
                yield "maxPerCategory", f'is only used with method "diversity": {remedy}'
        case SetPropertiesConfig() as config:
            yield from _property_faults(config)
        case ExtensionPointConfig() as config:
            if config.model_key is not None and config.hook != "score_override":
                remedy = "remove it or change the hook"
                yield "modelKey", f'is only used with hook "score_override": {remedy}'
    if isinstance(node, InventoryNode):
        yield from check_inventory(node.config)
    if isinstance(node, ScoreNode):
        yield from check_score(node.config)


def _enrich_faults(config: EnrichConfig) -> Iterator[Fault]:
    if config.schema_id is None:
        for name in sorted(config.model_fields_set & {"prefix", "lookup_key"}):
            key = str(EnrichConfig.model_fields[name].alias)
            # The base flow names a lookupKey alone.
            if name == "prefix":
                yield key, "is only used with a schemaId: remove it or name the schema"
    else:
        yield from _wrong_ids("schemaId", "Schema", (config.schema_id,), many=False)


def _optimize_faults(config: OptimizeConfig) -> Iterator[Fault]:
    if (config.profile_id is None) == (config.weights is None):
        yield "", "needs exactly one of profileId and weights"
    elif config.profile_id is not None:
        yield from _wrong_ids("profileId", "RankingProfile", (config.profile_id,), many=False)
    elif config.weights is not None:
        yield from ((f"weights{path}", text) for path, text in weights_faults(config.weights))


def weights_faults(weights: dict[str, float]) -> Iterator[Fault]:
    """Paths start with the dot before an objective."""
    for name in weights:
        if name not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            yield f".{name}", f"unknown objective {quoted(name)}; known: {known}"
    if not any(weights.values()):
        yield "", "needs at least one objective with a weight above 0"


def _property_faults(config: SetPropertiesConfig) -> Iterator[Fault]:
    seen: set[str] = set()
    for position, one in enumerate(config.properties):
        path = f"properties[{position}]"
        if one.name in seen:
            yield f"{path}.name", f"{quoted(one.name)} is there twice"
        seen.add(one.name)
        if ("value" in one.model_fields_set) == (one.formula is not None):
            yield path, "needs exactly one of value and formula"
        if isinstance(one.value, str) and len(one.value) > MAX_TEXT:
            yield (
                f"{path}.value",
                f"has {len(one.value)} characters; at most {MAX_TEXT} are allowed",
            )
        if one.formula is not None:
            try:
                parse_formula(one.formula)
            except Rejected as error:
                yield from ((f"{path}.formula", text) for _, text in error.errors)


def _wrong_ids(
    key: str, model: str, given: tuple[str, ...], *, many: bool = True
) -> Iterator[Fault]:
    for position, one in enumerate(given):
        if ids.decode(model, one) is None:
            path = f"{key}[{position}]" if many else key
            yield path, f"{quoted(one)} is not an id that begins with {ids.PREFIXES[model]}_"
