"""Making, changing and deleting the rows a campaign is built from."""

from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from psycopg.errors import UniqueViolation

from campaigns.models.configured import Configured
from campaigns.services.errors import Conflict
from kaireon.access.models import Tenant

RowT = TypeVar("RowT", bound=Configured)
NAMED_USERS = 5


def create_row(model: type[RowT], tenant: Tenant, fields: dict[str, Any]) -> RowT:
    """Insert a row of the tenant and return it as stored. Raises Conflict for a name it has."""
    row = model(tenant=tenant, **fields)
    save_row(row, force_insert=True)
    return row


def update_row(row: RowT, fields: dict[str, Any], expected: int | None = None) -> RowT:
    """Set fields of a row that the caller has locked, and raise its version.

    Raises Conflict when it no longer has the version `expected`, or for a name there is already.
    """
    check_version(row, expected)
    for name, value in fields.items():
        setattr(row, name, value)
    row.version += 1
    save_row(row)
    return row


def check_version(row: Configured, expected: int | None) -> None:
    if expected is not None and row.version != expected:
        kind = row._meta.verbose_name
        raise Conflict(
            f"The {kind} has version {row.version}, not {expected}: somebody changed it meanwhile."
        )


def save_row(row: Configured, **options: Any) -> None:
    """Save and read back what the database has made of it."""
    try:
        with transaction.atomic():
            row.save(**options)
    except IntegrityError as error:
        if isinstance(error.__cause__, UniqueViolation):
            kind = row._meta.verbose_name
            raise Conflict(f"There is a {kind} with this name already.") from error
        raise
    row.refresh_from_db()


def delete_row(row: Configured) -> None:
    """Delete the row. Raises Conflict naming what still uses it."""
    try:
        row.delete()
    except ProtectedError as error:
        users = list(error.protected_objects)
        named = ", ".join(f'{user._meta.verbose_name} "{user}"' for user in users[:NAMED_USERS])
        more = f" and {len(users) - NAMED_USERS} more" if len(users) > NAMED_USERS else ""
        raise Conflict(f"The {row._meta.verbose_name} is used by {named}{more}.") from error
