"""What is wrong with boosted trees in the JSON that LightGBM writes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from executor.models.trees import read_categories
from executor.models.values import Fault, is_number, object_at

MAX_DEPTH = 64
CHILDREN = ("left_child", "right_child")
MISSING_TYPES = ("None", "Zero", "NaN")
#: Objectives whose score is the sigmoid of the trees' sum, with LightGBM's parameter of it.
OBJECTIVE = re.compile(r"(binary|cross_entropy|xentropy)( sigmoid:(?P<scale>[0-9.eE+-]+))?( .*)?")


def tree_faults(config: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Fault]:
    """Trees for one class; other keys that LightGBM writes are left alone."""
    names = state.get("feature_names")
    if not is_names(names):
        message = "Must be a JSON array of the names of the features, each once."
        yield "modelState.feature_names", message
    if state.get("num_class", 1) != 1:
        yield "modelState.num_class", "Must be 1: a model has one score."
    if objective_scale(state) is None:
        message = "Must be binary or cross_entropy: the score is the sigmoid of the trees' sum."
        yield "modelState.objective", message
    known = names if isinstance(names, list) else []
    yield from category_faults(config, known)
    trees = trees_of(state)
    if not isinstance(trees, list) or not trees:
        yield "modelState.trees", "Must be a JSON array of trees that is not empty."
        return
    for position, tree in enumerate(trees):
        path = f"modelState.trees[{position}]"
        if isinstance(tree, Mapping):
            yield from walk(f"{path}.tree_structure", tree.get("tree_structure"), len(known))
        else:
            yield path, "Must be a JSON object with a tree_structure."


def trees_of(state: Mapping[str, Any]) -> Any:
    """The trees; LightGBM's own name of them is good, too."""
    return state.get("trees", state.get("tree_info"))


def objective_scale(state: Mapping[str, Any]) -> float | None:
    """What the sum is multiplied with before the sigmoid; None for another kind of objective."""
    objective = state.get("objective", "binary")
    match = OBJECTIVE.fullmatch(objective) if isinstance(objective, str) else None
    try:
        scale = float(match["scale"] or 1) if match else 0.0
    except ValueError:
        return None
    return scale if 0 < scale < float("inf") else None


def is_names(names: object) -> bool:
    if not isinstance(names, list) or not names:
        return False
    return all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)


def category_faults(config: Mapping[str, Any], names: list[Any]) -> Iterator[Fault]:
    categories = object_at(config, "categories")
    if categories is None:
        yield "config.categories", "Must be a JSON object of arrays by field."
    for field, values in (categories or {}).items():
        path = f"config.categories.{field}"
        if field not in names:
            yield path, "Is no name of modelState.feature_names."
        is_list = isinstance(values, list) and len(values) > 0
        if not is_list or not all(isinstance(each, str | bool | int) for each in values):
            yield path, "Must be a JSON array of strings, whole numbers or booleans."
        elif len(
            {str(each).lower() if isinstance(each, bool) else str(each) for each in values}
        ) < len(values):
            yield path, "Holds a category twice."


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
    decision = node.get("decision_type", "<=")
    if decision not in ("<=", "=="):
        yield f"{path}.decision_type", 'Must be "<=" or, for categories, "==".'
    elif decision == "==" and not is_categories(node.get("threshold")):
        message = 'Must be a category or several, as "0||2": whole numbers from 0 on.'
        yield f"{path}.threshold", message
    elif decision == "<=" and not is_number(node.get("threshold")):
        yield f"{path}.threshold", "Must be a number."
    if node.get("missing_type", "None") not in MISSING_TYPES:
        yield f"{path}.missing_type", f"Must be one of: {', '.join(MISSING_TYPES)}."
    if not isinstance(node.get("default_left", False), bool):
        yield f"{path}.default_left", "Must be true or false."


def is_categories(threshold: object) -> bool:
    if not isinstance(threshold, str) and not is_number(threshold):
        return False
    try:
        return bool(read_categories(threshold))
    except (ValueError, OverflowError):
        return False
