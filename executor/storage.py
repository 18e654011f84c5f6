"""Where frozen chunks, spools, parts and files lie: a folder or an object store.

A key is visible only through the database row that names it, so a leftover object is harmless.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from django.conf import settings
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from executor.bucket import open_bucket, reason
from executor.errors import Unavailable

if TYPE_CHECKING:
    from obstore import WritableFile

#: How files of each format are announced, on HTTP and on S3.
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}

#: Bytes of a part of an upload, and how many may be on their way: what one takes of the memory.
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4
#: Bytes of a large object that one request reads, so that none has to last as long as its reader.
PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What was written under a key."""

    size_bytes: int
    sha256: str


class Output:
    """An object while it is written: hashes and counts what passes."""

    def __init__(self, writer: "WritableFile") -> None:
        self._writer, self._digest, self._size = writer, hashlib.sha256(), 0
        #: What kept it from being written; whoever writes may have put another error in its place.
        self.fault: Unavailable | None = None

    def write(self, data: bytes) -> int:
        try:
            with reached():
                self._writer.write(data)
        except Unavailable as error:
            self.fault = error
            raise
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is complete before the end."""

    @property
    def written(self) -> Written:
        return Written(self._size, self._digest.hexdigest())


@contextmanager
def reached() -> Iterator[None]:
    """Tell a storage that cannot be used from an object that is not there: FileNotFoundError.

    The same request succeeds once the server, the disk, the bucket or the credentials are well.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            raise
        raise Unavailable(f"the storage cannot be used: {reason(error)}") from error


class Storage:
    """Bytes under keys. Keys are made by the executor from numbers, never from user input.

    Every method raises Unavailable when the storage cannot be used for now.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        path = unquote(parts.path)
        self._bulk = parts.scheme == "s3"
        with reached():
            if self._bulk:
                self._store: ObjectStore = open_bucket(parts.netloc, path.strip("/"))
            else:
                Path(path).mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(prefix=path, mkdir=True)

    def put(self, key: str, data: bytes) -> Written:
        with reached():
            obstore.put(self._store, key, data)
        return Written(len(data), hashlib.sha256(data).hexdigest())

    def get(self, key: str) -> bytes:
        """Return the object; raises FileNotFoundError when there is none."""
        with reached():
            return bytes(obstore.get(self._store, key).bytes())

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield the object in pieces of bounded size."""
        with reached():
            found = obstore.get(self._store, key)
            size = found.meta["size"]
            whole = bytes(found.bytes()) if size <= PIECE_BYTES else None
        if whole is not None:
            yield whole
            return
        del found
        for start in range(0, size, PIECE_BYTES):
            with reached():
                piece = obstore.get_range(
                    self._store, key, start=start, end=min(start + PIECE_BYTES, size)
                )
            yield bytes(piece)

    @contextmanager
    def create(self, key: str) -> Iterator[Output]:
        """Write one object piece by piece; it appears when the block ends, if without an error."""
        with (
            reached(),
            obstore.open_writer(
                self._store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            ) as writer,
        ):
            out = Output(writer)
            try:
                yield out
            except Exception as error:
                if out.fault in (None, error):
                    raise
                raise out.fault from error

    def copy(self, key: str, target: ObjectStore, target_key: str, content_type: str) -> None:
        """Copy the object to another store, where it appears when it is whole, or not at all."""
        whole = self.stream(key)

        async def pieces() -> AsyncIterator[bytes]:
            # In a thread of Python's: the library cannot wait within its own.
            while (piece := await asyncio.to_thread(next, whole, None)) is not None:
                yield piece

        async def transfer() -> None:
            await obstore.put_async(
                target,
                target_key,
                pieces(),
                attributes={"Content-Type": content_type},
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

        asyncio.run(transfer())

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what exists of the keys."""
        with reached():
            if self._bulk:
                obstore.delete(self._store, [*keys])
                return
        for key in keys:
            try:
                with reached():
                    obstore.delete(self._store, key)
            except FileNotFoundError:
                continue

    def delete_under(self, folder: str, kept: Collection[str] = ()) -> None:
        """Delete every object whose key begins with the path `folder`, except those `kept`."""
        with reached():
            for listed in obstore.list(self._store, prefix=folder):
                self.delete(each["path"] for each in listed if each["path"] not in kept)


def open_storage() -> Storage:
    return Storage(settings.STORAGE_URL)
