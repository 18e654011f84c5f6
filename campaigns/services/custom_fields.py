"""Custom fields: categories and sub-categories define them, their offers have values."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from campaigns.models import Category, Offer, SubCategory
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow.custom_fields import Definition, Fault, read_definitions, value_faults
from kaireon.access.models import Tenant

PATH = "customFields"


def check_category(category: Category) -> None:
    """Store the definitions in the form they are read in.

    Raises Rejected for what is wrong with them, or makes those of a sub-category wrong.
    """
    category.custom_fields, faults = read_definitions(category.custom_fields)
    _reject(faults)
    for inner in category.sub_categories.all() if category.pk else ():
        _, faults = read_definitions(inner.custom_fields, category.custom_fields)
        if faults:
            path, text = faults[0]
            raise Rejected((PATH, f'the sub-category "{inner.name}" needs them: {path} {text}'))


def check_sub_category(row: SubCategory) -> None:
    """As `check_category`; they come after those of the category."""
    outer = row.category.custom_fields
    row.custom_fields, faults = read_definitions(row.custom_fields, outer)
    _reject(faults)


def offer_field_faults(stored: Offer, fields: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with an offer's values, as they would be with these in place of the stored."""
    names = ("custom_fields", "category", "sub_category")
    if not stored._state.adding and {*names}.isdisjoint(fields):
        return
    values, *places = (fields.get(name, getattr(stored, name)) for name in names)
    definitions: list[Definition] = [
        field for place in places if place is not None for field in place.custom_fields
    ]
    for path, text in value_faults(definitions, values):
        yield f"{PATH}{path}", text


def create_category(tenant: Tenant, fields: Mapping[str, Any]) -> Category:
    """Insert a category. Raises Rejected for its custom fields, Conflict for a name there is."""
    draft = Category(tenant=tenant, **fields)
    check_category(draft)
    return create_row(Category, tenant, {**fields, "custom_fields": draft.custom_fields})


def update_category(row: Category, fields: dict[str, Any], expected: int | None) -> Category:
    """Change a category that the caller has locked."""
    check_version(row, expected)
    if "custom_fields" in fields:
        row.custom_fields = fields["custom_fields"]
        check_category(row)
        fields = {**fields, "custom_fields": row.custom_fields}
    return update_row(row, fields, expected)


def create_sub_category(tenant: Tenant, fields: Mapping[str, Any]) -> SubCategory:
    draft = SubCategory(tenant=tenant, **fields)
    check_sub_category(draft)
    return create_row(SubCategory, tenant, {**fields, "custom_fields": draft.custom_fields})


def _reject(faults: Iterable[Fault]) -> None:
    found = [(f"{PATH}{path}", text) for path, text in faults]
    if found:
        raise Rejected.of(found)
