"""Where frozen chunks, spools, parts and files lie: a folder or an object store.

A key is visible only through the database row that names it, so a leftover object is harmless.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from django.conf import settings
from obstore.store import LocalStore, ObjectStore, from_url


@dataclass(frozen=True, slots=True)
class Written:
    """What was written under a key."""

    size_bytes: int
    sha256: str


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

    def write(self, key: str, pieces: Iterable[bytes]) -> Written:
        """Write the pieces one after the other as one object."""
        digest, size = hashlib.sha256(), 0
        with obstore.open_writer(self._store, key) as writer:
            for piece in pieces:
                writer.write(piece)
                digest.update(piece)
                size += len(piece)
        return Written(size, digest.hexdigest())

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what exists of the keys."""
        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue


def open_storage() -> Storage:
    return Storage(settings.STORAGE_URL)
