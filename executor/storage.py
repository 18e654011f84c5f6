"""Where frozen chunks, spools, parts and files lie: a folder or an object store.

A key is visible only through the database row that names it, so a leftover object is harmless.
"""

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from django.conf import settings
from obstore.store import LocalStore, ObjectStore, from_url

if TYPE_CHECKING:
    from obstore import WritableFile

#: How files of each format are announced, on HTTP and on S3.
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}

#: Bytes of a part of a copy, and how many may be on their way: what a copy takes of the memory.
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4


@dataclass(frozen=True, slots=True)
class Written:
    """What was written under a key."""

    size_bytes: int
    sha256: str


class Output:
    """An object while it is written: hashes and counts what passes."""

    def __init__(self, writer: "WritableFile") -> None:
        self._writer, self._digest, self._size = writer, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._writer.write(data)
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is complete before the end."""

    @property
    def written(self) -> Written:
        return Written(self._size, self._digest.hexdigest())


class Storage:
    """Bytes under keys. Keys are made by the executor from numbers, never from user input."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "file":
            root = Path(unquote(parts.path))
            root.mkdir(parents=True, exist_ok=True)
            self._store: ObjectStore = LocalStore(prefix=root, mkdir=True)
        else:
            self._store = from_url(url)

    def put(self, key: str, data: bytes) -> Written:
        obstore.put(self._store, key, data)
        return Written(len(data), hashlib.sha256(data).hexdigest())

    def get(self, key: str) -> bytes:
        """Return the object; raises FileNotFoundError when there is none."""
        return bytes(obstore.get(self._store, key).bytes())

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield the object in pieces of bounded size."""
        for piece in obstore.get(self._store, key).stream(min_chunk_size=1 << 20):
            yield bytes(piece)

    @contextmanager
    def create(self, key: str) -> Iterator[Output]:
        """Write one object piece by piece."""
        with obstore.open_writer(self._store, key) as writer:
            yield Output(writer)

    def copy(self, key: str, target: ObjectStore, target_key: str, content_type: str) -> None:
        """Copy the object to another store, where it appears when it is whole, or not at all."""

        async def transfer() -> None:
            source = await obstore.get_async(self._store, key)
            await obstore.put_async(
                target,
                target_key,
                source.stream(min_chunk_size=1 << 20),
                attributes={"Content-Type": content_type},
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

        asyncio.run(transfer())

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what exists of the keys."""
        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue

    def delete_under(self, folder: str, kept: Collection[str] = ()) -> None:
        """Delete every object whose key begins with the path `folder`, except those `kept`."""
        for listed in obstore.list(self._store, prefix=folder):
            self.delete(each["path"] for each in listed if each["path"] not in kept)


def open_storage() -> Storage:
    return Storage(settings.STORAGE_URL)
