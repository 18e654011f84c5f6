"""Reads a flow definition: every mistake is found at once, each with its path and its remedy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from executor.errors import Rejected
from executor.flow.filters import check_conditions
from executor.flow.inventory import check_inventory
from executor.flow.nodes import (
    LATER_TYPES,
    NODE_MODELS,
    PHASE_NAMES,
    PHASES,
    Definition,
    FilterNode,
    InventoryNode,
    Node,
    ScoreNode,
)
from executor.flow.operators import quoted
from executor.flow.scores import check_score
from executor.flow.shape import check_shape

Fault = tuple[str, str]

_AT_MOST_ONE = ("inventory", "match_creatives", "qualify", "score", "rank", "response")
_REQUIRED = ("inventory", "score", "rank")


def parse_flow(definition: object) -> Definition:
    """Read a definition. Raises Rejected with paths such as `nodes[3].config.maxCandidates`."""
    if not isinstance(definition, Mapping):
        raise Rejected(f"a flow must be an object with version and nodes, got {quoted(definition)}")
    nodes = definition.get("nodes")
    _, errors = check_shape(Definition, {**definition, "nodes": []})
    if isinstance(nodes, list):
        for position, node in enumerate(nodes):
            errors.extend(_node_faults(f"nodes[{position}]", node))
        errors.extend(_order_faults(nodes))
    else:
        errors.append(("nodes", f"must be a list of nodes, got {quoted(nodes)}"))
    if errors:
        raise Rejected.of(errors)
    return Definition.model_validate(definition)


def _node_faults(path: str, raw: object) -> Iterator[Fault]:
    if not isinstance(raw, Mapping):
        yield path, f"must be an object with id, type and config, got {quoted(raw)}"
        return
    name = _name(raw)
    kind = raw.get("type")
    problem = _type_problem(kind)
    if problem:
        yield f"{path}.type", name + problem
        return
    model = NODE_MODELS[str(kind)]
    _, errors = check_shape(model, raw)
    for place, text in [*errors, *_meaning_faults(model, raw, errors)]:
        yield f"{path}.{place}", name + text


def _name(raw: Mapping[str, Any]) -> str:
    return f"node {quoted(raw['id'])}: " if "id" in raw else ""


def _type_problem(kind: object) -> str:
    if isinstance(kind, str) and kind in NODE_MODELS:
        return ""
    available = f"available: {', '.join(NODE_MODELS)}"
    if kind is None:
        return f"is required; {available}"
    if kind in LATER_TYPES:
        return f"{kind} is not available in this version: remove the node; {available}"
    return f"unknown node type {quoted(kind)}; {available}"


def _meaning_faults(
    model: type[Node], raw: Mapping[str, Any], errors: list[Fault]
) -> Iterator[Fault]:
    """Faults the shape does not show, in the parts of the config that have the right shape."""
    config = raw.get("config", {})
    if not isinstance(config, Mapping):
        return
    faulty = {key for key in config for place, _ in errors if _is_below(place, f"config.{key}")}
    # Without these it is not known what the other keys mean.
    if faulty & {"scope", "method"}:
        return
    good = {key: value for key, value in config.items() if key not in faulty}
    node, _ = check_shape(model, {"id": "any", "type": raw["type"], "config": good})
    for place, text in _config_faults(node):
        if not any(_is_below(place, f"config.{key}") for key in faulty):
            yield place, text


def _is_below(place: str, path: str) -> bool:
    return place == path or place.startswith((f"{path}.", f"{path}["))


def _config_faults(node: Node | None) -> Iterator[Fault]:
    match node:
        case InventoryNode():
            yield from _below_config(check_inventory(node.config))
        case ScoreNode():
            yield from _below_config(check_score(node.config))
        case FilterNode():
            try:
                check_conditions(node.config.as_condition(), "config")
            except Rejected as error:
                yield from error.errors


def _below_config(faults: Iterator[Fault]) -> Iterator[Fault]:
    return ((f"config.{place}", text) for place, text in faults)


@dataclass(frozen=True, slots=True)
class _Place:
    """A node of a known type, where it stands."""

    path: str
    name: str
    type: str
    phase_given: object
    position: object

    @property
    def phase(self) -> int:
        return PHASES[self.type]


def _order_faults(nodes: list[Any]) -> Iterator[Fault]:
    yield from _id_faults(nodes)
    places = [
        _Place(
            path=f"nodes[{index}]",
            name=_name(node),
            type=node["type"],
            phase_given=node.get("phase"),
            position=node.get("position"),
        )
        for index, node in enumerate(nodes)
        if isinstance(node, Mapping) and not _type_problem(node.get("type"))
    ]
    for kind in _REQUIRED:
        if not any(place.type == kind for place in places):
            yield "nodes", f'needs a node of type {kind}, as {{"id": "{kind}", "type": "{kind}"}}'
    for kind in _AT_MOST_ONE:
        same = [place for place in places if place.type == kind]
        for place in same[1:]:
            problem = f"only one {kind} node is allowed, remove this one or {same[0].path}"
            yield place.path, place.name + problem
    yield from _sequence_faults(places)


def _id_faults(nodes: list[Any]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for index, node in enumerate(nodes):
        name = node.get("id") if isinstance(node, Mapping) else None
        if not isinstance(name, str):
            continue
        path = f"nodes[{index}]"
        if name in seen:
            yield f"{path}.id", f"{quoted(name)} is the id of {seen[name]} too; ids must differ"
        seen.setdefault(name, path)


def _sequence_faults(places: list[_Place]) -> Iterator[Fault]:
    furthest: _Place | None = None
    rank: _Place | None = None
    for place in places:
        if isinstance(place.phase_given, int) and place.phase_given != place.phase:
            problem = f"{place.type} is always in phase {place.phase}, got {place.phase_given}"
            yield f"{place.path}.phase", f"{place.name}{problem}; leave it out or correct it"
        if furthest is None:
            furthest = place
        elif place.type == "inventory" and furthest.type != "inventory":
            yield place.path, f"{place.name}inventory must be the first node"
        elif place.phase < furthest.phase:
            problem = f"{place.type} belongs to phase {place.phase} ({PHASE_NAMES[place.phase]})"
            remedy = f"must stand before {furthest.path} ({furthest.type})"
            yield place.path, f"{place.name}{problem} and {remedy}"
        elif place.type == "score" and rank is not None:
            yield place.path, f"{place.name}score must stand before {rank.path} (rank)"
        else:
            furthest = place
        rank = place if place.type == "rank" else rank
    yield from _position_faults(places)


def _position_faults(places: list[_Place]) -> Iterator[Fault]:
    for before, place in pairwise(places):
        if place.phase == before.phase and not _ascends(before.position, place.position):
            problem = f"must be above {before.position}, the position of {before.path}"
            yield f"{place.path}.position", f"{place.name}{problem}; leave it out or correct it"


def _ascends(before: object, after: object) -> bool:
    return not (isinstance(before, int) and isinstance(after, int)) or before < after
