"""One transaction around work on the users' tables, in which PostgreSQL's refusals say why."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection, transaction
from psycopg import errors as pg

from campaigns.services.errors import Conflict
from executor.errors import Rejected
from executor.flow.types import Cursor

#: A run that freezes a big segment holds its view for longer; it is better to say so.
LOCK_TIMEOUT = "5s"


@contextmanager
def explained(seconds: float = 0) -> Iterator[Cursor]:
    """A transaction that waits for no lock for long; each statement may take `seconds`, 0: any.

    Raises Conflict or Rejected in place of the database's errors that a user can act on.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            if seconds:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{seconds}s",))
            yield cursor
    except DatabaseError as error:
        raise _told(error, seconds) from error


def _told(error: DatabaseError, seconds: float) -> Exception:
    cause = error.__cause__
    said = getattr(getattr(cause, "diag", None), "message_primary", None)
    if isinstance(cause, pg.LockNotAvailable | pg.DeadlockDetected):
        return Conflict("The segment or its table is being read or changed; try again in a moment.")
    if isinstance(cause, pg.QueryCanceled) and seconds:
        return Conflict(
            f"Reading the customers takes longer than {seconds:g} seconds, too long to wait for."
        )
    if isinstance(cause, pg.DependentObjectsStillExist):
        return Conflict(f"It is in use: {cause.diag.message_detail}")
    if isinstance(cause, pg.UndefinedTable | pg.UndefinedColumn | pg.InsufficientPrivilege):
        return Conflict(f"The customers cannot be read: {said}")
    if isinstance(cause, pg.DataError):
        return Rejected(f"reading the customers fails: {said}")
    if isinstance(cause, pg.ProgramLimitExceeded):
        return Rejected(f"PostgreSQL cannot hold this: {said}")
    return error
