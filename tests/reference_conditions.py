"""Conditions as the documentation words them, for one customer and one candidate at a time.

Part of the reference interpreter: slow, plain, and written without looking at the compiler. An
answer is True, False, or None where it depends on the customer and no customer is given.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from executor.flow.catalog import ChannelFacts, OfferFacts

Columns = Mapping[str, Any] | None
Answer = bool | None

WORDS = {
    "=": "eq",
    "==": "eq",
    "equals": "eq",
    "!=": "neq",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
    "exists": "is_not_null",
    "not_exists": "is_null",
}
LEAST, MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Candidate:
    """An offer in a channel through a creative, which stands in a placement."""

    offer: OfferFacts
    channel: ChannelFacts
    creative: int | None
    placement: int | None

    @property
    def name(self) -> tuple[int, int, int]:
        return self.offer.key, self.channel.key, self.creative or 0


Test = Callable[[Candidate, Columns], Answer]


def both(answers: Iterable[Answer]) -> Answer:
    """All of them: one that is false settles it."""
    result: Answer = True
    for answer in answers:
        if answer is False:
            return False
        result = None if answer is None else result
    return result


def either(answers: Iterable[Answer]) -> Answer:
    """Any of them: one that is true settles it."""
    result: Answer = False
    for answer in answers:
        if answer is True:
            return True
        result = None if answer is None else result
    return result


def opposite(answer: Answer) -> Answer:
    return None if answer is None else not answer


def attribute(name: str, offer: OfferFacts, channel: ChannelFacts) -> Any:
    """What `offer.x` or `channel.x` is; None if it is missing, as text that was left empty is."""
    namespace, _, rest = name.partition(".")
    if rest.startswith("metadata."):
        return offer.metadata.get(rest.removeprefix("metadata."))
    snake = re.sub("([A-Z])", lambda found: "_" + found[1].lower(), rest)
    if namespace == "channel":
        value = getattr(channel, snake)
    else:
        value = getattr(offer, {"category": "category_name"}.get(snake, snake), None)
        if snake == "sub_category":
            value = offer.sub_category_name
    return None if value == "" else value


def kind_of(value: object) -> str:
    for types, kind in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "text")):
        if isinstance(value, types):
            return kind
    raise AssertionError(f"{value!r} is of no kind")


def operand(kind: str, value: Any) -> Any:
    """A JSON value as the field's kind compares it."""
    if kind == "number":
        return float(value)
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "datetime":
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return value


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1. NaN equals itself and exceeds every number."""
    one_nan = isinstance(one, float) and math.isnan(one)
    other_nan = isinstance(other, float) and math.isnan(other)
    if one_nan or other_nan:
        return one_nan - other_nan
    return (one > other) - (one < other)


ORDER: Mapping[str, Callable[[int], bool]] = {
    "eq": lambda sign: sign == 0,
    "neq": lambda sign: sign != 0,
    "gt": lambda sign: sign > 0,
    "gte": lambda sign: sign >= 0,
    "lt": lambda sign: sign < 0,
    "lte": lambda sign: sign <= 0,
}


def value_test(operator: str, kind: str, raw: Any) -> Callable[[Any], bool]:
    """Whether a value that is there meets the operator; a missing one meets only is_null."""
    operator = WORDS.get(operator, operator)
    if operator in ("is_null", "is_not_null"):
        return lambda value: (value is None) == (operator == "is_null")
    if operator in ("in", "not_in"):
        wanted = [operand(kind, one) for one in raw]
        return lambda value: (
            value is not None
            and any(compare(value, one) == 0 for one in wanted) == (operator == "in")
        )
    if operator == "regex":
        pattern = re.compile(raw.replace("$", r"\Z"), re.ASCII | re.DOTALL)
        return lambda value: value is not None and pattern.search(value) is not None
    if operator == "contains":
        return lambda value: value is not None and raw in value
    if operator == "starts_with":
        return lambda value: value is not None and value.startswith(raw)
    compared, holds = operand(kind, raw), ORDER[operator]
    return lambda value: value is not None and holds(compare(value, compared))


def is_hopeless(operator: str, kind: str, raw: Any) -> bool:
    """Whether no value at all can meet the test: an empty list, or what no whole number equals."""
    operator = WORDS.get(operator, operator)

    def whole(value: Any) -> bool:
        return LEAST <= value <= MOST and value == int(value)

    if operator == "in":
        return not raw or (kind == "integer" and not any(map(whole, raw)))
    if kind != "integer" or operator not in ("eq", "gt", "gte", "lt", "lte"):
        return False
    if operator == "eq":
        return not whole(raw)
    return raw > MOST if operator in ("gt", "gte") else raw < LEAST


def list_test(operator: str, raw: Any) -> Callable[[Any], bool]:
    """A list contains an item, has any of some (in) or none of them (not_in)."""
    operator = WORDS.get(operator, operator)
    if operator in ("is_null", "is_not_null"):
        return lambda items: bool(items) == (operator == "is_not_null")
    if operator == "contains":
        return lambda items: raw in items
    return lambda items: any(one in items for one in raw) == (operator == "in")


OFFER_KINDS = {"priority": "integer", "weight": "integer"} | dict.fromkeys(
    ("business_value", "businessValue", "margin", "revenue_value", "revenueValue"), "number"
)


def catalog_test(field: str, operator: str, raw: Any) -> Callable[[Any], bool]:
    """The test of a value of an offer or channel; metadata is compared as what it is."""

    def holds(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return list_test(operator, raw)(value)
        kind = OFFER_KINDS.get(field.partition(".")[2], "text")
        if field.startswith("offer.metadata."):
            if value is None:
                return WORDS.get(operator, operator) == "is_null"
            kind = kind_of(value)
            if is_hopeless(operator, kind, raw):
                return False
        return value_test(operator, kind, raw)(value)

    return holds


def read(condition: Any, kinds: Mapping[str, str], missing_passes: bool | None = None) -> Test:
    """The test of a condition: {field, operator, value}, a group, or a list that must hold.

    `missing_passes` says what becomes of a rule's attributes that are missing.
    """
    if isinstance(condition, list):
        condition = {"conditions": condition}
    if "conditions" in condition:
        parts = [read(part, kinds, missing_passes) for part in condition["conditions"]]
        joined = either if condition.get("combinator", "AND").upper() == "OR" else both
        return lambda candidate, columns: joined(part(candidate, columns) for part in parts)
    field, operator = condition["field"], condition["operator"]
    raw = condition.get("value")
    is_null_test = WORDS.get(operator, operator) in ("is_null", "is_not_null")
    passes = bool(missing_passes) and not is_null_test
    if field.startswith("customer."):
        return customer_test(field.removeprefix("customer."), operator, raw, kinds, passes)
    holds = catalog_test(field, operator, raw)
    known: dict[tuple[int, int], bool] = {}

    def decided(candidate: Candidate, _: Columns) -> Answer:
        place = candidate.offer.key, candidate.channel.key
        if place not in known:
            value = attribute(field, candidate.offer, candidate.channel)
            is_missing = value is None or value in ([], ())
            known[place] = (passes and is_missing) or holds(value)
        return known[place]

    return decided


def customer_test(
    column: str, operator: str, raw: Any, kinds: Mapping[str, str], passes: bool
) -> Test:
    holds = value_test(operator, kinds[column], raw)
    hopeless = is_hopeless(operator, kinds[column], raw)

    def asked(_: Candidate, columns: Columns) -> Answer:
        if columns is None:
            return False if hopeless and not passes else None
        value = columns[column]
        return (passes and value is None) or holds(value)

    return asked
