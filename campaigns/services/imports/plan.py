"""Decides, before anything is written, how a file becomes the columns of a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from campaigns.models import Schema
from campaigns.services.imports.columns import (
    ROW_NUMBER,
    Column,
    Layout,
    check_key_type,
    column_names,
    given_types,
    key_position,
)
from campaigns.services.imports.csvfile import CsvFile
from campaigns.services.imports.infer import BIGINT, TEXT, TypeFinder, holds
from campaigns.services.imports.load import refuse
from campaigns.services.imports.parquetfile import MAGIC, ParquetFile
from campaigns.services.imports.source import Progress, Source, read_ahead
from executor.errors import Rejected
from executor.flow.types import read_columns


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to read a file, and into what; what is left out is found out."""

    #: Column (as in the file, or its name in the table) -> type; see `columns.TYPES`.
    types: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    encoding: str = ""
    #: Where rows that cannot be loaded are written; None: the first one ends the import.
    skip_bad_rows: Path | None = None
    #: How long `replace` waits for readers of the old table.
    swap_wait_seconds: float = 60.0
    #: What the rows of a new schema are.
    entity_type: str = Schema.EntityType.CUSTOMER


def open_source(path: Path, options: ImportOptions) -> Source:
    """Open a CSV or Parquet file. Raises Rejected when it is neither, or options do not fit."""
    if not path.is_file():
        raise Rejected(("file", f"{path} is not a file"))
    if options.skip_bad_rows and options.skip_bad_rows.resolve() == path.resolve():
        raise Rejected(("skip_bad_rows", "bad rows cannot be written over the file itself"))
    with path.open("rb") as file:
        is_parquet = file.read(len(MAGIC)) == MAGIC
    if not is_parquet:
        return CsvFile.open(
            path, delimiter=_delimiter(options.delimiter), encoding=_encoding(options.encoding)
        )
    if options.delimiter or options.encoding:
        raise Rejected(("file", "a Parquet file has neither delimiter nor encoding"))
    return ParquetFile.open(path)


def new_layout(
    source: Source,
    key: str,
    options: ImportOptions,
    *,
    previous: Mapping[str, str],
    progress: Progress,
) -> Layout:
    """The columns of a new table: given types, the file's own, or what all values are.

    A column that was there before keeps its type when that holds the new values, too. Raises
    Rejected for a bad row, unless those are skipped, and for a file without rows.
    """
    names = column_names(source.headers)
    position = key_position(source.headers, names, key)
    given = given_types(options.types, source.headers, names)
    found = _find_types(source, given, options, progress)
    if position is not None and position not in given and found[position] != BIGINT:
        found[position] = TEXT
    columns = []
    for at, name in enumerate(names):
        kind = found[at]
        before = previous.get(name)
        if before and at not in given and holds(before, {kind} if kind else set()):
            kind = before
        columns.append(Column(name, source.headers[at] or name, kind or TEXT))
    layout = Layout(tuple(columns), position)
    check_key_type(layout.key)
    return layout


def existing_layout(source: Source, schema: Schema, options: ImportOptions) -> Layout:
    """The columns of an imported table in the file's order.

    Raises Rejected when the file has not the same columns, or types are given.
    """
    if options.types:
        raise Rejected(("types", f'"{schema.name}" has its types already'))
    with connection.cursor() as cursor:
        table = read_columns(cursor, schema.relation_schema, schema.relation_name)
    displays = {column.get("displayName"): column["name"] for column in schema.columns}
    names = [
        displays.get(header, name)
        for header, name in zip(source.headers, column_names(source.headers), strict=True)
    ]
    numbered = schema.key_column == ROW_NUMBER and ROW_NUMBER not in names
    errors = [
        *((name, "the file lacks this column") for name in table if name not in names),
        *((name, "the table has no such column") for name in names if name not in table),
    ]
    errors = [error for error in errors if not (numbered and error[0] == ROW_NUMBER)]
    if errors:
        raise Rejected.of(errors)
    columns = [
        Column(name, header or name, table[name].pg_type.name)
        for name, header in zip(names, source.headers, strict=True)
    ]
    return Layout(tuple(columns), None if numbered else names.index(schema.key_column))


def _find_types(
    source: Source, given: Mapping[int, str], options: ImportOptions, progress: Progress
) -> list[str | None]:
    """Types by position; reads the whole file unless it declares them."""
    width = len(source.headers)
    if source.declared:
        return [given.get(at, source.declared[at]) for at in range(width)]
    finder = TypeFinder(width, source.delimiter, given=given)
    row_count = 0
    for batch in read_ahead(source):
        if not options.skip_bad_rows:
            refuse(batch.bad, source.unit)
        finder.look(batch.data, batch.row_count)
        row_count += batch.row_count
        progress("check", batch.position, source.size)
    if not row_count:
        raise Rejected(("file", "there are no rows to import below the header"))
    return finder.types()


def _delimiter(text: str) -> str:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n\\.'):
        raise Rejected(("delimiter", f'"{text}" is not one character such as , ; | or tab'))
    if delimiter.isalnum() or delimiter == " ":
        raise Rejected(("delimiter", f'"{text}" occurs in values: use one such as , ; | or tab'))
    return delimiter


def _encoding(name: str) -> str:
    try:
        "".encode(name or "utf-8")
    except (LookupError, ValueError) as error:
        raise Rejected(
            ("encoding", f'"{name}" is unknown; examples are utf-8, utf-16, cp1252, latin-1')
        ) from error
    return name
