"""Reads a flow definition: every mistake is found at once, each with its path and its remedy."""

from collections.abc import Iterator, Mapping
from typing import Any

from executor.errors import Rejected
from executor.flow.checks import config_faults
from executor.flow.nodes import BRANCH_TYPES, NODE_MODELS, Definition, Node
from executor.flow.operators import quoted
from executor.flow.order import order_faults, places, repetition_faults
from executor.flow.shape import check_shape

Fault = tuple[str, str]

#: Conditionals within conditionals.
MAX_DEPTH = 5
MAX_NODES = 200
_BRANCHES = ("then", "otherwise")


def parse_flow(definition: object) -> Definition:
    """Read a definition. Raises Rejected with paths such as `nodes[3].config.maxCandidates`."""
    if not isinstance(definition, Mapping):
        raise Rejected(f"a flow must be an object with version and nodes, got {quoted(definition)}")
    nodes = definition.get("nodes")
    _, errors = check_shape(Definition, {**definition, "nodes": []})
    if not isinstance(nodes, list):
        errors.append(("nodes", f"must be a list of nodes, got {quoted(nodes)}"))
    elif len(nodes) > MAX_NODES:
        errors.append(("nodes", f"has {len(nodes)} nodes; at most {MAX_NODES} are allowed"))
    else:
        for position, node in enumerate(nodes):
            errors.extend(_node_faults(f"nodes[{position}]", node, tuple(NODE_MODELS)))
        errors.extend(_id_faults(nodes))
        errors.extend(order_faults(places(nodes)))
    if errors:
        raise Rejected.of(errors)
    return Definition.model_validate(definition)


def _node_faults(path: str, raw: object, types: tuple[str, ...], depth: int = 0) -> Iterator[Fault]:
    if not isinstance(raw, Mapping):
        yield path, f"must be an object with id, type and config, got {quoted(raw)}"
        return
    name = f"node {quoted(raw['id'])}: " if "id" in raw else ""
    problem = _type_problem(raw.get("type"), types)
    if problem:
        yield f"{path}.type", name + problem
        return
    model = NODE_MODELS[str(raw["type"])]
    shallow = _without_branches(raw)
    _, errors = check_shape(model, shallow)
    for place, text in [*errors, *_meaning_faults(model, shallow, errors)]:
        yield f"{path}.{place}", name + text
    yield from _branch_faults(path, raw, depth)


def _type_problem(kind: object, types: tuple[str, ...]) -> str:
    if isinstance(kind, str) and kind in types:
        return ""
    available = f"available{' here' if types == BRANCH_TYPES else ''}: {', '.join(types)}"
    if kind is None:
        return f"is required; {available}"
    if isinstance(kind, str) and kind in NODE_MODELS:
        return f"a {kind} node cannot stand in a branch; {available}"
    return f"unknown node type {quoted(kind)}; {available}"


def _without_branches(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node without the nodes inside it, which are looked at one by one."""
    config = raw.get("config")
    if raw["type"] != "conditional" or not isinstance(config, Mapping):
        return raw
    given = [name for name in _BRANCHES if isinstance(config.get(name), list)]
    return {**raw, "config": {**config, **dict.fromkeys(given, ())}}


def _branch_faults(path: str, raw: Mapping[str, Any], depth: int) -> Iterator[Fault]:
    config = raw.get("config")
    if raw["type"] != "conditional" or not isinstance(config, Mapping):
        return
    name = f"node {quoted(raw.get('id'))}: "
    if depth >= MAX_DEPTH:
        yield path, f"{name}conditionals are nested more than {MAX_DEPTH} deep"
        return
    branches = {key: config.get(key) for key in _BRANCHES}
    if not any(branches.values()):
        yield f"{path}.config.then", f"{name}then or otherwise needs at least one node"
    for key, nodes in branches.items():
        if isinstance(nodes, list):
            below = f"{path}.config.{key}"
            for position, node in enumerate(nodes[:MAX_NODES]):
                yield from _node_faults(f"{below}[{position}]", node, BRANCH_TYPES, depth + 1)
            yield from repetition_faults(places(nodes, below))


def _meaning_faults(
    model: type[Node], raw: Mapping[str, Any], errors: list[Fault]
) -> Iterator[Fault]:
    """Faults the shape does not show, in the parts of the config that have the right shape."""
    config = raw.get("config", {})
    if not isinstance(config, Mapping):
        return
    faulty = {key for key in config for place, _ in errors if _is_below(place, f"config.{key}")}
    # Without these it is not known what the other keys mean.
    if faulty & {"scope", "method", "hook"}:
        return
    good = {key: value for key, value in config.items() if key not in faulty}
    node, _ = check_shape(model, {"id": "any", "type": raw["type"], "config": good})
    for place, text in config_faults(node):
        if not any(_is_below(place, f"config.{key}") for key in faulty):
            yield place, text


def _is_below(place: str, path: str) -> bool:
    return place == path or place.startswith((f"{path}.", f"{path}["))


def _id_faults(nodes: list[Any]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for path, name in _ids(nodes, "nodes"):
        if name in seen:
            yield f"{path}.id", f"{quoted(name)} is the id of {seen[name]} too; ids must differ"
        seen.setdefault(name, path)


def _ids(nodes: list[Any], below: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Path and id of each node that has one, those of branches included."""
    for index, node in enumerate(nodes[:MAX_NODES]):
        if not isinstance(node, Mapping):
            continue
        path, name, config = f"{below}[{index}]", node.get("id"), node.get("config")
        if isinstance(name, str):
            yield path, name
        if node.get("type") == "conditional" and isinstance(config, Mapping) and depth <= MAX_DEPTH:
            for key in _BRANCHES:
                inside = config.get(key)
                if isinstance(inside, list):
                    yield from _ids(inside, f"{path}.config.{key}", depth + 1)
