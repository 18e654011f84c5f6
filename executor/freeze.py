"""Segment view -> one consistent statement -> numbered Parquet chunks.

After the freeze nothing reads a customer table: retries, explanations and replays see these rows.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import adbc_driver_postgresql.dbapi
import polars as pl
from django.db import connection
from psycopg import sql

from executor.arrow import ArrowError, frames
from executor.errors import Broken, Rejected, Retryable
from executor.flow.types import Column, column_sql, read_columns
from executor.progress import Lease
from executor.spec import VIEW_SCHEMA, RunSpec
from executor.storage import Storage
from kaireon.database.base import dsn

KEY, HASH = "_key", "_hash"


@dataclass(frozen=True, slots=True)
class FrozenChunk:
    """A line of the manifest: `customers` rows, ordered by key, under a storage key."""

    number: int
    customers: int
    input_key: str
    sha256: str


def freeze(
    spec: RunSpec,
    columns: frozenset[str],
    *,
    hashed: bool,
    storage: Storage,
    lease: Lease,
    look: Callable[[int, pl.DataFrame], None],
) -> list[FrozenChunk]:
    """Write the segment's customers as chunks of `spec.chunk_rows`, in key order.

    `hashed` adds h(key), the first 8 bytes of md5(salt || key), where a stage breaks ties by it.
    `look` is shown each chunk's number and rows. Raises Rejected naming the key when one is null
    or stands twice.
    """
    statement = freeze_sql(spec, columns, hashed=hashed)
    manifest: list[Future[FrozenChunk]] = []
    with ThreadPoolExecutor(1) as writer:
        for number, frame in enumerate(_chunks(_batches(statement), spec.chunk_rows)):
            lease.check()
            lease.done = number * spec.chunk_rows + frame.height
            key = f"runs/{lease.run_key}/{lease.token}/input/{number:06d}.parquet"
            manifest.append(writer.submit(_write, storage, key, number, frame))
            look(number, frame)
            if number >= 2:  # at most two chunks wait for the disk
                manifest[number - 2].result()
        return [future.result() for future in manifest]


def read_chunk(storage: Storage, input_key: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Read all or some columns of a frozen chunk. Raises Broken when it is not there."""
    try:
        return pl.read_parquet(storage.get(input_key), columns=columns)
    except FileNotFoundError as error:
        raise Broken(f"the frozen input {input_key} has expired or was deleted") from error


def freeze_sql(spec: RunSpec, columns: frozenset[str], *, hashed: bool) -> str:
    """The one statement of the freeze: key, optional h(key), and each column through its cast."""
    with connection.cursor() as cursor:
        known = read_columns(cursor, VIEW_SCHEMA, spec.view)
        if spec.key_column not in known:
            raise Rejected(f'the segment has no key column "{spec.key_column}"')
        key = _key_sql(known[spec.key_column])
        selected = [key + sql.SQL(" AS ") + sql.Identifier(KEY)]
        if hashed:
            md5 = sql.SQL("('x' || left(md5({salt} || {key}), 16))::bit(64)::bigint AS {name}")
            selected.append(
                md5.format(salt=sql.Literal(spec.salt), key=key, name=sql.Identifier(HASH))
            )
        for name in sorted(columns):
            cast, _ = column_sql(sql.Identifier(name), _column(known, name).pg_type)
            selected.append(cast + sql.SQL(" AS ") + sql.Identifier(name))
        statement = sql.SQL("SELECT {columns} FROM {view} ORDER BY {key}").format(
            columns=sql.SQL(", ").join(selected),
            view=sql.Identifier(VIEW_SCHEMA, spec.view),
            key=key,
        )
        return statement.as_string(cursor.cursor)


def _key_sql(column: Column) -> sql.Composable:
    cast, _ = column_sql(sql.Identifier(column.name), column.pg_type)
    return sql.SQL('({key})::text COLLATE "C"').format(key=cast)


def _column(known: Mapping[str, Column], name: str) -> Column:
    if name not in known:
        raise Rejected(f'the segment no longer has the column "{name}" that the flow reads')
    return known[name]


def _batches(statement: str) -> Iterator[pl.DataFrame]:
    """Stream the statement's rows from one snapshot, in pieces as the driver receives them."""
    try:
        with adbc_driver_postgresql.dbapi.connect(dsn()) as source, source.cursor() as cursor:
            # Tuned for one wide, ordered read; a small sort memory stays in the CPU's cache.
            cursor.execute("SET LOCAL work_mem = '16MB'")
            cursor.execute("SET LOCAL jit = off")
            cursor.execute(statement)
            yield from frames(cursor.fetch_arrow())
    except (adbc_driver_postgresql.dbapi.OperationalError, ArrowError) as error:
        raise Retryable(f"reading the segment failed: {error}") from error


def _chunks(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Cut the stream into chunks of exactly `rows` customers, the last one shorter."""
    held: list[pl.DataFrame] = []
    height, last_key = 0, None
    for batch in batches:
        last_key = _check_keys(batch[KEY], last_key)
        held.append(batch)
        height += batch.height
        while height >= rows:
            whole = pl.concat(held)
            yield whole[:rows]
            held, height = [whole[rows:]], height - rows
    if height:
        yield pl.concat(held)


def _check_keys(keys: pl.Series, last_key: str | None) -> str | None:
    """Refuse null and repeated keys; rows come ordered, so equal keys are neighbours."""
    if keys.is_empty():
        return last_key
    if keys.null_count():
        raise Rejected(f"{keys.null_count()} customers of the segment have no key (it is null)")
    repeated = keys.filter(keys == keys.shift(1))
    if keys[0] == last_key or not repeated.is_empty():
        name = last_key if keys[0] == last_key else repeated[0]
        raise Rejected(f'the customer key "{name}" stands more than once in the segment')
    return str(keys[-1])


def _write(storage: Storage, key: str, number: int, frame: pl.DataFrame) -> FrozenChunk:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="lz4", statistics=False)
    written = storage.put(key, buffer.getvalue())
    return FrozenChunk(number, frame.height, key, written.sha256)
