"""The floor: the least that any program must do that decides outside of PostgreSQL.

It reads the columns the decision needs and discards them, then loads the result rows, which lie
ready in PostgreSQL's binary format, and indexes them.
"""

import mmap
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import psycopg
from psycopg import errors, sql
from psycopg.pq import ExecStatus

from benchmarks.runs import Subject
from executor.results import COLUMNS, PARENT, table_name
from executor.spec import VIEW_SCHEMA

PIECE = 1 << 20
INDEX_COLUMNS = sql.SQL("run_id, customer_key, rank")


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds of one round."""

    read: float
    write: float

    @property
    def total(self) -> float:
        return self.read + self.write


def settle(own: psycopg.Connection) -> None:
    """Have the server write down what earlier steps left in memory, if it lets us."""
    with suppress(errors.InsufficientPrivilege):
        own.execute("CHECKPOINT")


@contextmanager
def encoded_results(own: psycopg.Connection, run_key: int) -> Iterator[mmap.mmap]:
    """The results of a run as bytes that COPY takes, in a file that is gone afterwards."""
    statement = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT binary)").format(
        sql.Identifier(table_name(run_key)), _columns()
    )
    with tempfile.TemporaryFile() as file:
        receive(own, statement, file)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def read_floor(own: psycopg.Connection, subject: Subject) -> float:
    """Seconds to receive the columns that the decision uses, in binary format and in any order."""
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(map(sql.Identifier, used_columns(subject))),
        sql.Identifier(VIEW_SCHEMA, subject.view),
    )
    start = time.perf_counter()
    receive(own, statement)
    return time.perf_counter() - start


def receive(
    own: psycopg.Connection, statement: sql.Composed, file: IO[bytes] | None = None
) -> None:
    """Execute a COPY TO STDOUT and write what it sends to `file`, or discard it.

    psycopg's copy() would spend as much on each row as the server does, so this asks libpq.
    """
    own.pgconn.exec_(statement.as_bytes(own))
    size, data = own.pgconn.get_copy_data(0)
    while size > 0:
        if file:
            file.write(data)
        size, data = own.pgconn.get_copy_data(0)
    while result := own.pgconn.get_result():
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.get_error_message())


def used_columns(subject: Subject) -> list[str]:
    return [subject.key_column, *sorted(subject.plan.columns)]


def write_floor(own: psycopg.Connection, table: str, data: mmap.mmap) -> float:
    """Seconds to load and index the rows.

    All in one transaction: with wal_level=minimal PostgreSQL then writes no log for the table.
    """
    name = sql.Identifier(table)
    create = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS)")
    load = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(name, _columns())
    own.execute("SET maintenance_work_mem = '256MB'")
    start = time.perf_counter()
    with own.transaction(), own.cursor() as cursor:
        cursor.execute(create.format(name, sql.Identifier(PARENT)))
        with cursor.copy(load) as copy:
            for place in range(0, len(data), PIECE):
                copy.write(data[place : place + PIECE])
        build_index(own, table)
    seconds = time.perf_counter() - start
    own.execute(sql.SQL("DROP TABLE {}").format(name))
    return seconds


def build_index(own: psycopg.Connection, table: str) -> None:
    """The index a run builds over its results."""
    statement = sql.SQL("CREATE UNIQUE INDEX ON {} ({})")
    own.execute(statement.format(sql.Identifier(table), INDEX_COLUMNS))


def _columns() -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
