"""Imports a file of customers in one transaction: all of it happens, or nothing."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.db import IntegrityError, connection, transaction
from psycopg import sql

from campaigns.models import Schema
from campaigns.services.errors import Conflict
from campaigns.services.imports.badrows import BadRowFile
from campaigns.services.imports.columns import ROW_NUMBER, Layout, identifier
from campaigns.services.imports.load import BatchRefused, Target, duplicate, explain, load
from campaigns.services.imports.merge import append_rows, upsert_rows
from campaigns.services.imports.plan import (
    ImportOptions,
    existing_layout,
    new_layout,
    open_source,
)
from campaigns.services.imports.source import Progress, Source
from campaigns.services.imports.swap import refuse_other_readers, swap_tables
from campaigns.services.imports.table import (
    DATA_SCHEMA,
    add_primary_key,
    count_rows,
    create_table,
    describe_columns,
    finish_table,
    settle_session,
)
from campaigns.services.segment_views import recount_segments
from executor.errors import Rejected
from kaireon.access.models import Tenant

_STAGING = sql.Identifier("pg_temp", "import_staging")
_SLUG_CHARACTERS = 40
_NAME_CHARACTERS = 255
_EXISTS = '"{}" exists: choose another name, or the mode replace, append or upsert'


class Mode(StrEnum):
    """What to do with the rows that are there."""

    CREATE = "create"
    REPLACE = "replace"
    APPEND = "append"
    UPSERT = "upsert"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did. `loaded` and `skipped` count rows of the file."""

    schema: Schema
    loaded: int
    skipped: int
    #: How the file was read: encoding and delimiter, or Parquet.
    description: str


@dataclass(frozen=True, slots=True)
class _Job:
    """An import inside its transaction."""

    cursor: Any
    source: Source
    layout: Layout
    bad_rows: BadRowFile | None
    progress: Progress

    def build(self, table: sql.Identifier, *, temporary: bool = False) -> int:
        """Make the table, load the file, index the key; return the number of rows."""
        create_table(self.cursor, table, self.layout, temporary=temporary)
        target = Target(table, self.layout)
        loaded = load(
            self.cursor, self.source, target, bad_rows=self.bad_rows, progress=self.progress
        )
        if not loaded:
            raise Rejected(("file", "there are no rows to import"))
        if not add_primary_key(self.cursor, table, self.layout.key):
            raise duplicate(self.cursor, self.source, target)
        return loaded


