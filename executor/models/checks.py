"""What is wrong with the config and the modelState of an algorithm model, by type.

Works on plain JSON values and evaluates nothing. The formats, with their defaults:

- scorecard, config: baseScore 50, minScore 0, maxScore 100, normalization "sigmoid" | "linear",
  rules [{id, field, operator, value, points, description}].
- logistic_regression, config: missing {field: what stands in}; modelState: weights {field or
  field=value: number}, bias.
- bayesian, config: laplaceSmoothingAlpha 1; modelState: classCounts {positive, negative},
  counts {field: {value: {positive, negative}}}, binEdges {field: ascending numbers}. The values of
  a binned field are its bins: "0" is below the first edge, "1" from it on, and so forth.
- gradient_boosted, config: categories {field: [words]}; modelState: feature_names and trees (or
  tree_info) as LightGBM writes them.
- external_endpoint, config: url, timeoutMs 3000, retries 0, batchSize 500, fallbackScore 0.5,
  responseMapping {scoresPath "scores", offerIdField "offerId", scoreField "score"}.
- onnx_imported, config: inputs [fields in order] or {input: field}, output, outputColumn -1,
  missing {field: what stands in}; the model is a file of its own.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from itertools import islice, pairwise
from typing import Any
from urllib.parse import urlsplit

from executor.models.tree_checks import tree_faults
from executor.models.values import (
    Fault,
    is_number,
    named_text,
    number,
    numbers_by_name,
    object_at,
    one_of,
    unknown_keys,
)

MAX_FAULTS = 100
MAX_PREDICTORS = 1000
MAX_RULES = 1000
OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "starts_with")
LIST_OPERATORS = ("in", "not_in")
TEXT_OPERATORS = ("contains", "starts_with")
ORDERING_OPERATORS = ("gt", "gte", "lt", "lte")
CLASSES = ("positive", "negative")
MAX_BATCH = 10_000
ENDPOINT_KEYS = ("url", "timeoutMs", "retries", "batchSize", "fallbackScore", "responseMapping")
ONNX_KEYS = ("inputs", "output", "outputColumn", "missing", "framework")
MAPPING_KEYS = ("scoresPath", "offerIdField", "scoreField")

#: The config, the modelState, and whether the model must be able to score.
Check = Callable[[Mapping[str, Any], Mapping[str, Any], bool], Iterator[Fault]]


def model_faults(
    model_type: str, config: Mapping[str, Any], state: Mapping[str, Any], *, complete: bool
) -> list[Fault]:
    """Return what is wrong, at most the first 100 faults; a draft need not be `complete`."""
    return list(islice(CHECKS[model_type](config, state, complete), MAX_FAULTS))


def predictor_faults(predictors: list[Any]) -> Iterator[Fault]:
    """Predictors are [{"field", "selected", "importance"}]."""
    if len(predictors) > MAX_PREDICTORS:
        yield "predictors", f"Has {len(predictors)} items; at most {MAX_PREDICTORS} are allowed."
        return
    seen: set[str] = set()
    for position, item in enumerate(predictors):
        path = f"predictors[{position}]"
        if not isinstance(item, Mapping):
            yield path, "Must be a JSON object."
            continue
        yield from unknown_keys(path, item, ("field", "selected", "importance"))
        yield from named_text(path, item, "field", required=True)
        yield from number(path, item, "importance")
        if not isinstance(item.get("selected", True), bool):
            yield f"{path}.selected", "Must be true or false."
        field = item.get("field")
        if isinstance(field, str):
            if field in seen:
                yield f"{path}.field", f'"{field}" is there twice.'
            seen.add(field)


def scorecard(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    known = ("baseScore", "minScore", "maxScore", "normalization", "rules")
    yield from unknown_keys("config", config, known)
    for name in known[:3]:
        yield from number("config", config, name)
    low, high = config.get("minScore", 0), config.get("maxScore", 100)
    if is_number(low) and is_number(high) and not low < high:
        yield "config.maxScore", f"Must be above minScore ({low}), got {high}."
    yield from one_of("config", config, "normalization", ("sigmoid", "linear"))
    rules = config.get("rules", [])
    if not isinstance(rules, list) or len(rules) > MAX_RULES:
        yield "config.rules", f"Must be a JSON array of at most {MAX_RULES} rules."
        return
    if complete and not rules:
        yield "config.rules", "An active scorecard needs at least one rule."
    ids = [rule.get("id") for rule in rules if isinstance(rule, Mapping)]
    for position, rule in enumerate(rules):
        yield from rule_faults(f"config.rules[{position}]", rule)
        given = rule.get("id") if isinstance(rule, Mapping) else None
        if given is not None and ids.count(given) > 1:
            yield f"config.rules[{position}].id", "Is the id of another rule, too."


def rule_faults(path: str, rule: object) -> Iterator[Fault]:
    if not isinstance(rule, Mapping):
        yield path, "Must be a JSON object."
        return
    known = ("id", "field", "operator", "value", "points", "description")
    yield from unknown_keys(path, rule, known)
    yield from named_text(path, rule, "id")
    yield from named_text(path, rule, "field", required=True)
    yield from one_of(path, rule, "operator", OPERATORS, required=True)
    yield from number(path, rule, "points", required=True)
    if not isinstance(rule.get("description", ""), str):
        yield f"{path}.description", "Must be a string."
    if rule.get("operator") in OPERATORS:
        yield from operand_faults(f"{path}.value", rule["operator"], rule.get("value"))


def operand_faults(path: str, operator: str, value: object) -> Iterator[Fault]:
    items = value if isinstance(value, list) else []
    if operator in LIST_OPERATORS:
        if not items or not all(isinstance(item, str) or is_scalar(item) for item in items):
            yield path, f"The operator {operator} takes an array of strings, numbers or booleans."
    elif operator in TEXT_OPERATORS:
        if not isinstance(value, str) or not value:
            yield path, f"The operator {operator} takes a string that is not empty."
    elif operator in ORDERING_OPERATORS:
        if not isinstance(value, str) and not is_number(value):
            yield path, f"The operator {operator} takes a number, or a date as a string."
    elif not isinstance(value, str) and not is_scalar(value):
        yield path, f"The operator {operator} takes a string, a number or a boolean."


def is_scalar(value: object) -> bool:
    return isinstance(value, bool) or is_number(value)


def logistic_regression(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    yield from unknown_keys("config", config, ("missing",))
    fields = {name.partition("=")[0] for name in object_at(state, "weights") or {}}
    yield from missing_faults(config, fields if complete else None)
    yield from number("modelState", state, "bias", required=complete)
    yield from numbers_by_name("modelState", state, "weights", required=complete)


def missing_faults(config: Mapping[str, Any], fields: Container[str] | None) -> Iterator[Fault]:
    """What stands in for missing values; `fields` are those there are, if that is known."""
    values = object_at(config, "missing")
    if values is None:
        yield "config.missing", "Must be a JSON object of values by field."
    for field, value in (values or {}).items():
        if fields is not None and field not in fields:
            yield f"config.missing.{field}", "Is no field of the model."
        elif not isinstance(value, str) and not is_scalar(value):
            yield f"config.missing.{field}", "Must be a number, or a string for a category."


def bayesian(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    yield from unknown_keys("config", config, ("laplaceSmoothingAlpha",))
    alpha = config.get("laplaceSmoothingAlpha", 1)
    if not is_number(alpha) or alpha <= 0:
        yield "config.laplaceSmoothingAlpha", "Must be a number above 0."
    if "classCounts" in state or complete:
        faults = list(class_faults("modelState.classCounts", state.get("classCounts")))
        yield from faults
        if complete and not faults and not all(state["classCounts"].values()):
            yield "modelState.classCounts", "Both classes need an example."
    counts = object_at(state, "counts")
    if counts is None or (complete and not counts):
        yield "modelState.counts", "Must be a JSON object of counts by field and value."
    edges = object_at(state, "binEdges")
    if edges is None:
        yield "modelState.binEdges", "Must be a JSON object of edges by field."
    for field, values in (edges or {}).items():
        yield from edge_faults(f"modelState.binEdges.{field}", values)
    for field, values in (counts or {}).items():
        yield from count_faults(f"modelState.counts.{field}", values, (edges or {}).get(field))


def class_faults(path: str, counts: object) -> Iterator[Fault]:
    if not isinstance(counts, Mapping):
        yield path, 'Must be a JSON object as {"positive": 120, "negative": 880}.'
        return
    yield from unknown_keys(path, counts, CLASSES)
    for name in CLASSES:
        yield from number(path, counts, name, low=0, required=True)


def edge_faults(path: str, edges: object) -> Iterator[Fault]:
    if not isinstance(edges, list) or not edges or not all(map(is_number, edges)):
        yield path, "Must be a JSON array of numbers that is not empty."
    elif not all(low < high for low, high in pairwise(edges)):
        yield path, "Must be in ascending order, each edge once."


def count_faults(path: str, values: object, edges: object) -> Iterator[Fault]:
    if not isinstance(values, Mapping) or not values:
        yield path, "Must be a JSON object of counts by value."
        return
    last = len(edges) if isinstance(edges, list) else None
    bins = None if last is None else {str(position) for position in range(last + 1)}
    for value, counts in values.items():
        if bins is not None and value not in bins:
            yield f"{path}.{value}", f'Must be a bin of the field, "0" to "{last}".'
        yield from class_faults(f"{path}.{value}", counts)


def gradient_boosted(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    yield from unknown_keys("config", config, ("categories",))
    if state or complete:
        yield from tree_faults(config, state)


def external_endpoint(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    yield from unknown_keys("config", config, ENDPOINT_KEYS)
    if "url" in config or complete:
        yield from url_faults("config.url", config.get("url"))
    yield from number("config", config, "timeoutMs", low=1, high=60_000, whole=True)
    yield from number("config", config, "retries", low=0, high=1, whole=True)
    yield from number("config", config, "batchSize", low=1, high=MAX_BATCH, whole=True)
    yield from number("config", config, "fallbackScore", low=0, high=1)
    mapping = object_at(config, "responseMapping")
    if mapping is None:
        yield "config.responseMapping", "Must be a JSON object."
        return
    yield from unknown_keys("config.responseMapping", mapping, MAPPING_KEYS)
    for name in MAPPING_KEYS:
        yield from named_text("config.responseMapping", mapping, name)


def url_faults(path: str, url: object) -> Iterator[Fault]:
    message = "Must be an address as https://models.example.com/score, without user and password."
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        # Reading the port checks it.
        is_usable = is_usable and parts.port != 0 and parts.username is None
    except ValueError:
        is_usable = False
    if not is_usable or len(str(url)) > 2048 or not str(url).isprintable() or " " in str(url):
        yield path, message


def onnx_imported(
    config: Mapping[str, Any], state: Mapping[str, Any], complete: bool
) -> Iterator[Fault]:
    """What the file says of its inputs and outputs is compared with the file when it is loaded."""
    yield from unknown_keys("config", config, ONNX_KEYS)
    yield from named_text("config", config, "output")
    yield from number("config", config, "outputColumn", low=-1, high=MAX_PREDICTORS, whole=True)
    yield from missing_faults(config, None)
    inputs = config.get("inputs", [])
    fields = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if not isinstance(fields, list) or not all(isinstance(each, str) and each for each in fields):
        message = "Must be a JSON array of fields in order, or an object of fields by input."
        yield "config.inputs", message
    elif len(fields) > MAX_PREDICTORS:
        yield "config.inputs", f"Has {len(fields)} fields; at most {MAX_PREDICTORS} are allowed."


CHECKS: Mapping[str, Check] = {
    "scorecard": scorecard,
    "logistic_regression": logistic_regression,
    "bayesian": bayesian,
    "gradient_boosted": gradient_boosted,
    "external_endpoint": external_endpoint,
    "onnx_imported": onnx_imported,
}
