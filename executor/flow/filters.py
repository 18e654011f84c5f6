"""Conditions of filter nodes: `offer.*` and `channel.*` are decided before any customer is read.

The catalog's attributes go through the same column compiler as the customers' columns, so an
operator means the same on both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from executor.errors import Rejected
from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.columns import column_expr
from executor.flow.conditions import Leaf, describe
from executor.flow.fields import (
    Ref,
    find_column,
    read_ref,
    ref_kind,
    ref_value,
    value_kind,
)
from executor.flow.leaves import (
    ReadCondition,
    Verdict,
    Written,
    customer_leaf,
    fold,
    leaves,
    read_leaves,
)
from executor.flow.operators import (
    OPERATORS,
    Op,
    Takes,
    allowed_operators,
    find_operator,
    normalise,
    quoted,
)
from executor.flow.types import Kind

Pair = tuple[OfferFacts, ChannelFacts]

_TAGS = Ref("offer", "tags")
_LIST_OPERATORS = (Op.CONTAINS, Op.IN, Op.NOT_IN, Op.IS_NULL, Op.IS_NOT_NULL)
_DTYPES: Mapping[Kind, type[pl.DataType]] = {
    Kind.INTEGER: pl.Int64,
    Kind.NUMBER: pl.Float64,
    Kind.TEXT: pl.String,
    Kind.BOOLEAN: pl.Boolean,
}


def check_conditions(data: object, path: str) -> None:
    """Check all that can be checked before columns and offers are known. Raises Rejected."""
    read_leaves(data, path, _resolve_by_shape)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter's condition with the verdicts of its offer and channel leaves."""

    read: ReadCondition
    #: Per leaf, by key of the offer or channel.
    verdicts: Mapping[str, Mapping[int, bool]]

    def residual(
        self, offer: OfferFacts, channel: ChannelFacts, *, missing_passes: bool = False
    ) -> Verdict:
        """What a customer must still meet for this candidate; true or false if it is settled."""

        def verdict(leaf: Leaf) -> Verdict:
            written = self.read.written[leaf.field]
            ref = written.ref
            if ref.namespace == "customer":
                return customer_leaf(leaf, ref.attribute)
            asks = OPERATORS[written.operator].takes is not Takes.NOTHING
            if missing_passes and asks and ref_value(ref, offer, channel) in (None, (), []):
                return True
            return self.verdicts[leaf.field][_key(ref, (offer, channel))]

        return fold(self.read.condition, verdict)

    def describe(self) -> str:
        """The condition as its author wrote it."""
        return describe(self.read.as_written())


def compile_filter(
    data: object, path: str, kinds: Mapping[str, Kind], pairs: Sequence[Pair]
) -> Filter:
    """Read a filter for these candidates and the customers' columns. Raises Rejected."""

    def resolve(leaf: dict[str, Any]) -> tuple[Ref, Kind]:
        ref, kind = _resolve_by_shape(leaf)
        return ref, find_column(ref.attribute, kinds) if ref.namespace == "customer" else kind

    read = read_leaves(data, path, resolve)
    verdicts: dict[str, Mapping[int, bool]] = {}
    errors: list[tuple[str, str]] = []
    for leaf in leaves(read.condition):
        written = read.written[leaf.field]
        if written.ref.namespace == "customer":
            continue
        distinct = {_key(written.ref, pair): pair for pair in pairs}
        try:
            answers = _decide(leaf, written, list(distinct.values()))
        except Rejected as error:
            errors.extend(error.errors)
        else:
            verdicts[leaf.field] = dict(zip(distinct, answers, strict=True))
    if errors:
        raise Rejected.of(errors)
    return Filter(read, verdicts)


def _resolve_by_shape(leaf: dict[str, Any]) -> tuple[Ref, Kind]:
    """The field, with the kind its value suggests where only the data can tell."""
    ref = read_ref(leaf["field"])
    row = find_operator(leaf.get("operator"))
    if ref == _TAGS and row is not None and row.op not in _LIST_OPERATORS:
        raise Rejected(_list_problem(str(ref)))
    return ref, ref_kind(ref) or _suggested_kind(leaf.get("operator"), leaf.get("value"))


def _suggested_kind(operator: object, value: object) -> Kind:
    if operator in (Op.CONTAINS, Op.STARTS_WITH, Op.REGEX):
        return Kind.TEXT
    if isinstance(value, list) and value:
        return _suggested_kind(None, value[0])
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.NUMBER if isinstance(value, int | float) else Kind.TEXT


def _key(ref: Ref, pair: Pair) -> int:
    return pair[0].key if ref.namespace == "offer" else pair[1].key


def _decide(leaf: Leaf, written: Written, pairs: Sequence[Pair]) -> list[bool]:
    values = [ref_value(written.ref, *pair) for pair in pairs]
    kind = ref_kind(written.ref)
    if written.ref == _TAGS:
        return [_list_holds(written, value) for value in values]
    if kind is not None:
        return _evaluate(leaf, kind, values)
    return [_holds(written, value, pair[0]) for value, pair in zip(values, pairs, strict=True)]


def _evaluate(leaf: Leaf, kind: Kind, values: Sequence[object]) -> list[bool]:
    frame = pl.DataFrame({leaf.field: values}, schema={leaf.field: _DTYPES[kind]})
    return frame.select(verdict=column_expr(leaf))["verdict"].to_list()


def _holds(written: Written, value: object, offer: OfferFacts) -> bool:
    """Whether a metadata value, compared as what it is, meets the leaf. Raises Rejected."""
    if value is None:
        return written.operator is Op.IS_NULL
    name, field = quoted(offer.name), written.ref
    if isinstance(value, list):
        if written.operator not in _LIST_OPERATORS:
            raise Rejected((f"{written.path}.operator", _list_problem(f"offer {name}: {field}")))
        return _list_holds(written, value)
    try:
        kind, row = value_kind(value), OPERATORS[written.operator]
        if kind not in row.kinds:
            raise Rejected(("operator", f"allowed: {', '.join(allowed_operators(kind))}"))
        leaf = Leaf("value", *normalise(row, kind, written.value))
    except Rejected as error:
        problem = f"offer {name} has {field} = {quoted(value)}: "
        raise Rejected.of(
            (f"{written.path}.{where or 'field'}", problem + text) for where, text in error.errors
        ) from error
    return _evaluate(leaf, kind, [value])[0]


def _list_holds(written: Written, items: Sequence[object]) -> bool:
    """A list without items is missing, but certainly has none of the values."""
    if OPERATORS[written.operator].takes is Takes.NOTHING:
        return bool(items) is (written.operator is Op.IS_NOT_NULL)
    if written.operator is Op.CONTAINS:
        return written.value in items
    wanted = written.value if isinstance(written.value, list) else []
    return any(value in items for value in wanted) is (written.operator is Op.IN)


def _list_problem(name: str) -> str:
    return f"{name} is a list; its operators are: {', '.join(_LIST_OPERATORS)}"
