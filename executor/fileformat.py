"""The formats of a file: how the lines of a chunk become a part, and the parts one file.

A file's bytes follow from its lines alone, however these were cut into chunks, and joining the
parts takes memory for a few of them at most.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

import polars as pl
from polars.io.plugins import register_io_source

from executor.storage import Output

#: A stored part, piece by piece.
Part = Iterable[bytes]
#: Lines of a Parquet row group.
GROUP_ROWS = 131_072


class FileFormat(Protocol):
    def encode(self, lines: pl.DataFrame) -> bytes:
        """The part of one chunk."""

    def join(self, schema: pl.Schema, parts: Iterable[Part], out: Output) -> None:
        """Write the whole file; without parts an empty one, with the columns of `schema`."""


class Csv:
    """RFC 4180: a header, then the parts as they are."""

    def encode(self, lines: pl.DataFrame) -> bytes:
        buffer = io.BytesIO()
        lines.write_csv(buffer, include_header=False, line_terminator="\r\n")
        return buffer.getvalue()

    def join(self, schema: pl.Schema, parts: Iterable[Part], out: Output) -> None:
        header = io.BytesIO()
        pl.DataFrame(schema=schema).write_csv(header, line_terminator="\r\n")
        out.write(header.getvalue())
        for part in parts:
            for piece in part:
                out.write(piece)


class Json:
    """RFC 8259: an array with an object on each line, its keys in the order of the columns."""

    def encode(self, lines: pl.DataFrame) -> bytes:
        buffer = io.BytesIO()
        lines.write_ndjson(buffer)
        # A line break within a text is written as \n, so every real one ends an object.
        return buffer.getvalue().removesuffix(b"\n").replace(b"\n", b",\n")

    def join(self, schema: pl.Schema, parts: Iterable[Part], out: Output) -> None:
        out.write(b"[")
        before = b"\n"
        for part in parts:
            first = True
            for piece in filter(None, part):
                out.write(before + piece if first else piece)
                before, first = b",\n", False
        out.write(b"\n]\n")


class Parquet:
    """Row groups of GROUP_ROWS lines, whatever the chunks were, which are Arrow files."""

    def encode(self, lines: pl.DataFrame) -> bytes:
        buffer = io.BytesIO()
        lines.write_ipc(buffer, compression="lz4")
        return buffer.getvalue()

    def join(self, schema: pl.Schema, parts: Iterable[Part], out: Output) -> None:
        def read(*_: object) -> Iterator[pl.DataFrame]:
            for part in parts:
                yield pl.read_ipc(b"".join(part))

        register_io_source(read, schema=schema).sink_parquet(
            cast(io.BytesIO, out),  # of a file it needs no more than what an Output has
            row_group_size=GROUP_ROWS,
            compression="zstd",
            maintain_order=True,
            engine="streaming",
        )


FORMATS: Mapping[str, FileFormat] = {"csv": Csv(), "json": Json(), "parquet": Parquet()}
