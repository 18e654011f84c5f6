"""A Parquet file as a source of customers: its own types, rows handed on as CSV."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
from polars import selectors
from polars.datatypes import DataType, DataTypeClass
from polars.exceptions import PolarsError

from campaigns.services.imports.records import Record, scan
from campaigns.services.imports.source import Batch
from executor.errors import Rejected

MAGIC = b"PAR1"
_BATCH_ROWS = 1 << 17

_TYPES: dict[DataTypeClass, str] = {
    **dict.fromkeys((pl.Int8, pl.Int16, pl.Int32, pl.Int64), "bigint"),
    **dict.fromkeys((pl.UInt8, pl.UInt16, pl.UInt32), "bigint"),
    **dict.fromkeys((pl.UInt64, pl.Int128, pl.Decimal), "numeric"),
    **dict.fromkeys((pl.Float32, pl.Float64), "double precision"),
    pl.Boolean: "boolean",
    pl.Date: "date",
    pl.Datetime: "timestamp with time zone",
    **dict.fromkeys((pl.String, pl.Categorical, pl.Enum, pl.Time, pl.Null), "text"),
}


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """Rows are numbered from 1; timestamps without a zone are taken as UTC."""

    path: Path
    headers: tuple[str, ...]
    declared: dict[int, str]
    row_count: int
    size: int
    modified: int
    unit: str = "row"
    delimiter: str = ","
    description: str = "Parquet"

    @classmethod
    def open(cls, path: Path) -> "ParquetFile":
        """Read the file's own schema. Raises Rejected for a column no table can hold."""
        status = path.stat()
        try:
            schema = pl.scan_parquet(path, glob=False).collect_schema()
            row_count = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        except PolarsError as error:
            raise Rejected(("file", f"{path} is not a Parquet file: {error}")) from error
        unknown = [f'"{name}" ({kind})' for name, kind in schema.items() if _type(kind) is None]
        if unknown:
            raise Rejected(
                ("file", f"columns of types that cannot be imported: {', '.join(unknown)}")
            )
        declared = {position: _type(kind) or "" for position, kind in enumerate(schema.values())}
        return cls(path, tuple(schema), declared, row_count, status.st_size, status.st_mtime_ns)

    def batches(self) -> Iterator[Batch]:
        """Read the rows in file order. Raises Rejected when the file changes meanwhile."""
        frame = pl.scan_parquet(self.path, glob=False).with_columns(
            selectors.datetime(time_zone="*")
            .dt.convert_time_zone("UTC")
            .dt.replace_time_zone(None),
            selectors.time().dt.to_string("%H:%M:%S%.f"),
        )
        for start in range(0, self.row_count, _BATCH_ROWS):
            rows = self._read(frame.slice(start, _BATCH_ROWS))
            data = rows.write_csv(
                include_header=False,
                datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
                # A bare \. alone on its line would end the data of COPY.
                quote_style="non_numeric" if len(self.headers) == 1 else "necessary",
            ).encode()
            done = start + rows.height
            position = self.size * done // self.row_count
            yield Batch(data, (), rows.height, position, partial(_records, data, start + 1))

    def _read(self, frame: pl.LazyFrame) -> pl.DataFrame:
        try:
            rows: pl.DataFrame = frame.collect()
        except (PolarsError, OSError) as error:
            raise Rejected(("file", f"{self.path} cannot be read: {error}")) from error
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            raise Rejected(("file", f"{self.path} changed while it was read"))
        return rows


def _type(kind: DataType) -> str | None:
    return _TYPES.get(kind.base_type())


def _records(data: bytes, first_row: int) -> list[Record]:
    records = scan(data, ",", final=True).records
    return [replace(record, line=first_row + at) for at, record in enumerate(records)]
