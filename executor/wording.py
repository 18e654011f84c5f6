"""What the columns of the frozen rows are in words: those of tables, and all others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

from executor.flow.catalog import Catalog
from executor.flow.conditions import Leaf
from executor.flow.inputs import Metric
from executor.flow.operators import OPERATORS, Takes, quoted
from executor.flow.plan import Plan
from kaireon import ids

_EVENTS = {"contacts": "contact", "impressions": "impression", "outcomes": "outcome"}
#: Values of a list that are told; the rest are counted.
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a plan's columns; columns of tables stand for themselves."""

    columns: Mapping[str, str]

    @classmethod
    def of(cls, plan: Plan, catalog: Catalog) -> "Words":
        segments = {segment.view: segment.name for segment in catalog.segments}
        told = {
            flag.name: f"is in the segment {quoted(segments.get(flag.view, flag.view))}"
            for flag in plan.inputs.segments
        }
        told |= {metric.name: metric_words(metric, catalog) for metric in plan.inputs.metrics}
        told |= {one.name: f"score of the model {quoted(one.model)}" for one in plan.derived}
        return cls(told)

    def column(self, name: str) -> str:
        return self.columns.get(name, name)

    def leaf(self, leaf: Leaf) -> str:
        """`balance > 1000`, with the column in words."""
        row = OPERATORS[leaf.operator]
        words = [self.column(leaf.field), row.symbol]
        if row.takes is not Takes.NOTHING:
            words.append(operand_words(leaf.operand))
        return " ".join(words)


def metric_words(metric: Metric, catalog: Catalog) -> str:
    """`contacts with "Gold Card" in "Email" since 2026-11-24 00:00 UTC`."""
    event = _EVENTS[metric.source]
    start = f"{event}s" if metric.aggregate == "count" else f"seconds since the last {event}"
    offers = {offer.key: offer.name for offer in catalog.offers}
    channels = {channel.key: channel.name for channel in catalog.channels}
    parts = [
        start,
        _among("", map(quoted, metric.outcomes)),
        _among("with", (_name("Offer", key, offers) for key in metric.offers)),
        _among("in", (_name("Channel", key, channels) for key in metric.channels)),
        _among("through", (ids.encode("Creative", key) for key in metric.creatives)),
        _among("of", (ids.encode("Campaign", key) for key in metric.campaigns)),
        _among("not of", (ids.encode("Campaign", key) for key in metric.without_campaigns)),
        f"since {metric.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if metric.since else "",
    ]
    return " ".join(filter(None, parts))


def operand_words(operand: Any) -> str:
    if isinstance(operand, tuple):
        listed = ", ".join(operand_words(value) for value in operand[:_LISTED])
        more = f" and {len(operand) - _LISTED} more" if len(operand) > _LISTED else ""
        return f"({listed}{more})"
    return quoted(operand) if isinstance(operand, str) else str(json_value(operand))


def json_value(value: Any) -> Any:
    """A frozen value or an operand as JSON has it; what it has no number for is a word."""
    if isinstance(value, tuple | list):
        return [json_value(one) for one in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


def _among(word: str, names: Iterable[str]) -> str:
    listed = list(names)
    shown = " or ".join(listed[:3]) + (f" or {len(listed) - 3} others" if len(listed) > 3 else "")
    return f"{word} {shown}".strip() if listed else ""


def _name(model: str, key: int, names: Mapping[int, str]) -> str:
    return quoted(names[key]) if key in names else ids.encode(model, key)