def import_customers(
    tenant: Tenant,
    path: Path,
    *,
    schema: str,
    key: str = "",
    mode: str = Mode.CREATE,
    options: ImportOptions | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Load a CSV or Parquet file into the tenant's schema of this name.

    `key` is a column, or `row_number` to number the rows; a schema that exists keeps its own.
    The segments that read it are counted anew. Raises Rejected, with nothing changed, for anything
    wrong with the file or the arguments, and Conflict for what only the present state forbids.
    """
    options = options or ImportOptions()
    progress = progress or _ignore
    existing = _find(tenant, schema.strip(), mode, key)
    source = open_source(path, options)
    if existing and mode != Mode.REPLACE:
        layout = existing_layout(source, existing, options)
    else:
        layout = new_layout(
            source,
            existing.key_column if existing else key,
            options,
            previous=_types(existing),
            progress=progress,
        )
    if mode == Mode.UPSERT and layout.key_position is None:
        raise Rejected(("mode", "rows that are only numbered cannot be matched: use append"))
    skip = options.skip_bad_rows
    with (
        _explained(source, layout),
        BadRowFile(skip) if skip else nullcontext() as bad_rows,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        settle_session(cursor)
        job = _Job(cursor, source, layout, bad_rows, progress)
        if existing is None:
            draft = Schema(tenant=tenant, name=schema.strip(), entity_type=options.entity_type)
            row, loaded = _create(job, draft)
        elif mode == Mode.REPLACE:
            row, loaded = _replace(job, existing, options.swap_wait_seconds)
        else:
            row, loaded = _merge(job, existing, Mode(mode))
    return ImportResult(row, loaded, bad_rows.count if bad_rows else 0, source.description)


def _ignore(phase: str, done: int, total: int) -> None:
    """Progress nobody watches."""


def _find(tenant: Tenant, name: str, mode: str, key: str) -> Schema | None:
    """The schema to change, None to create it. Raises Rejected when the arguments do not fit it."""
    if mode not in list(Mode):
        raise Rejected(("mode", f'"{mode}" is not one of {", ".join(Mode)}'))
    if not 1 <= len(name) <= _NAME_CHARACTERS:
        raise Rejected(("schema", f"a name has 1 to {_NAME_CHARACTERS} characters"))
    existing: Schema | None = Schema.objects.of(tenant).filter(name=name).first()
    if mode == Mode.CREATE:
        if existing:
            raise Conflict(_EXISTS.format(name))
        if not key:
            raise Rejected(("key", f"name the key column, or {ROW_NUMBER} to number the rows"))
        return None
    if existing is None:
        raise Rejected(("schema", f'there is no schema "{name}" to {mode}: use the mode create'))
    if existing.origin != Schema.Origin.IMPORTED:
        raise Rejected(("schema", f'"{name}" is a registered table, which imports never change'))
    if key and key not in _key_names(existing):
        raise Rejected(("key", f'the key of "{name}" is "{existing.key_column}" and stays it'))
    return existing


def _key_names(schema: Schema) -> list[str]:
    displays = [c.get("displayName") for c in schema.columns if c["name"] == schema.key_column]
    return [schema.key_column, *displays]


def _types(schema: Schema | None) -> dict[str, str]:
    return {column["name"]: column["type"] for column in schema.columns} if schema else {}


@contextmanager
def _explained(source: Source, layout: Layout) -> Iterator[None]:
    try:
        yield
    except BatchRefused as refused:
        raise explain(refused.batch, source, layout) from refused.__cause__


def _create(job: _Job, schema: Schema) -> tuple[Schema, int]:
    relation = _new_relation(schema.name)
    schema.origin = Schema.Origin.IMPORTED
    schema.relation_schema, schema.relation_name = DATA_SCHEMA, relation
    schema.key_column = job.layout.key.name
    try:
        with transaction.atomic():
            schema.save()
    except IntegrityError as error:
        raise Conflict(_EXISTS.format(schema.name)) from error
    loaded = job.build(sql.Identifier(DATA_SCHEMA, relation))
    finish_table(job.cursor, sql.Identifier(DATA_SCHEMA, relation), job.layout)
    _describe(job, schema, loaded)
    return schema, loaded


def _replace(job: _Job, existing: Schema, wait_seconds: float) -> tuple[Schema, int]:
    schema = lock_schema(existing)
    refuse_other_readers(job.cursor, schema)
    relation = _new_relation(schema.name)
    table = sql.Identifier(DATA_SCHEMA, relation)
    loaded = job.build(table)
    finish_table(job.cursor, table, job.layout)
    swap_tables(job.cursor, schema, relation, wait_seconds=wait_seconds)
    schema.version += 1
    _describe(job, schema, loaded)
    recount_segments(schema, job.cursor)
    return schema, loaded


def _merge(job: _Job, existing: Schema, mode: Mode) -> tuple[Schema, int]:
    schema = lock_schema(existing)
    table = sql.Identifier(DATA_SCHEMA, schema.relation_name)
    loaded = job.build(_STAGING, temporary=True)
    merge = append_rows if mode == Mode.APPEND else upsert_rows
    merge(job.cursor, _STAGING, table, job.layout)
    job.cursor.execute(sql.SQL("DROP TABLE {}").format(_STAGING))
    job.cursor.execute(sql.SQL("ANALYZE {}").format(table))
    schema.row_count = count_rows(job.cursor, table)
    schema.save(update_fields=["row_count", "updated_at"])
    recount_segments(schema, job.cursor)
    return schema, loaded


def _new_relation(name: str) -> str:
    slug = identifier(name)[:_SLUG_CHARACTERS].strip("_") or "customers"
    return f"ds_{slug}_{secrets.token_hex(4)}"


def lock_schema(schema: Schema) -> Schema:
    """One import of a schema at a time; segments may be made on it meanwhile."""
    found: Schema | None = (
        Schema.objects.of(schema.tenant_id).select_for_update(no_key=True).filter(pk=schema.pk)
    ).first()
    if found is None:
        raise Conflict(f'"{schema.name}" was dropped meanwhile')
    return found


def _describe(job: _Job, schema: Schema, row_count: int) -> None:
    displays = {column.name: column.display for column in job.layout.table_columns}
    schema.columns = describe_columns(job.cursor, DATA_SCHEMA, schema.relation_name, displays)
    schema.row_count = row_count
    schema.save(update_fields=["columns", "row_count", "version", "updated_at"])
