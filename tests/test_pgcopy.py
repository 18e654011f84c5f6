"""The binary COPY encoder against PostgreSQL's own reading of it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from executor import pgcopy
from executor.contacts import microseconds
from executor.pgcopy import Field

TABLE = "CREATE TEMP TABLE t (a int8, b int4, c int2, d float8, at timestamptz, k text)"
INT8 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
ROWS = st.lists(st.tuples(INT8, st.none() | INT8, st.floats(), KEYS), max_size=12)


def load(own: psycopg.Connection, data: list[bytes]) -> None:
    with own.cursor() as cursor, cursor.copy("COPY t FROM STDIN (FORMAT binary)") as stream:
        for piece in data:
            stream.write(piece)


def test_every_type_arrives(pg_dsn: str) -> None:
    at = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
    fields = (
        Field(">i8", np.array([1, -(2**63)])),
        Field(">i4", 7),
        Field(">i2", np.array([1, -2], dtype=np.int16)),
        Field(">f8", np.array([0.1, np.inf])),
        Field(">i8", microseconds(at)),
    )
    with psycopg.connect(pg_dsn) as own:
        own.execute(TABLE)
        load(own, list(pgcopy.encode(fields, pl.Series(["é😀", ""]))))
        rows = own.execute("SELECT * FROM t ORDER BY a DESC").fetchall()
    assert [(*row[:4], row[5]) for row in rows] == [
        (1, 7, 1, 0.1, "é😀"),
        (-(2**63), 7, -2, np.inf, ""),
    ]
    assert {row[4] for row in rows} == {at}


def test_instants_before_2000_are_negative() -> None:
    assert microseconds(datetime(2000, 1, 1, tzinfo=UTC) - timedelta(seconds=1)) == -1_000_000


@settings(derandomize=True, deadline=None, max_examples=60)
@given(batches=st.lists(ROWS, min_size=1, max_size=4))
def check_round_trip(own: psycopg.Connection, batches: list[list[tuple]]) -> None:
    for rows in batches:
        missing = np.array([row[1] is None for row in rows], dtype=np.bool_)
        fields = (
            Field(">i8", np.array([row[0] for row in rows], dtype=np.int64)),
            Field(">i8", np.array([row[1] or 0 for row in rows], dtype=np.int64), missing),
            Field(">f8", np.array([row[2] for row in rows], dtype=np.float64)),
        )
        own.execute("CREATE TEMP TABLE t (a int8, b int8, c float8, k text) ON COMMIT DROP")
        load(own, list(pgcopy.encode(fields, pl.Series([row[3] for row in rows], dtype=pl.String))))
        found = own.execute("SELECT a, b, c, k FROM t").fetchall()
        assert sorted(map(repr, found)) == sorted(map(repr, rows))
        own.rollback()


def test_any_rows_round_trip(pg_dsn: str) -> None:
    with psycopg.connect(pg_dsn) as own:
        check_round_trip(own)
