"""The fields a flow may name: `offer.*` and `channel.*` from the catalog, `customer.*` columns."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from executor.errors import Rejected
from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.operators import quoted
from executor.flow.types import Kind

Namespace = Literal["customer", "offer", "channel"]
METADATA = "metadata."


@dataclass(frozen=True, slots=True)
class Ref:
    """A field, taken apart: for a customer the attribute is the column as it is."""

    namespace: Namespace
    attribute: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.attribute}"


OFFER_KINDS: Mapping[str, Kind] = {
    "name": Kind.TEXT,
    "category": Kind.TEXT,
    "sub_category": Kind.TEXT,
    "priority": Kind.INTEGER,
    "weight": Kind.INTEGER,
    "business_value": Kind.NUMBER,
    "margin": Kind.NUMBER,
    "revenue_value": Kind.NUMBER,
    "product_type": Kind.TEXT,
    "tags": Kind.TEXT,
    "status": Kind.TEXT,
}
CHANNEL_KINDS: Mapping[str, Kind] = {
    "name": Kind.TEXT,
    "channel_type": Kind.TEXT,
    "delivery_mode": Kind.TEXT,
}
ALIASES: Mapping[str, str] = {
    "subCategory": "sub_category",
    "businessValue": "business_value",
    "revenueValue": "revenue_value",
    "productType": "product_type",
    "channelType": "channel_type",
    "deliveryMode": "delivery_mode",
}

# Text that was left empty is missing, as NULL is in a column.
_OFFER_VALUES: Mapping[str, Callable[[OfferFacts], Any]] = {
    "name": lambda offer: offer.name,
    "category": lambda offer: offer.category_name or None,
    "sub_category": lambda offer: offer.sub_category_name or None,
    "priority": lambda offer: offer.priority,
    "weight": lambda offer: offer.weight,
    "business_value": lambda offer: offer.business_value,
    "margin": lambda offer: offer.margin,
    "revenue_value": lambda offer: offer.revenue_value,
    "product_type": lambda offer: offer.product_type or None,
    "tags": lambda offer: offer.tags,
    "status": lambda offer: offer.status,
}
_CHANNEL_VALUES: Mapping[str, Callable[[ChannelFacts], Any]] = {
    "name": lambda channel: channel.name,
    "channel_type": lambda channel: channel.channel_type or None,
    "delivery_mode": lambda channel: channel.delivery_mode,
}


def read_ref(name: str) -> Ref:
    """Read `offer.businessValue`, `offer.metadata.tier`, `channel.name`, `customer.balance`.

    Raises Rejected for `request.*`, another namespace or an attribute that does not exist.
    """
    namespace, _, attribute = name.partition(".")
    if namespace == "customer" and attribute:
        return Ref("customer", attribute)
    if namespace == "offer" and attribute:
        if attribute.startswith(METADATA) and attribute != METADATA:
            return Ref("offer", attribute)
        names = [*OFFER_KINDS, "metadata.<key>"]
        return Ref("offer", _known(name, ALIASES.get(attribute, attribute), names))
    if namespace == "channel" and attribute:
        return Ref("channel", _known(name, ALIASES.get(attribute, attribute), list(CHANNEL_KINDS)))
    if namespace == "request":
        raise Rejected(f"{quoted(name)} is not available: a batch run has no request")
    hint = f", as in {quoted(f'customer.{name}')}" if name.isidentifier() else ""
    raise Rejected(f"{quoted(name)} must start with customer., offer. or channel.{hint}")


def ref_kind(ref: Ref) -> Kind | None:
    """The kind of an offer's or channel's attribute; None if only the data can tell."""
    kinds = CHANNEL_KINDS if ref.namespace == "channel" else OFFER_KINDS
    return None if ref.namespace == "customer" else kinds.get(ref.attribute)


def ref_value(ref: Ref, offer: OfferFacts, channel: ChannelFacts) -> Any:
    """The value of an offer's or channel's attribute; None if it is missing."""
    if ref.namespace == "channel":
        return _CHANNEL_VALUES[ref.attribute](channel)
    if ref.attribute.startswith(METADATA):
        return offer.metadata.get(ref.attribute.removeprefix(METADATA))
    return _OFFER_VALUES[ref.attribute](offer)


def value_kind(value: object) -> Kind:
    """The kind a metadata value is compared as. Raises Rejected for an object."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return Kind.INTEGER
    if isinstance(value, int | float) and abs(value) < 1e308:
        return Kind.NUMBER
    if isinstance(value, str):
        return Kind.TEXT
    raise Rejected(f"{quoted(value)} is neither text, a number, true nor false")


def find_column(name: str, kinds: Mapping[str, Kind]) -> Kind:
    """The kind of a customer column. Raises Rejected with the closest names there are."""
    if name in kinds:
        return kinds[name]
    hint = did_you_mean(name, kinds)
    raise Rejected(f"the customers have no column {quoted(name)}{hint}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: close matches and what is available."""
    known = sorted(names)
    close = difflib.get_close_matches(name[:100], known, 3)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    hint = f"; did you mean {' or '.join(map(quoted, close))}?" if close else ";"
    return f"{hint} available: {listed or 'none'}"


def _known(name: str, attribute: str, names: list[str]) -> str:
    if attribute not in names or attribute == "metadata.<key>":
        namespace = name.partition(".")[0]
        hint = did_you_mean(name, [f"{namespace}.{each}" for each in names])
        raise Rejected(f"unknown field {quoted(name)}{hint}")
    return attribute
