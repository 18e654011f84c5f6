"""Importing into a schema that exists: replace, append, upsert; and the command that does it."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from campaigns.models import Schema, Segment
from campaigns.services.errors import Conflict
from campaigns.services.imports import ImportOptions, ImportResult, import_customers
from campaigns.services.segments import create_segment
from executor.errors import Rejected
from kaireon.access.models import Tenant
from tests.customer_tables import execute, view_rows
from tests.factories import SchemaFactory, TenantFactory

pytestmark = pytest.mark.usefixtures("clean_relations")


def load(tenant: Tenant, folder: Path, text: str, mode: str, **arguments: Any) -> ImportResult:
    path = folder / "customers.csv"
    path.write_text(text)
    return import_customers(tenant, path, schema="Customers", mode=mode, **arguments)


def create(tenant: Tenant, folder: Path, text: str, key: str = "id") -> Schema:
    return load(tenant, folder, text, "create", key=key).schema


def table() -> list[tuple[Any, ...]]:
    schema = Schema.unscoped.get()
    return execute(f'SELECT * FROM data.{schema.relation_name} ORDER BY "{schema.key_column}"')


def tables() -> list[str]:
    return [name for (name,) in execute("SELECT relname FROM pg_class WHERE relname ~ '^ds_'")]


def rich(schema: Schema) -> Segment:
    filters = [{"field": "balance", "operator": "gte", "value": 100}]
    return create_segment(schema.tenant, name="Rich", base_schema=schema, filters=filters)


def assert_unchanged(schema: Schema, rows: list[tuple[Any, ...]]) -> None:
    stored = Schema.unscoped.get()
    assert (stored.columns, stored.row_count) == (schema.columns, schema.row_count)
    assert stored.relation_name == schema.relation_name
    assert sorted(tables()) == [schema.relation_name, f"{schema.relation_name}_pkey"]
    assert table() == rows


def test_create_refuses_a_name_that_exists(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "id,a\n1,2\n")
    with pytest.raises(Conflict) as refused:
        create(tenant, tmp_path, "id,a\n3,4\n")
    assert str(refused.value) == (
        '"Customers" exists: choose another name, or the mode replace, append or upsert'
    )
    assert_unchanged(schema, [(1, 2)])


def test_each_tenant_has_its_own_names(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id,a\n1,2\n")
    create(TenantFactory(), tmp_path, "id,a\n1,2\n")
    assert Schema.unscoped.count() == 2


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_other_modes_need_a_schema(tenant: Tenant, tmp_path: Path, mode: str) -> None:
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "id,a\n1,2\n", mode)
    assert str(refused.value) == (
        f'schema: there is no schema "Customers" to {mode}: use the mode create'
    )
    assert not Schema.unscoped.exists()


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_registered_tables_are_never_changed(tenant: Tenant, tmp_path: Path, mode: str) -> None:
    SchemaFactory(tenant=tenant, name="Customers", origin="registered")
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "id,a\n1,2\n", mode)
    assert str(refused.value) == (
        'schema: "Customers" is a registered table, which imports never change'
    )


def test_the_key_stays(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "Id,a\n1,2\n", key="Id")
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "Id,a\n3,4\n", "replace", key="a")
    assert str(refused.value) == 'key: the key of "Customers" is "id" and stays it'
    load(tenant, tmp_path, "Id,a\n3,4\n", "replace", key="Id")
    assert table() == [(3, 4)]


def test_replace_swaps_the_table_under_its_segments(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "id,balance\n1,50\n2,500\n")
    segment = rich(schema)
    result = load(tenant, tmp_path, "name,balance,id\nAnn,100,7\nBob,9,8\n", "replace")
    assert view_rows(segment) == [("Ann", 100, 7)]
    assert (result.schema.pk, result.schema.row_count) == (schema.pk, 2)
    assert [column["name"] for column in result.schema.columns] == ["name", "balance", "id"]
    relation = schema.relation_name
    assert result.schema.relation_name == relation
    assert sorted(tables()) == [relation, f"{relation}_pkey"]


def test_replace_keeps_types_that_hold_the_new_values(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id,a,b,c,d\nx,1.5,2024-01-01T00:00,5,1\n")
    result = load(tenant, tmp_path, "id,a,b,c,d\n1,2,2024-01-01,,2.5\n", "replace")
    assert [column["type"] for column in result.schema.columns] == [
        "text",
        "double precision",
        "timestamp with time zone",
        "bigint",
        "double precision",
    ]


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("id,other\n1,2\n", '"balance" was bigint, is gone'),
        ("id,balance\n1,much\n", '"balance" was bigint, is text'),
    ],
)
def test_replace_refuses_what_a_segment_cannot_read(
    tenant: Tenant, tmp_path: Path, text: str, change: str
) -> None:
    schema = create(tenant, tmp_path, "id,balance\n1,50\n2,500\n")
    segment = rich(schema)
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, text, "replace")
    assert [path for path, _ in refused.value.errors] == ['segment "Rich"', "columns"]
    assert refused.value.errors[1] == ("columns", change)
    assert_unchanged(schema, [(1, 50), (2, 500)])
    assert view_rows(segment) == [(2, 500)]


def test_replace_refuses_while_another_view_reads_the_table(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "id,a\n1,2\n")
    execute(f"CREATE VIEW report AS SELECT * FROM data.{schema.relation_name}")
    with pytest.raises(Conflict) as refused:
        load(tenant, tmp_path, "id,a\n3,4\n", "replace")
    execute("DROP VIEW report")
    assert str(refused.value) == '"Customers" is read by views of others: public.report'
    assert_unchanged(schema, [(1, 2)])


def test_replace_gives_up_while_a_reader_holds_on(
    tenant: Tenant, tmp_path: Path, pg_dsn: str
) -> None:
    schema = create(tenant, tmp_path, "id,balance\n1,500\n")
    segment = rich(schema)
    with psycopg.connect(pg_dsn) as reader:
        reader.execute(f"SELECT * FROM segments.{segment.view_name}")
        options = ImportOptions(swap_wait_seconds=0.1)
        with pytest.raises(Conflict) as refused:
            load(tenant, tmp_path, "id,balance\n3,4\n", "replace", options=options)
    assert str(refused.value) == (
        '"Customers" was being read for all of 0.1 seconds, so its table could not be'
        " replaced; try again later"
    )
    assert_unchanged(schema, [(1, 500)])
    assert view_rows(segment) == [(1, 500)]


def test_append_adds_rows_by_name(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id,First name\n1,Ann\n")
    result = load(tenant, tmp_path, "First name,id\nBob,2\n", "append")
    assert table() == [(1, "Ann"), (2, "Bob")]
    assert (result.loaded, result.schema.row_count) == (1, 2)


def test_append_goes_on_numbering(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "a\nx\ny\n", key="row_number")
    load(tenant, tmp_path, "a\nz\nz\n", "append")
    assert table() == [(1, "x"), (2, "y"), (3, "z"), (4, "z")]


def test_append_skips_bad_rows_without_gaps(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "a\n10\n", key="row_number")
    options = ImportOptions(skip_bad_rows=tmp_path / "bad.csv")
    result = load(tenant, tmp_path, "a\n20\nx\n30\n", "append", options=options)
    assert table() == [(1, 10), (2, 20), (3, 30)]
    assert (result.loaded, result.skipped, result.schema.row_count) == (2, 1, 3)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("id,a\n2,3\n1,4\n", 'file: column "id": "1" exists already'),
        ("id,a\n2,3\n2,4\n", 'file: column "id": "2" occurs more than once (lines 2 and 3)'),
        ("id,b\n2,3\n", "a: the file lacks this column; b: the table has no such column"),
        ("id,a\n2,x\n", 'line 2: column "a": "x" is not of type bigint'),
        ("id,a\n2,3\n\n4\n", "line 4: 1 field instead of 2"),
        ("id,a\n", "file: there are no rows to import"),
    ],
)
def test_append_refuses_and_adds_nothing(
    tenant: Tenant, tmp_path: Path, text: str, error: str
) -> None:
    schema = create(tenant, tmp_path, "id,a\n1,2\n")
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, text, "append")
    assert str(refused.value) == error
    assert_unchanged(schema, [(1, 2)])


def test_append_takes_no_types(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id,a\n1,2\n")
    options = ImportOptions(types={"a": "text"})
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "id,a\n2,x\n", "append", options=options)
    assert str(refused.value) == 'types: "Customers" has its types already'


def test_upsert_adds_and_updates(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id,a,b\nx,1,p\ny,2,q\n")
    result = load(tenant, tmp_path, "id,b,a\ny,r,\nz,s,3\n", "upsert")
    assert table() == [("x", 1, "p"), ("y", None, "r"), ("z", 3, "s")]
    assert (result.loaded, result.schema.row_count) == (2, 3)


def test_upsert_leaves_equal_rows_alone(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "id,a\n1,\n2,5\n")
    where = f"SELECT ctid::text FROM data.{schema.relation_name} ORDER BY id"
    before = execute(where)
    load(tenant, tmp_path, "id,a\n1,\n2,6\n", "upsert")
    assert [new == old for new, old in zip(execute(where), before, strict=True)] == [True, False]


def test_upsert_of_keys_alone(tenant: Tenant, tmp_path: Path) -> None:
    create(tenant, tmp_path, "id\na\n")
    load(tenant, tmp_path, "id\na\nb\n", "upsert")
    assert table() == [("a",), ("b",)]


def test_upsert_refuses_a_key_that_occurs_twice(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "id,a\n1,2\n")
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "id,a\n1,3\n1,4\n", "upsert")
    assert str(refused.value) == 'file: column "id": "1" occurs more than once (lines 2 and 3)'
    assert_unchanged(schema, [(1, 2)])


def test_upsert_needs_a_key_of_the_file(tenant: Tenant, tmp_path: Path) -> None:
    schema = create(tenant, tmp_path, "a\n2\n", key="row_number")
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, "a\n3\n", "upsert")
    assert str(refused.value) == "mode: rows that are only numbered cannot be matched: use append"
    assert_unchanged(schema, [(1, 2)])


def run(*arguments: object) -> str:
    out = StringIO()
    call_command("import_customers", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def test_command_reports_what_it_did(tenant: Tenant, tmp_path: Path) -> None:
    path, bad = tmp_path / "c.csv", tmp_path / "bad.csv"
    path.write_text("id;a;b\n1;x;2024-01-01\n2\n")
    types = json.dumps({"id": "integer"})
    out = run(path, "--schema=C", "--key=id", f"--types={types}", f"--skip-bad-rows={bad}")
    schema = Schema.unscoped.get()
    head, *rest = out.splitlines()
    where = f"({schema.public_id}, table data.{schema.relation_name})"
    assert head.startswith(f'Imported 1 rows into "C" {where} in ')
    assert rest == [
        "Read as utf-8, semicolon-separated. Columns:",
        "  id: integer",
        "  a: text",
        "  b: date",
        f"Skipped 1 bad rows, listed in {bad}.",
    ]


def test_command_takes_delimiter_encoding_and_mode(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes("id\ta,b\n1\té\n".encode("cp850"))
    run(path, "--schema=Customers", "--key=id", "--delimiter=tab", "--encoding=cp850")
    run(path, "--schema=Customers", "--mode=upsert", "--delimiter=tab", "--encoding=cp850")
    assert table() == [(1, "é")]


def test_command_shows_progress_when_asked(
    tenant: Tenant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,a\n1,x\n")
    run(path, "--schema=C", "--key=id")
    assert capsys.readouterr().err == ""
    run(path, "--schema=D", "--key=id", "--progress")
    shown = capsys.readouterr().err
    assert "Checking" in shown
    assert "Loading" in shown


def test_command_fails_saying_why(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,a\n1\n")
    with pytest.raises(CommandError) as failed:
        run(path, "--schema=C", "--key=id")
    assert str(failed.value) == "Nothing was imported. line 2: 1 field instead of 2"


def test_command_needs_to_know_the_tenant(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no tenant"):
        run(tmp_path / "c.csv", "--schema=C", "--key=id")
    slugs = sorted(TenantFactory().slug for _ in range(2))
    with pytest.raises(CommandError) as failed:
        run(tmp_path / "c.csv", "--schema=C", "--key=id")
    assert str(failed.value) == (
        f"There is more than one tenant: add --tenant SLUG, one of {', '.join(slugs)}"
    )
    with pytest.raises(CommandError) as failed:
        run(tmp_path / "c.csv", "--schema=C", "--key=id", f"--tenant={slugs[0]}")
    assert str(failed.value) == f"Nothing was imported. file: {tmp_path / 'c.csv'} is not a file"
