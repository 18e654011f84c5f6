"""Keys: the machine names by which flows and callers name a row; they never change."""

from collections.abc import Iterator, Mapping
from itertools import chain, count
from typing import Any

from django.utils.text import slugify

from campaigns.models.configured import Configured
from kaireon.access.models import Tenant

Fault = tuple[str, str]


def changed_key_faults(row: Any, fields: Mapping[str, Any]) -> Iterator[Fault]:
    if fields.get("key", row.key) != row.key:
        yield "key", f'Cannot be changed: it is "{row.key}" for good.'


def free_key(model: type[Configured], tenant: Tenant, name: str, limit: int) -> str:
    """Return a key made of the name, numbered from 2 when the tenant has it already."""
    base = slugify(name)[: limit - 10].rstrip("-_") or slugify(str(model._meta.verbose_name))
    rows = model.objects.of(tenant).filter(key__startswith=base)
    taken = set(rows.values_list("key", flat=True))
    numbered = (f"{base}-{number}" for number in count(2))
    return next(key for key in chain((base,), numbered) if key not in taken)
