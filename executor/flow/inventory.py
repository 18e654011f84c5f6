"""The inventory node: which offers a flow starts with."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from executor.flow.catalog import OfferFacts
from executor.flow.configs import InventoryConfig
from executor.flow.operators import quoted
from kaireon import ids


@dataclass(frozen=True, slots=True)
class Reference:
    """An id in the list of a scope; `key` is None if no object of this kind can have it."""

    scope: str
    path: str
    model: str
    public_id: str
    key: int | None


def references(config: InventoryConfig) -> Iterator[Reference]:
    """Every id in the lists, with paths below the config."""
    for scope, (name, model) in _LISTS.items():
        for position, public_id in enumerate(_ids(config, scope)):
            key = ids.decode(model, public_id)
            yield Reference(scope, f"{name}[{position}]", model, public_id, key)


def check_inventory(config: InventoryConfig) -> Iterator[tuple[str, str]]:
    """Faults the shape cannot show, with paths below the config."""
    for scope, (name, _) in _LISTS.items():
        if scope == config.scope and not _ids(config, scope):
            yield name, f"needs at least one id for scope {quoted(scope)}"
        if scope != config.scope and _ids(config, scope):
            yield name, f"is only used with scope {quoted(scope)}: remove it or change the scope"
    for reference in references(config):
        if reference.key is None:
            wanted = f"{_NAMES[reference.model]} ({ids.PREFIXES[reference.model]}_…)"
            yield reference.path, f"{quoted(reference.public_id)} is not {wanted}"


def keys_in_scope(config: InventoryConfig) -> frozenset[int | None]:
    """The keys listed for the scope of the config."""
    return frozenset(ref.key for ref in references(config) if ref.scope == config.scope)


def why_left_out(
    config: InventoryConfig, keys: frozenset[int | None], offer: OfferFacts, now: datetime
) -> str:
    """Why the offer is not in the inventory, given its `keys_in_scope`; empty if it is."""
    found = {
        "category": offer.category_key,
        "subcategory": offer.sub_category_key,
        "offers": offer.key,
    }
    if config.scope != "all" and found[config.scope] not in keys - {None}:
        return "not in the scope"
    if offer.status not in config.include_statuses:
        return f"status is {offer.status}"
    return "" if offer.is_offered(now) else "its schedule has not begun, or has ended"


def describe_inventory(config: InventoryConfig) -> str:
    statuses = " or ".join(config.include_statuses)
    scope = "all offers"
    if config.scope == "offers":
        scope = f"{len(config.offer_ids)} listed offers"
    elif config.scope != "all":
        scope = f"offers of {len(_ids(config, config.scope))} listed {_PLURALS[config.scope]}"
    return f"{scope} with status {statuses}"


_LISTS = {
    "category": ("categoryIds", "Category"),
    "subcategory": ("subCategoryIds", "SubCategory"),
    "offers": ("offerIds", "Offer"),
}
_NAMES = {
    "Category": "a category id",
    "SubCategory": "a sub-category id",
    "Offer": "an offer id",
}
_PLURALS = {"category": "categories", "subcategory": "sub-categories"}


def _ids(config: InventoryConfig, scope: str) -> tuple[str, ...]:
    return {
        "category": config.category_ids,
        "subcategory": config.sub_category_ids,
        "offers": config.offer_ids,
    }[scope]
