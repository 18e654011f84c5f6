"""Winners -> the run's own table, by COPY, one transaction per chunk.

The table is no partition yet, so nothing of it is visible; `attach` makes it one.
"""

import io
from collections.abc import Sequence

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from executor.allocation import Winners
from executor.flow.plan import Plan
from executor.freeze import KEY

PARENT = "campaigns_recommendation"
COLUMNS = (
    "run_id",
    "offer_id",
    "channel_id",
    "creative_id",
    "score",
    "chunk",
    "rank",
    "customer_key",
)
#: A COPY message; larger ones only cost memory.
PIECE = 1 << 20


def table_name(run_key: int) -> str:
    return f"{PARENT}_r{run_key}"


def create_table(own: psycopg.Connection, run_key: int) -> None:
    """Create the run's unattached table, unless an earlier attempt has."""
    statement = sql.SQL(
        "CREATE TABLE IF NOT EXISTS {table} (LIKE {parent} INCLUDING DEFAULTS, "
        "CONSTRAINT {check} CHECK (run_id = {run}))"
    )
    own.execute(
        statement.format(
            table=sql.Identifier(table_name(run_key)),
            parent=sql.Identifier(PARENT),
            check=sql.Identifier(f"{table_name(run_key)}_run"),
            run=sql.Literal(run_key),
        )
    )


def drop_table(own: psycopg.Connection, run_key: int) -> None:
    own.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table_name(run_key))))


def result_rows(
    plan: Plan, run_key: int, chunk: int, keys: pl.Series, winners: Winners, scores: np.ndarray
) -> pl.DataFrame:
    """Winners as rows of the table, in the order of COLUMNS."""
    offers = np.array([plan.offers[c.offer].key for c in plan.candidates])
    channels = np.array([plan.channels[c.channel].key for c in plan.candidates])
    creatives = pl.Series([c.creative_key for c in plan.candidates], dtype=pl.Int64)
    return pl.DataFrame(
        {
            "run_id": pl.repeat(run_key, len(winners.row), eager=True),
            "offer_id": offers[winners.candidate],
            "channel_id": channels[winners.candidate],
            "creative_id": creatives.gather(winners.candidate),
            "score": scores,
            "chunk": pl.repeat(chunk, len(winners.row), eager=True),
            "rank": winners.rank,
            "customer_key": keys,
        }
    )


def winner_keys(frame: pl.DataFrame, winners: Winners) -> pl.Series:
    """The customer key of each winner."""
    return frame[KEY].gather(winners.row)


def encode(rows: pl.DataFrame) -> bytes:
    """Rows as the CSV that COPY reads: null is empty, an empty text is quoted."""
    buffer = io.BytesIO()
    rows.write_csv(buffer, include_header=False)
    return buffer.getvalue()


def copy(own: psycopg.Connection, table: str, columns: Sequence[str], data: bytes) -> None:
    """Load encoded rows inside the caller's transaction."""
    statement = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT csv)").format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    with own.cursor() as cursor, cursor.copy(statement) as stream:
        for start in range(0, len(data), PIECE):
            stream.write(data[start : start + PIECE])


def build_index(own: psycopg.Connection, run_key: int) -> None:
    """Index the table before it is attached: unique (run, customer, rank)."""
    statement = sql.SQL(
        "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} (run_id, customer_key, rank)"
    )
    own.execute("SET maintenance_work_mem = '256MB'")
    own.execute(
        statement.format(
            index=sql.Identifier(f"{table_name(run_key)}_once"),
            table=sql.Identifier(table_name(run_key)),
        )
    )


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


def count(own: psycopg.Connection, run_key: int) -> tuple[int, int]:
    """Recommendations in the table, and customers that have one."""
    statement = sql.SQL("SELECT count(*), count(*) FILTER (WHERE rank = 1) FROM {}")
    row = own.execute(statement.format(sql.Identifier(table_name(run_key)))).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row[0], row[1]
