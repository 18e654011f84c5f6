"""Winners -> the run's own table, by COPY, one transaction per chunk.

The table is no partition yet, so nothing of it is visible; `attach` makes it one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import psycopg
from django.db import connection
from numpy.typing import NDArray
from psycopg import sql

from executor import pgcopy
from executor.allocation import Winners
from executor.flow.inputs import KEY
from executor.flow.plan import Plan
from executor.pgcopy import Field
from executor.scoring import as_score, true_keys

PARENT = "campaigns_recommendation"
COLUMNS = (
    "run_id",
    "chunk",
    "offer_id",
    "channel_id",
    "creative_id",
    "rank",
    "score",
    "customer_key",
)


@dataclass(frozen=True, slots=True)
class ResultRows:
    """Winners of a chunk as columns of the results, all of one length, in key order."""

    keys: pl.Series
    offers: NDArray[np.int64]
    channels: NDArray[np.int64]
    creatives: NDArray[np.int64]
    without_creative: NDArray[np.bool_]
    ranks: NDArray[np.int16]
    scores: NDArray[np.float64]


def table_name(run_key: int, reopened: int = 0) -> str:
    """The run's own table, or the one beside it for chunks of a run that was opened again."""
    return f"{PARENT}_r{run_key}" + (f"_{reopened}" if reopened else "")


def create_table(own: psycopg.Connection, run_key: int, reopened: int = 0) -> None:
    """Create the run's unattached table, unless an earlier attempt has."""
    statement = sql.SQL(
        "CREATE TABLE IF NOT EXISTS {table} (LIKE {parent} INCLUDING DEFAULTS, "
        "CONSTRAINT {check} CHECK (run_id = {run}))"
    )
    own.execute(
        statement.format(
            table=sql.Identifier(table_name(run_key, reopened)),
            parent=sql.Identifier(PARENT),
            check=sql.Identifier(f"{table_name(run_key, reopened)}_run"),
            run=sql.Literal(run_key),
        )
    )


def drop_table(own: psycopg.Connection, run_key: int, reopened: int = 0) -> None:
    name = sql.Identifier(table_name(run_key, reopened))
    own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def result_rows(plan: Plan, frame: pl.DataFrame, winners: Winners) -> ResultRows:
    """Look up what the winners' rows and candidates stand for."""
    offers = np.array([plan.offers[c.offer].key for c in plan.candidates])
    channels = np.array([plan.channels[c.channel].key for c in plan.candidates])
    creatives = np.array([c.creative_key or 0 for c in plan.candidates])
    return ResultRows(
        keys=frame[KEY].gather(winners.row),
        offers=offers[winners.candidate],
        channels=channels[winners.candidate],
        creatives=creatives[winners.candidate],
        without_creative=creatives[winners.candidate] == 0,
        ranks=winners.rank,
        scores=as_score(true_keys(plan, winners)),
    )


def encode(rows: ResultRows, run_key: int, chunk: int) -> Iterator[bytes]:
    """Rows of the results table in the order of COLUMNS, for a binary COPY."""
    fields = (
        Field(">i8", run_key),
        Field(">i4", chunk),
        Field(">i8", rows.offers),
        Field(">i8", rows.channels),
        Field(">i8", rows.creatives, missing=rows.without_creative),
        Field(">i2", rows.ranks),
        Field(">f8", rows.scores),
    )
    return pgcopy.encode(fields, rows.keys)


def load(rows: ResultRows, run_key: int, chunk: int, reopened: int) -> None:
    """Load the results of a chunk inside the present transaction."""
    data = encode(rows, run_key, chunk)
    copy(connection.connection, table_name(run_key, reopened), COLUMNS, data)


def copy(
    own: psycopg.Connection, table: str, columns: Sequence[str], data: Iterable[bytes]
) -> None:
    """Load encoded rows inside the caller's transaction."""
    statement = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT binary)").format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    with own.cursor() as cursor, cursor.copy(statement) as stream:
        for piece in data:
            stream.write(piece)


def build_index(own: psycopg.Connection, run_key: int) -> None:
    """Index the table before it is attached, unique (run, customer, rank), and analyze it."""
    names = {
        "table": sql.Identifier(table_name(run_key)),
        "index": sql.Identifier(f"{table_name(run_key)}_once"),
    }
    index = "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} (run_id, customer_key, rank)"
    own.execute("SET maintenance_work_mem = '256MB'")
    own.execute(sql.SQL(index).format(**names))
    own.execute(sql.SQL("ANALYZE {table}").format(**names))


def attach(own: psycopg.Connection, run_key: int) -> None:
    """Make the table a partition: its rows become visible when the transaction commits."""
    names = {
        "table": sql.Identifier(table_name(run_key)),
        "index": sql.Identifier(f"{table_name(run_key)}_once"),
        "parent": sql.Identifier(PARENT),
        "run": sql.Literal(run_key),
    }
    own.execute(sql.SQL("ALTER TABLE {table} ADD PRIMARY KEY USING INDEX {index}").format(**names))
    own.execute(
        sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES IN ({run})").format(
            **names
        )
    )


def merge(own: psycopg.Connection, run_key: int, reopened: int) -> None:
    """Add what the run has won since it was opened again; visible when the transaction commits."""
    names = {
        "table": sql.Identifier(table_name(run_key)),
        "more": sql.Identifier(table_name(run_key, reopened)),
        "columns": sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    }
    insert = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {more}"
    own.execute(sql.SQL(insert).format(**names))
    drop_table(own, run_key, reopened)


def count(own: psycopg.Connection, run_key: int, reopened: int = 0) -> tuple[int, int]:
    """Recommendations in the table, and customers that have one."""
    statement = sql.SQL("SELECT count(*), count(*) FILTER (WHERE rank = 1) FROM {}")
    name = sql.Identifier(table_name(run_key, reopened))
    row = own.execute(statement.format(name)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row[0], row[1]
