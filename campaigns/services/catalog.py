"""Placements and sub-categories: what their channel or category ties them to."""

from collections.abc import Mapping
from typing import Any

from campaigns.models import Placement, SubCategory
from campaigns.services.custom_fields import check_sub_category
from campaigns.services.errors import Conflict
from campaigns.services.keys import free_key
from campaigns.services.resources import check_version, create_row, in_use, update_row
from kaireon.access.models import Tenant


def create_placement(tenant: Tenant, fields: Mapping[str, Any]) -> Placement:
    """Insert a placement, by its name if it has no key. Raises Conflict for a key there is."""
    key = fields.get("key") or free_key(Placement, tenant, fields["name"], limit=100)
    return create_row(Placement, tenant, {**fields, "key": key})


def update_placement(
    placement: Placement, fields: dict[str, Any], expected: int | None
) -> Placement:
    """Change a placement that the caller has locked; its channel only while no creative uses it."""
    channel = fields.get("channel", placement.channel)
    creatives = list(placement.creatives.exclude(channel=channel))
    if creatives:
        raise Conflict(f"channelId: {in_use(placement, creatives)}")
    return update_row(placement, fields, expected)


def update_sub_category(
    row: SubCategory, fields: dict[str, Any], expected: int | None
) -> SubCategory:
    """Change a sub-category that the caller has locked; its category only while it has no offer."""
    category = fields.get("category", row.category)
    offers = list(row.offers.exclude(category=category))
    if offers:
        raise Conflict(f"categoryId: {in_use(row, offers)}")
    check_version(row, expected)
    if not {"category", "custom_fields"}.isdisjoint(fields):
        row.category, row.custom_fields = category, fields.get("custom_fields", row.custom_fields)
        check_sub_category(row)
        fields = {**fields, "custom_fields": row.custom_fields}
    return update_row(row, fields, expected)
