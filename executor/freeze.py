"""Segment view -> one consistent statement -> numbered Parquet chunks.

After the freeze nothing reads a customer table: retries, explanations and replays see these rows.
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import adbc_driver_postgresql.dbapi
import polars as pl
from django.db import connection

from executor.arrow import ArrowError, frames
from executor.errors import Broken, Rejected, Retryable
from executor.flow.inputs import HASH, KEY, Inputs
from executor.freezing_sql import freezing_sql, short_name
from executor.progress import Lease
from executor.spec import RunSpec
from executor.storage import Storage
from kaireon.database.base import dsn

__all__ = ("HASH", "KEY", "FrozenChunk", "freeze", "freeze_sql", "read_chunk")

NONE = Inputs()


@dataclass(frozen=True, slots=True)
class FrozenChunk:
    """A line of the manifest: `customers` rows, ordered by key, under a storage key."""

    number: int
    customers: int
    input_key: str
    sha256: str
    first_key: str
    last_key: str


def freeze(
    spec: RunSpec,
    columns: frozenset[str],
    *,
    hashed: bool,
    storage: Storage,
    lease: Lease,
    look: Callable[[int, pl.DataFrame], pl.DataFrame],
    inputs: Inputs = NONE,
) -> list[FrozenChunk]:
    """Write the segment's customers as chunks of `spec.chunk_rows`, in key order.

    `hashed` adds h(key), the first 8 bytes of md5(salt || key), where a stage breaks ties by it;
    `inputs` adds all its flags and metrics, and the columns of enrichments that `columns` names.
    `look` is shown each chunk's number and rows, and returns the rows to freeze: it may put columns
    beside them. Raises Rejected naming the key when one is null
    or stands twice.
    """
    statement = freeze_sql(spec, columns, inputs, hashed=hashed)
    names = {short_name(name): name for name in columns if short_name(name) != name}
    batches = (frame.rename(names) for frame in _batches(statement, joined=inputs != NONE))
    manifest: list[Future[FrozenChunk]] = []
    with ThreadPoolExecutor(1) as writer:
        for number, frame in enumerate(_chunks(batches, spec.chunk_rows)):
            lease.check()
            lease.done = number * spec.chunk_rows + frame.height
            frame = look(number, frame)
            key = f"runs/{lease.run_key}/{lease.token}/input/{number:06d}.parquet"
            manifest.append(writer.submit(_write, storage, key, number, frame))
            if number >= 2:  # at most two chunks wait for the disk
                manifest[number - 2].result()
        return [future.result() for future in manifest]


def read_chunk(storage: Storage, input_key: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Read all or some columns of a frozen chunk. Raises Broken when it is not there."""
    try:
        return pl.read_parquet(storage.get(input_key), columns=columns)
    except FileNotFoundError as error:
        raise Broken(f"the frozen input {input_key} has expired or was deleted") from error


def freeze_sql(
    spec: RunSpec, columns: frozenset[str], inputs: Inputs = NONE, *, hashed: bool
) -> str:
    """The one statement of the freeze, as text."""
    with connection.cursor() as cursor:
        statement = freezing_sql(cursor, spec, columns, inputs, hashed=hashed)
        return statement.as_string(cursor.cursor)


def _batches(statement: str, *, joined: bool) -> Iterator[pl.DataFrame]:
    """Stream the statement's rows from one snapshot, in pieces as the driver receives them."""
    try:
        with adbc_driver_postgresql.dbapi.connect(dsn()) as source, source.cursor() as cursor:
            # Tuned for one wide, ordered read; a small sort memory stays in the CPU's cache.
            cursor.execute("SET LOCAL work_mem = '16MB'")
            cursor.execute("SET LOCAL jit = off")
            if joined:  # whatever it thinks of tables that are new: never row by row
                cursor.execute("SET LOCAL enable_nestloop = off")
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
    keys = frame[KEY]
    return FrozenChunk(number, frame.height, key, written.sha256, keys[0], keys[-1])
