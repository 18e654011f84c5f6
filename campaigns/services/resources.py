"""Making, changing and deleting the rows a campaign is built from."""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Model, ProtectedError, UniqueConstraint
from psycopg.errors import UniqueViolation

from campaigns.models.configured import Configured
from campaigns.services.errors import Conflict
from campaigns.services.references import users_of
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
            raise Conflict(already_there(row, error.__cause__)) from error
        raise
    row.refresh_from_db()


def already_there(row: Configured, error: UniqueViolation) -> str:
    """Say what another row has in common with this one."""
    fields: Sequence[str] = next(
        (
            constraint.fields
            for constraint in row._meta.constraints
            if isinstance(constraint, UniqueConstraint)
            and constraint.name == error.diag.constraint_name
        ),
        ("name",),
    )
    # All of one tenant, and the name of a field is what is best known of a row.
    words = [name.replace("_", " ") for name in reversed(fields) if name != "tenant"]
    return f"There is a {row._meta.verbose_name} with this {' and '.join(words)} already."


def delete_row(row: Configured) -> None:
    """Delete the row and what its kind takes along. Raises Conflict naming what still uses it."""
    with transaction.atomic():
        users = users_of(row)
        if users:
            raise Conflict(in_use(row, users))
        try:
            row.delete()
        except ProtectedError as error:
            raise Conflict(in_use(row, list(error.protected_objects))) from error


def in_use(row: Configured, users: Sequence[Model]) -> str:
    named = ", ".join(f'{user._meta.verbose_name} "{user}"' for user in users[:NAMED_USERS])
    more = f" and {len(users) - NAMED_USERS} more" if len(users) > NAMED_USERS else ""
    return f"The {row._meta.verbose_name} is used by {named}{more}."
