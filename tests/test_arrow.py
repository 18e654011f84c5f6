"""Record batches from a real driver: values, breaking off, and the other threads meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_postgresql.dbapi
import polars as pl
import psycopg
import pytest

from executor.arrow import ArrowError, Exporter, frames

pytestmark = pytest.mark.django_db(transaction=True)

LOCK = 815


@contextmanager
def streamed(dsn: str, statement: str, *before: str) -> Iterator[Exporter]:
    with adbc_driver_postgresql.dbapi.connect(dsn) as source, source.cursor() as cursor:
        # A batch of a few rows, so that a stream has many.
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": "64"})
        for setting in before:
            cursor.execute(setting)
        cursor.execute(statement)
        yield cursor.fetch_arrow()


def test_batches_together_are_the_rows(pg_dsn: str) -> None:
    statement = (
        "SELECT i, CASE WHEN i % 3 > 0 THEN 'row ' || i END AS t FROM generate_series(1, 999) i"
    )
    with streamed(pg_dsn, statement) as stream:
        batches = list(frames(stream))
    assert len(batches) > 10
    expected = [(i, f"row {i}" if i % 3 else None) for i in range(1, 1000)]
    assert pl.concat(batches).rows() == expected


def test_no_rows_are_no_batches_of_rows(pg_dsn: str) -> None:
    with streamed(pg_dsn, "SELECT 1 AS i WHERE false") as stream:
        assert sum(batch.height for batch in frames(stream)) == 0


def test_says_why_a_stream_breaks_off(pg_dsn: str) -> None:
    with streamed(pg_dsn, "SELECT 1 / (500 - i) AS x FROM generate_series(1, 999) i") as stream:
        seen: list[pl.DataFrame] = []
        with pytest.raises(ArrowError, match="division by zero"):
            seen.extend(frames(stream))
    assert 0 < pl.concat(seen).height < 500


def test_other_threads_run_while_the_server_is_waited_for(pg_dsn: str) -> None:
    """The stream waits for a lock that only another thread of this process can release."""
    statement = (
        f"SELECT i, CASE WHEN i = 900 THEN pg_advisory_xact_lock({LOCK})::text END AS t"
        " FROM generate_series(1, 999) i"
    )
    with psycopg.connect(pg_dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        waiting = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        )

        def release() -> None:
            while holder.execute(waiting, [LOCK]).fetchone() is None:
                pass
            holder.execute("SELECT pg_advisory_unlock(%s)", [LOCK])

        with streamed(pg_dsn, statement, "SET LOCAL lock_timeout = '20s'") as stream:
            thread = threading.Thread(target=release)
            thread.start()
            assert sum(batch.height for batch in frames(stream)) == 999
            thread.join()
