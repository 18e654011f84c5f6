"""Making the rows a campaign is built from, where nothing but the row itself is written."""

from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from campaigns.services.errors import Conflict
from kaireon.access.models import Tenant, TenantScoped

RowT = TypeVar("RowT", bound=TenantScoped)


def create_row(model: type[RowT], tenant: Tenant, fields: dict[str, Any]) -> RowT:
    """Insert a row of the tenant and return it as stored. Raises Conflict for a name it has."""
    try:
        with transaction.atomic():
            row = model(tenant=tenant, **fields)
            row.save(force_insert=True)
    except IntegrityError as error:
        if isinstance(error.__cause__, UniqueViolation):
            kind = model._meta.verbose_name
            raise Conflict(f"There is a {kind} with this name already.") from error
        raise
    row.refresh_from_db()
    return row
