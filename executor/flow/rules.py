"""Qualification rules as conditions on customers, each with the candidates in its scope."""

from collections.abc import Callable, Mapping
from typing import Any

from executor.errors import Rejected
from executor.flow.catalog import ChannelFacts, OfferFacts, RuleFacts
from executor.flow.conditions import Group, Leaf
from executor.flow.fields import Ref, find_column
from executor.flow.leaves import (
    ReadCondition,
    Verdict,
    customer_leaf,
    fold,
    map_leaves,
    read_leaves,
)
from executor.flow.operators import OPERATORS, Op, Takes, quoted
from executor.flow.types import Kind

InScope = Callable[[RuleFacts, OfferFacts, ChannelFacts, int | None], bool]

#: Whether a rule concerns an offer in a channel with this creative.
SCOPES: Mapping[str, InScope] = {
    "global": lambda rule, offer, channel, creative: True,
    "channel": lambda rule, offer, channel, creative: channel.key == rule.scope_key,
    "category": lambda rule, offer, channel, creative: offer.category_key == rule.scope_key,
    "subcategory": lambda rule, offer, channel, creative: offer.sub_category_key == rule.scope_key,
    "offer": lambda rule, offer, channel, creative: offer.key == rule.scope_key,
    "creative": lambda rule, offer, channel, creative: creative == rule.scope_key,
}
_STAGES = ("eligibility", "fit")
_TYPES = ("attribute_condition",)
_OTHER_NAMESPACES = ("offer.", "channel.", "request.")


def in_order(rules: tuple[RuleFacts, ...]) -> list[RuleFacts]:
    """Highest priority first, then the oldest."""
    return sorted(rules, key=lambda rule: (-rule.priority, rule.key))


def compile_rule(rule: RuleFacts, kinds: Mapping[str, Kind]) -> Verdict:
    """What a customer must meet to pass; true or false if it does not depend on the customer.

    A missing attribute fails the rule, or passes it if the rule's `on_missing` is "pass", except
    for is_null and is_not_null. Raises Rejected naming the rule for what this version cannot do.
    """
    path = f"rules[{quoted(rule.name)}]"
    errors = [(f"{path}.{field}", message) for field, message in _unavailable(rule)]
    if errors:
        raise Rejected.of(errors)

    def resolve(leaf: dict[str, Any]) -> tuple[Ref, Kind]:
        name = leaf["field"]
        if name.startswith(_OTHER_NAMESPACES):
            raise Rejected(f"{quoted(name)} is not an attribute of the customer")
        column = name.removeprefix("customer.")
        return Ref("customer", column), find_column(column, kinds)

    config = map_leaves(rule.config, f"{path}.config", _attribute_as_field)
    read = read_leaves(config, f"{path}.config", resolve)
    return fold(read.condition, lambda leaf: _leaf(leaf, read, rule.on_missing))


def _unavailable(rule: RuleFacts) -> list[tuple[str, str]]:
    errors = []
    if rule.rule_type not in _TYPES:
        errors.append(("ruleType", _not_available(rule.rule_type, _TYPES)))
    if rule.stage not in _STAGES:
        errors.append(("stage", _not_available(rule.stage, _STAGES)))
    if rule.scope not in SCOPES:
        errors.append(("scope", _not_available(rule.scope, tuple(SCOPES))))
    elif rule.scope != "global" and rule.scope_key is None:
        errors.append(("scopeId", f"is required for scope {quoted(rule.scope)}"))
    if rule.on_missing not in ("pass", "fail"):
        errors.append(("onMissing", f'must be "pass" or "fail", got {quoted(rule.on_missing)}'))
    return errors


def _not_available(value: str, available: tuple[str, ...]) -> str:
    listed = ", ".join(available)
    return f"{quoted(value)} is not available in this version; available: {listed}"


def _attribute_as_field(leaf: dict[str, Any], _path: str) -> dict[str, Any]:
    if "attribute" not in leaf or "field" in leaf:
        return leaf
    return {"field" if key == "attribute" else key: value for key, value in leaf.items()}


def _leaf(leaf: Leaf, read: ReadCondition, on_missing: str) -> Verdict:
    written = read.written[leaf.field]
    column = written.ref.attribute
    test = customer_leaf(leaf, column)
    # The operator as written: a test that is certain reads `is_not_null` by now.
    if on_missing == "fail" or OPERATORS[written.operator].takes is Takes.NOTHING:
        return test
    is_missing = Leaf(column, Op.IS_NULL, None)
    return is_missing if isinstance(test, bool) else Group("or", (test, is_missing))
