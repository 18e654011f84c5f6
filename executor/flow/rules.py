"""Qualification rules as conditions on customers, candidate by candidate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from executor.errors import Rejected
from executor.flow.candidates import Pair
from executor.flow.catalog import RuleFacts
from executor.flow.conditions import Leaf
from executor.flow.days import days_back
from executor.flow.fields import Ref, find_column
from executor.flow.filters import compile_filter
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.leaves import (
    ReadCondition,
    Verdict,
    all_of,
    any_of,
    customer_leaf,
    fold,
    map_leaves,
    read_leaves,
)
from executor.flow.model import Model
from executor.flow.operators import OPERATORS, Op, Takes, normalise, quoted
from executor.flow.outcomes import OUTCOMES
from executor.flow.plan import Term
from executor.flow.rule_configs import (
    CONFIGS,
    DEFAULT_MULTIPLIER,
    MULTIPLIER,
    STAGES,
    PropensityThreshold,
    RecencyCheck,
    RuleMetric,
    SegmentRequired,
    multiplier_fault,
    read_rule_config,
)
from executor.flow.scopes import SCOPES, SEGMENT
from executor.flow.sources import COLD_START
from executor.flow.thresholds import COMPARE, share_test
from executor.flow.types import Kind
from kaireon import ids

#: What a candidate must meet; the same for all candidates unless they differ in what is asked.
Test = Callable[[Pair], Verdict]
_TYPES = ("attribute_condition", "offer_attribute", *CONFIGS)
_OTHER_NAMESPACES = ("offer.", "channel.", "request.")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules are compiled for."""

    kinds: Mapping[str, Kind]
    now: datetime
    zone: str = "UTC"
    pairs: Sequence[Pair] = ()
    flags: Mapping[int, SegmentFlag] | None = None
    #: Model (None as the flow scores) and candidate -> propensity, the column that holds it, or how
    #: it is read from a column.
    propensity: Callable[[str | None, Pair], float | str | Term] = lambda model, pair: COLD_START
    #: The metrics that conditions name, by name.
    metrics: dict[str, Metric] = field(default_factory=dict)

    def column(self, metric: Metric) -> str:
        """The name of the frozen column that holds the metric."""
        self.metrics[metric.name] = metric
        return metric.name


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule: what a candidate needs, and what failing it costs (nothing if hard)."""

    test: Test
    multiplier: float | None


def in_order(rules: tuple[RuleFacts, ...]) -> list[RuleFacts]:
    """Highest priority first, then the oldest."""
    return sorted(rules, key=lambda rule: (-rule.priority, rule.key))


def compile_rule(rule: RuleFacts, facts: Facts) -> Rule:
    """Read a rule. Raises Rejected naming the rule for what cannot be evaluated.

    A missing attribute fails the rule, or passes it if the rule's `on_missing` is "pass", except
    for is_null and is_not_null.
    """
    path = f"rules[{quoted(rule.name)}]"
    errors = [(f"{path}.{field}", message) for field, message in _unknown(rule)]
    config, multiplier, fault = _without_multiplier(rule)
    if fault:
        errors.append((f"{path}.config.{MULTIPLIER}", fault))
    if errors:
        raise Rejected.of(errors)
    test = _test(rule, config, f"{path}.config", facts)
    return Rule(test, multiplier if rule.stage == "match" else None)


def _without_multiplier(rule: RuleFacts) -> tuple[Any, float, str]:
    """The config without the multiplier of a soft rule, that, and what is wrong with it."""
    config: object = rule.config
    if not isinstance(config, Mapping) or MULTIPLIER not in config:
        return config, DEFAULT_MULTIPLIER, ""
    multiplier = config[MULTIPLIER]
    fault = "is only used in stage match" if rule.stage != "match" else multiplier_fault(multiplier)
    return {key: config[key] for key in config if key != MULTIPLIER}, multiplier, fault


def _unknown(rule: RuleFacts) -> list[tuple[str, str]]:
    errors = []
    if rule.rule_type not in _TYPES:
        errors.append(("ruleType", _allowed(rule.rule_type, _TYPES)))
    if rule.stage not in STAGES:
        errors.append(("stage", _allowed(rule.stage, STAGES)))
    for scope, key in rule.places:
        if scope not in SCOPES and scope != SEGMENT:
            errors.append(("scope", _allowed(scope, (*SCOPES, SEGMENT))))
        elif scope != "global" and key is None:
            errors.append(("scopeId", f"is required for scope {quoted(scope)}"))
    if rule.on_missing not in ("pass", "fail"):
        errors.append(("onMissing", f'must be "pass" or "fail", got {quoted(rule.on_missing)}'))
    return errors


def _allowed(value: str, allowed: tuple[str, ...]) -> str:
    return f"must be one of {', '.join(allowed)}, got {quoted(value)}"


def _test(rule: RuleFacts, config: Any, path: str, facts: Facts) -> Test:
    if rule.rule_type == "attribute_condition":
        verdict = _attribute(rule, config, path, facts.kinds)
        return lambda pair: verdict
    if rule.rule_type == "offer_attribute":
        return _offer_attribute(rule, config, path, facts)
    model, faults = read_rule_config(rule.rule_type, config)
    if model is None:
        raise Rejected.of([(f"{path}.{place}" if place else path, text) for place, text in faults])
    return _by_config(rule, model, path, facts)


def _by_config(rule: RuleFacts, config: Model, path: str, facts: Facts) -> Test:
    match config:
        case SegmentRequired():
            verdict = all_of(_membership(one, facts) for one in config.required_segments)
        case RecencyCheck(source="attribute"):
            verdict = _attribute_recency(rule, config, path, facts)
        case RecencyCheck():
            verdict = _event_recency(config, facts)
        case RuleMetric():
            verdict = _count(config, facts)
        case PropensityThreshold():
            return lambda pair: _propensity(rule, config, pair, facts)
    return lambda pair: verdict


def history(metric: str, lookback_days: int | None, facts: Facts) -> Metric:
    """The count of a metric's events, in the last days of the tenant's zone or ever."""
    since = None
    if lookback_days is not None:
        since = days_back(facts.now, facts.zone, lookback_days)
    if metric == "contacts":
        return Metric("contacts", since=since)
    if metric == "impressions":
        return Metric("impressions", since=since)
    return Metric("outcomes", since=since, outcomes=OUTCOMES[metric])


def _attribute(rule: RuleFacts, config: Any, path: str, kinds: Mapping[str, Kind]) -> Verdict:
    def resolve(leaf: dict[str, Any]) -> tuple[Ref, Kind]:
        name = leaf["field"]
        if name.startswith(_OTHER_NAMESPACES):
            raise Rejected(f"{quoted(name)} is not an attribute of the customer")
        column = name.removeprefix("customer.")
        return Ref("customer", column), find_column(column, kinds)

    read = read_leaves(map_leaves(config, path, _attribute_as_field), path, resolve)
    return fold(read.condition, lambda leaf: _leaf(leaf, read, rule.on_missing))


def _attribute_as_field(leaf: dict[str, Any], _path: str) -> dict[str, Any]:
    if "attribute" not in leaf or "field" in leaf:
        return leaf
    return {"field" if key == "attribute" else key: value for key, value in leaf.items()}


def _leaf(leaf: Leaf, read: ReadCondition, on_missing: str) -> Verdict:
    written = read.written[leaf.field]
    column = written.ref.attribute
    test = customer_leaf(leaf, column)
    # The operator as written: a test that is certain reads `is_not_null` by now.
    if OPERATORS[written.operator].takes is Takes.NOTHING:
        return test
    return _or_missing(test, column, on_missing)


def _or_missing(test: Verdict, column: str, on_missing: str) -> Verdict:
    if on_missing == "fail":
        return test
    missing = Leaf(column, Op.IS_NULL, None)
    return missing if isinstance(test, bool) else any_of((test, missing))


def _offer_attribute(rule: RuleFacts, config: Any, path: str, facts: Facts) -> Test:
    """What the offer must be: settled for every candidate before any customer is read."""

    def as_offer_field(leaf: dict[str, Any], place: str) -> dict[str, Any]:
        leaf = _attribute_as_field(leaf, place)
        name = leaf.get("field")
        if not isinstance(name, str) or name.startswith("offer."):
            return leaf
        return {**leaf, "field": f"offer.{name}"}

    mapped = map_leaves(config, path, as_offer_field)
    compiled = compile_filter(mapped, path, facts.kinds, [pair.facts for pair in facts.pairs])
    passes = rule.on_missing == "pass"
    return lambda pair: compiled.residual(*pair.facts, missing_passes=passes)


def _membership(segment_id: str, facts: Facts) -> Verdict:
    """A segment that is gone has no customers: fail closed."""
    key = ids.decode("Segment", segment_id)
    flag = (facts.flags or {}).get(key or 0)
    return False if flag is None else Leaf(flag.name, Op.EQ, True)


def _attribute_recency(rule: RuleFacts, config: RecencyCheck, path: str, facts: Facts) -> Verdict:
    column = str(config.attribute).removeprefix("customer.")
    try:
        kind = find_column(column, facts.kinds)
    except Rejected as error:
        raise Rejected.of((f"{path}.attribute", text) for _, text in error.errors) from error
    if kind not in (Kind.DATE, Kind.DATETIME):
        problem = f"column {quoted(column)} holds {kind}; a recency check needs a date or a time"
        raise Rejected((f"{path}.attribute", problem))
    days = config.within_days or config.older_than_days or 0
    limit: datetime | date = facts.now - timedelta(days=days)
    if kind is Kind.DATE:
        limit = facts.now.astimezone(ZoneInfo(facts.zone)).date() - timedelta(days=days)
    test = Leaf(column, Op.GTE if config.within_days else Op.LT, limit)
    return _or_missing(test, column, rule.on_missing)


def _event_recency(config: RecencyCheck, facts: Facts) -> Verdict:
    """An event that never was is older than any number of days."""
    sources = {"contact": "contacts", "impression": "impressions", "outcome": "outcomes"}
    column = facts.column(Metric(sources[config.source], "last"))  # type: ignore[arg-type]
    if config.within_days is not None:
        return Leaf(column, Op.LTE, float(config.within_days * _DAY))
    older = Leaf(column, Op.GT, float((config.older_than_days or 0) * _DAY))
    return any_of((older, Leaf(column, Op.IS_NULL, None)))


def _count(config: RuleMetric, facts: Facts) -> Verdict:
    metric = history(config.metric, config.lookback_days, facts)
    op, operand = normalise(OPERATORS[Op(config.operator)], Kind.INTEGER, config.threshold)
    return customer_leaf(Leaf("", op, operand), facts.column(metric))


def _propensity(rule: RuleFacts, config: PropensityThreshold, pair: Pair, facts: Facts) -> Verdict:
    found = facts.propensity(config.model_key, pair)
    if isinstance(found, str):
        test = Leaf(found, Op(config.operator), config.threshold)
        return _or_missing(test, found, rule.on_missing)
    if isinstance(found, Term):
        kind = facts.kinds[found.column]
        return share_test(found, kind, config.operator, config.threshold)
    return COMPARE[config.operator](found, config.threshold)
