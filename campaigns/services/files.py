"""Reading the published files of a run."""

from collections.abc import Iterator
from itertools import chain

from campaigns.models import RunFile
from executor.storage import CONTENT_TYPES, open_storage


def open_file(file: RunFile) -> Iterator[bytes]:
    """Return the bytes in pieces. Raises FileNotFoundError at once, not while streaming."""
    pieces = open_storage().stream(file.storage_key)
    return chain((next(pieces, b""),), pieces)


def content_type(file: RunFile) -> str:
    return CONTENT_TYPES.get(file.format, "application/octet-stream")
