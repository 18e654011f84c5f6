"""Where a factor of the formula comes from: a number, an attribute of the offer, or a column.

A column's name may contain `{offer.…}` and `{channel.…}`, filled in for each candidate.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from executor.errors import Rejected
from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.fields import Ref, find_column, read_ref, ref_kind, ref_value
from executor.flow.model import FieldSource
from executor.flow.operators import quoted
from executor.flow.plan import Term
from executor.flow.types import Kind

#: Propensity of an offer nothing is known about yet.
COLD_START = 0.5

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NUMERIC = (Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN)

Pair = tuple[OfferFacts, ChannelFacts]


def check_source(source: FieldSource, factor: str) -> None:
    """Check what needs neither columns nor offers. Raises Rejected, paths below the source."""
    errors: list[tuple[str, str]] = []
    try:
        ref = _read_field(source.field)
    except Rejected as error:
        errors.extend(("field", text) for _, text in error.errors)
    else:
        if ref.namespace == "customer" and missing_share(source, factor) is None:
            problem = "is required: the factor, 0 to 1, of customers whose column is empty"
            errors.append(("default", problem))
    if source.low == source.high or not math.isfinite(source.high - source.low):
        errors.append(("max", f"must differ from min, {source.low:g}, by a finite number"))
    if errors:
        raise Rejected.of(errors)


def resolve_source(
    source: FieldSource, factor: str, weight: float, pair: Pair, kinds: Mapping[str, Kind]
) -> float | Term:
    """The factor of this candidate: a number from 0 to 1, or a term over a column.

    Raises Rejected naming the offer if it has no usable value, or the customers no such column.
    """
    ref = _read_field(source.field)
    if ref.namespace == "offer":
        return _offer_share(source, ref, pair)
    try:
        column = _column_name(ref.attribute, pair, kinds)
        kind = find_column(column, kinds)
    except Rejected as error:
        if not _PLACEHOLDER.search(source.field):
            raise
        if source.default is not None:
            return source.default
        problem = f"offer {quoted(pair[0].name)}: {error}; or give a default for such offers"
        raise Rejected(problem) from error
    if kind not in _NUMERIC:
        raise Rejected(f"column {quoted(column)} holds {kind}; a factor needs a number or boolean")
    default = missing_share(source, factor)
    return Term(column, source.low, source.high, weight, 0.0 if default is None else default)


def missing_share(source: FieldSource, factor: str) -> float | None:
    """The factor where the field is missing, if there is one."""
    return COLD_START if source.default is None and factor == "propensity" else source.default


def share(value: float, low: float, high: float) -> float:
    """Where the value lies between low (0) and high (1), cut off at both ends."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _read_field(field: str) -> Ref:
    ref = read_ref(field)
    if ref.namespace == "customer":
        _check_placeholders(ref.attribute)
    elif ref_kind(ref) not in (*_NUMERIC, None):
        hint = " inside a column's name, as in customer.propensity_{offer.product_type}"
        raise Rejected(f"{ref} is not a number; it can only be used{hint}")
    return ref


def _check_placeholders(name: str) -> None:
    if set("{}") & set(_PLACEHOLDER.sub("", name)):
        raise Rejected(f"{quoted(name)} has a brace without its other half")
    for inside in _PLACEHOLDER.findall(name):
        ref = read_ref(inside)
        is_list = ref == Ref("offer", "tags")
        if ref.namespace == "customer" or is_list or ref_kind(ref) is Kind.NUMBER:
            raise Rejected(f"{{{inside}}} must be text or a whole number of the offer or channel")


def _offer_share(source: FieldSource, ref: Ref, pair: Pair) -> float:
    value = ref_value(ref, *pair)
    name = quoted(pair[0].name)
    if value is None or value != value:
        if source.default is None:
            raise Rejected(f"offer {name} has no {ref}; fill it in, or give a default")
        return source.default
    if not isinstance(value, int | float):
        raise Rejected(f"offer {name} has {ref} = {quoted(value)}, which is not a number")
    return share(float(value), source.low, source.high)


def _column_name(template: str, pair: Pair, kinds: Mapping[str, Kind]) -> str:
    """The column for this candidate: with the values as they are, or as an import names columns."""
    values: list[str] = []
    for inside in _PLACEHOLDER.findall(template):
        ref = read_ref(inside)
        value = ref_value(ref, *pair)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Rejected(f"{ref} is {quoted(value)}, not text or a whole number")
        values.append(str(value))
    exact = _fill(template, values)
    plain = _fill(template, [_plain(value) for value in values])
    return plain if exact not in kinds and plain in kinds else exact


def _plain(value: str) -> str:
    """`Crédit Immo` as `credit_immo`."""
    folded = unicodedata.normalize("NFKD", value.casefold())
    bare = "".join(character for character in folded if not unicodedata.combining(character))
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def _fill(template: str, values: Sequence[str]) -> str:
    left = iter(values)
    return _PLACEHOLDER.sub(lambda _: next(left), template)
