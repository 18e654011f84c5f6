"""Making and changing creatives whose templates can be read."""

from collections.abc import Mapping
from typing import Any

from campaigns.models import Creative
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow.creatives import creative_faults
from kaireon.access.models import Tenant

CHECKED = ("template_type", "content", "personalization")


def check_creative(creative: Creative) -> None:
    """Raises Rejected for templates and variables that mean nothing.

    Whether customers have what a variable names is only known once a run reads a segment.
    """
    faults = [*creative_faults(creative.template_type, creative.content, creative.personalization)]
    if faults:
        raise Rejected.of(faults)


def create_creative(tenant: Tenant, fields: Mapping[str, Any]) -> Creative:
    check_creative(Creative(tenant=tenant, **fields))
    return create_row(Creative, tenant, dict(fields))


def update_creative(row: Creative, fields: dict[str, Any], expected: int | None) -> Creative:
    """Change a creative that the caller has locked."""
    check_version(row, expected)
    if not {*CHECKED}.isdisjoint(fields):
        for name in CHECKED:
            setattr(row, name, fields.get(name, getattr(row, name)))
        check_creative(row)
    return update_row(row, fields, expected)
