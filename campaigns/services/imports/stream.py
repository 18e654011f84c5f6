"""A text file of any encoding as UTF-8 bytes with line feeds, piece by piece."""

import codecs
from pathlib import Path
from types import TracebackType
from typing import Self

from executor.errors import Rejected

PIECE_BYTES = 8 << 20


class Utf8Stream:
    """Reads forward. Bytes that the encoding does not know come out as they are: invalid UTF-8.

    A UTF-8 file is passed through unseen. `position` is in bytes of the file.
    """

    def __init__(self, path: Path, encoding: str, *, old_mac_lines: bool = False) -> None:
        self._file = path.open("rb")
        self._encoding = encoding
        self._old_mac_lines = old_mac_lines
        self._pending = b""
        plain = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
        self._decoder = None if plain else codecs.getincrementaldecoder(encoding)("surrogateescape")
        self.position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def take(self, size: int) -> bytes:
        """The next `size` bytes, less at the end of the file, nothing after it."""
        pieces, have = [self._pending], len(self._pending)
        while have < size and (piece := self._next(max(size - have, 1 << 16))):
            pieces.append(piece)
            have += len(piece)
        # A single piece is not copied.
        whole = b"".join(filter(None, pieces)) if have > len(pieces[-1]) else pieces[-1]
        self._pending = whole[size:]
        return whole[:size]

    def _next(self, size: int) -> bytes:
        """Some more bytes; empty at the end of the file only."""
        while True:
            at_start = self.position == 0
            raw = self._file.read(size)
            self.position += len(raw)
            piece = self._decoded(raw)
            if at_start:
                piece = piece.removeprefix(codecs.BOM_UTF8)
            if piece or not raw:
                return piece.replace(b"\r", b"\n") if self._old_mac_lines else piece

    def _decoded(self, raw: bytes) -> bytes:
        if self._decoder is None:
            return raw
        try:
            text = self._decoder.decode(raw, final=not raw)
            return text.encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise Rejected(
                ("encoding", f"near byte {self.position} the file is not {self._encoding}")
            ) from error
