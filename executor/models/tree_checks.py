"""What is wrong with boosted trees in the JSON that LightGBM writes."""

from collections.abc import Iterator, Mapping
from typing import Any

from campaigns.services.model_values import Fault, is_number

MAX_DEPTH = 64
CHILDREN = ("left_child", "right_child")


def tree_faults(state: Mapping[str, Any]) -> Iterator[Fault]:
    """Trees with numeric splits, for one class; other keys that LightGBM writes are left alone."""
    names = state.get("feature_names")
    if not is_names(names):
        message = "Must be a JSON array of the names of the features, each once."
        yield "modelState.feature_names", message
    if state.get("num_class", 1) != 1:
        yield "modelState.num_class", "Must be 1: a model has one score."
    trees = state.get("trees")
    if not isinstance(trees, list) or not trees:
        yield "modelState.trees", "Must be a JSON array of trees that is not empty."
        return
    count = len(names) if isinstance(names, list) else 0
    for position, tree in enumerate(trees):
        path = f"modelState.trees[{position}]"
        if isinstance(tree, Mapping):
            yield from walk(f"{path}.tree_structure", tree.get("tree_structure"), count)
        else:
            yield path, "Must be a JSON object with a tree_structure."


def is_names(names: object) -> bool:
    if not isinstance(names, list) or not names:
        return False
    return all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)


def walk(path: str, root: object, features: int) -> Iterator[Fault]:
    """Check a tree from the root on, without recursion: a caller decides how deep it is."""
    waiting = [(path, root, 1)]
    while waiting:
        path, node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            yield path, f"Is deeper than {MAX_DEPTH} levels."
        elif not isinstance(node, Mapping):
            yield path, "Must be a JSON object: a split with two children, or a leaf."
        elif "leaf_value" in node:
            if not is_number(node["leaf_value"]):
                yield f"{path}.leaf_value", "Must be a number."
        else:
            yield from split_faults(path, node, features)
            waiting += [
                (f"{path}.{child}", node.get(child), depth + 1) for child in reversed(CHILDREN)
            ]


def split_faults(path: str, node: Mapping[str, Any], features: int) -> Iterator[Fault]:
    feature = node.get("split_feature")
    if type(feature) is not int or not 0 <= feature < features:
        message = f"Must be the position of a feature name, 0 to {features - 1}."
        yield f"{path}.split_feature", message
    if not is_number(node.get("threshold")):
        yield f"{path}.threshold", "Must be a number."
    if node.get("decision_type", "<=") != "<=":
        message = 'Must be "<=": splits by category are not available in this version.'
        yield f"{path}.decision_type", message
