"""What a file becomes: rows, names and types of a table, or an error that says where."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.db import connection

from campaigns.models import Schema
from campaigns.services.imports import ImportOptions, ImportResult, import_customers
from executor.errors import Rejected
from kaireon.access.models import Tenant

#: Makes a few rows fill more than one batch.
LONG = "x" * 100


def load(tenant: Tenant, path: Path, content: bytes | str, **arguments: Any) -> ImportResult:
    """Import `content`, keyed by `id` unless told otherwise; unknown arguments are options."""
    path = path / "customers.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    names = {"key": "id"} | {k: arguments.pop(k) for k in ("key", "mode") if k in arguments}
    options = ImportOptions(**arguments)
    return import_customers(tenant, path, schema="Customers", options=options, **names)


def rows(result: ImportResult) -> list[tuple[Any, ...]]:
    schema = result.schema
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM data.{schema.relation_name} ORDER BY "{schema.key_column}"')
        return cursor.fetchall()


def types(result: ImportResult) -> dict[str, str]:
    return {column["name"]: column["type"] for column in result.schema.columns}


def assert_nothing_left() -> None:
    assert Schema.unscoped.count() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'data'")
        assert cursor.fetchone() == (0,)


def test_describes_the_table_it_made(tenant: Tenant, tmp_path: Path) -> None:
    result = load(tenant, tmp_path, "id,First Name,joined\n7,Ann,2024-02-29\n8,,\n")
    schema = Schema.objects.of(tenant).get()
    assert result.schema == schema
    assert (result.loaded, result.skipped, schema.row_count) == (2, 0, 2)
    assert (schema.name, schema.origin, schema.key_column) == ("Customers", "imported", "id")
    assert schema.relation_schema == "data"
    assert schema.relation_name.startswith("ds_customers_")
    assert schema.columns == [
        {
            "name": "id",
            "type": "bigint",
            "kind": "integer",
            "displayName": "id",
            "nullable": False,
        },
        {
            "name": "first_name",
            "type": "text",
            "kind": "text",
            "displayName": "First Name",
            "nullable": True,
        },
        {
            "name": "joined",
            "type": "date",
            "kind": "date",
            "displayName": "joined",
            "nullable": True,
        },
    ]


def test_indexes_and_analyzes_the_key(tenant: Tenant, tmp_path: Path) -> None:
    relation = load(tenant, tmp_path, "id,a\nx,1\nY,2\n").schema.relation_name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.indisprimary, c.reltuples, k.collname FROM pg_class c"
            " JOIN pg_index i ON i.indrelid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid"
            " JOIN pg_collation k ON k.oid = a.attcollation"
            " WHERE c.relname = %s AND a.attname = 'id'",
            (relation,),
        )
        assert cursor.fetchall() == [(True, 2.0, "C")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("id,a\n1,x\n2,y\n", [(1, "x"), (2, "y")], id="plain"),
        pytest.param("id,a\n1,x\n2,y", [(1, "x"), (2, "y")], id="no last line end"),
        pytest.param("id,a\r\n1,x\r\n2,y\r\n", [(1, "x"), (2, "y")], id="windows"),
        pytest.param("id,a\r\n1,x\r\n2,y", [(1, "x"), (2, "y")], id="windows, no last line end"),
        pytest.param("id,a\r1,x\r2,y\r", [(1, "x"), (2, "y")], id="old mac"),
        pytest.param("id,a\r\n1,x\n2,y\r\n", [(1, "x"), (2, "y")], id="mixed line ends"),
        pytest.param("id,a\n\n1,x\n\n\n2,y\n\n", [(1, "x"), (2, "y")], id="blank lines"),
        pytest.param("id;a\n1;x,y\n2;z\n", [(1, "x,y"), (2, "z")], id="semicolon"),
        pytest.param("id\ta\n1\tx;y\n2\tz\n", [(1, "x;y"), (2, "z")], id="tab"),
        pytest.param("id|a\n1|x\n2|y\n", [(1, "x"), (2, "y")], id="bar"),
        pytest.param('"id","a"\n"1","x"\n"2",""\n', [(1, "x"), (2, "")], id="all quoted"),
        pytest.param('id,a\n1,\n2,""\n', [(1, None), (2, "")], id="null and empty"),
        pytest.param('id,a\n1,"x\n\n,""y"""\n2,z\n', [(1, 'x\n\n,"y"'), (2, "z")], id="quoting"),
        pytest.param('id,a\r\n1,"x\ny"\r\n2,z\r\n', [(1, "x\ny"), (2, "z")], id="LF in CRLF"),
        pytest.param('id,a\n1,5" pipe\n2,"x"\n', [(1, '5" pipe'), (2, "x")], id="stray quote"),
        pytest.param("id,a\n1,\\.\n2,\\N\n", [(1, "\\."), (2, "\\N")], id="backslashes"),
        pytest.param("id\na\n\\.\nb\n", [("\\.",), ("a",), ("b",)], id="end of data as value"),
        pytest.param("\ufeffid,a\n1,é\n", [(1, "é")], id="utf-8 with mark"),
        pytest.param("id,a\n1,é\n".encode("utf-16"), [(1, "é")], id="utf-16"),
        pytest.param(
            "id;a\n1;José\n2;5 €\n".encode("cp1252"), [(1, "José"), (2, "5 €")], id="western"
        ),
        pytest.param(
            "id,a\n1,Małgorzata Łoś\n2,Świętosław Żółć\n".encode("cp1250"),
            [(1, "Małgorzata Łoś"), (2, "Świętosław Żółć")],
            id="central european",
        ),
    ],
)
def test_reads(
    tenant: Tenant, tmp_path: Path, content: bytes | str, expected: list[tuple[Any, ...]]
) -> None:
    assert rows(load(tenant, tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", ""], "bigint"),
        (["9223372036854775807", "0"], "bigint"),
        (["9223372036854775808", "0"], "text"),
        (["00123", "1"], "text"),
        (["+491701234567"], "text"),
        (["1", "2.50", "-.5", "1e-7"], "double precision"),
        (["1234567890123456", "0.5"], "text"),
        (["1.5", "007"], "text"),
        (["1e999"], "text"),
        (["nan", "1"], "text"),
        (["true", "FALSE", ""], "boolean"),
        (["yes", "no"], "text"),
        (["t", "f"], "text"),
        (["2024-02-29", "1999-12-31"], "date"),
        (["2023-02-29"], "text"),
        (["31/12/2024"], "text"),
        (["2024-02-29T10:00:00Z", "2024-02-29"], "timestamp with time zone"),
        (["2024-02-29 10:00", "2024-02-29 23:59:59.5+02:00"], "timestamp with time zone"),
        (["2024-02-29 25:00"], "text"),
        (["1", "2024-02-29"], "text"),
        (["true", "1"], "text"),
        (["", ""], "text"),
    ],
)
def test_infers(tenant: Tenant, tmp_path: Path, values: list[str], expected: str) -> None:
    body = "".join(f"{at},{value}\n" for at, value in enumerate(values))
    assert types(load(tenant, tmp_path, f"id,a\n{body}"))["a"] == expected


def test_infers_over_the_whole_file(tenant: Tenant, tmp_path: Path) -> None:
    body = "".join(f"{at},{at},,{at},{LONG}\n" for at in range(90_000))
    result = load(tenant, tmp_path, f"id,a,b,c,long\n{body}90000,0.5,1,x,y\n")
    assert types(result) == {
        "id": "bigint",
        "a": "double precision",
        "b": "bigint",
        "c": "text",
        "long": "text",
    }
    assert result.schema.row_count == 90_001


def test_timestamps_without_a_zone_are_utc(tenant: Tenant, tmp_path: Path) -> None:
    result = load(tenant, tmp_path, "id,a\n1,2024-07-01 12:00:00\n2,2024-07-01T12:00+02:00\n")
    assert [row[1].isoformat() for row in rows(result)] == [
        "2024-07-01T12:00:00+00:00",
        "2024-07-01T10:00:00+00:00",
    ]


def test_takes_given_types(tenant: Tenant, tmp_path: Path) -> None:
    given = {"A b": "numeric", "id": "text", "c": "timestamptz"}
    result = load(tenant, tmp_path, "id,A b,c\n1,2,2024-01-01\n", types=given)
    assert types(result) == {"id": "text", "a_b": "numeric", "c": "timestamp with time zone"}


def test_makes_names_postgresql_likes(tenant: Tenant, tmp_path: Path) -> None:
    header = f"id,Größe (cm),größe cm,,2nd,xmin,Select,{'long ' * 20}"
    result = load(tenant, tmp_path, f"{header}\n1,2,3,4,5,6,7,8\n")
    assert list(types(result)) == [
        "id",
        "grosse_cm",
        "grosse_cm_2",
        "column_4",
        "c_2nd",
        "xmin_",
        "select",
        ("long_" * 20)[:63],
    ]


def test_numbers_rows_in_file_order(tenant: Tenant, tmp_path: Path) -> None:
    result = load(tenant, tmp_path, "a\nx\ny\nz\n", key="row_number")
    assert rows(result) == [(1, "x"), (2, "y"), (3, "z")]
    assert result.schema.key_column == "row_number"
    assert result.schema.columns[0]["nullable"] is False


def test_reads_parquet(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pl.DataFrame(
        {"id": ["b", "a"], "n": [1, None], "x": [0.1, 1e300], "t": ['q"\n', ""], "l": [True, None]}
    ).with_columns(at=pl.datetime(2024, 7, 1, 12, time_zone="Europe/Paris")).write_parquet(path)
    result = import_customers(tenant, path, schema="P", key="id")
    assert list(types(result).values()) == [
        "text",
        "bigint",
        "double precision",
        "text",
        "boolean",
        "timestamp with time zone",
    ]
    assert [row[:5] for row in rows(result)] == [
        ("a", None, 1e300, "", None),
        ("b", 1, 0.1, 'q"\n', True),
    ]
    assert rows(result)[0][5].isoformat() == "2024-07-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("content", "arguments", "error"),
    [
        pytest.param("", {}, "file: {path} is empty", id="empty"),
        pytest.param("id,a\n", {}, "file: there are no rows to import below the header", id="head"),
        pytest.param(
            "id,a\n1,2\n",
            {"key": "ID"},
            'key: there is no column "ID"; choose one of row_number, id, a',
            id="no key",
        ),
        pytest.param(
            "id,a,a\n1,2,3\n", {}, 'file: the header names more than one column "a"', id="twice"
        ),
        pytest.param("id,a\n1,2\n3\n", {}, "line 3: 1 field instead of 2", id="short"),
        pytest.param(
            'id,a\n1,"x\n\ny"\n2,3,4\n', {}, "line 5: 3 fields instead of 2", id="after many lines"
        ),
        pytest.param(
            'id,a\n1,2\n3,"x\n4,5\n', {}, "line 3: a quote that is never closed", id="open quote"
        ),
        pytest.param(
            'id,a\n1,"x"y\n', {}, "line 2: text after a closing quote", id="after a quote"
        ),
        pytest.param(
            b"id,a\n1,\xc3\xa9\n2,\xff\n",
            {},
            "line 3: it is not valid in the file's encoding",
            id="bad encoding",
        ),
        pytest.param(b"id,a\n1,x\0y\n", {}, "line 2: it contains a NUL character", id="NUL"),
        pytest.param(
            'id,a\n1,2\n3,"x\ny"\n4,abc\n',
            {"types": {"a": "integer"}},
            'line 3: column "a": "x\ny" is not of type integer',
            id="type, many lines",
        ),
        pytest.param(
            "id,a\n1,2\n3,99999999999\n",
            {"types": {"a": "integer"}},
            'line 3: column "a": "99999999999" is not of type integer',
            id="out of range",
        ),
        pytest.param("id,a\n1,2\n,3\n", {}, 'line 3: column "id": the key is empty', id="null key"),
        pytest.param(
            'id,a\nx,2\n"",3\n', {}, 'line 3: column "id": the key is empty', id="empty key"
        ),
        pytest.param(
            'id,a\n7,"x\ny"\n8,2\n7,3\n',
            {},
            'file: column "id": "7" occurs more than once (lines 2 and 5)',
            id="duplicate",
        ),
        pytest.param(
            "id,a\nx,1\ny,2\nx,3\ny,4\n",
            {},
            'file: column "id": "x" occurs more than once (lines 2 and 4); so do 1 other keys',
            id="duplicates",
        ),
        pytest.param(
            "id,a\n1,2\n",
            {"types": {"b": "text", "a": "money"}},
            'types: there is no column "b"; there are id, a; types: "money" of column "a" is not'
            " one of text, bigint, integer, double precision, numeric, boolean, date, timestamptz",
            id="types",
        ),
        pytest.param(
            "row_number,a\n1,2\n",
            {"key": "row_number"},
            "key: the file has a column row_number of its own: rename it in the file",
            id="row_number",
        ),
        pytest.param(
            "PK\x03\x04", {}, "file: {path} is a ZIP or Excel file: save the sheet as CSV", id="zip"
        ),
        pytest.param(
            f"id,a\n{'k' * 3000}{''.join(map(chr, range(200, 2500)))},1\n",
            {},
            'file: column "id" has a value too long for a key (2,700 bytes)',
            id="long key",
        ),
    ],
)
def test_refuses_and_leaves_nothing(
    tenant: Tenant, tmp_path: Path, content: bytes | str, arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, content, **arguments)
    assert str(refused.value) == error.format(path=tmp_path / "customers.csv")
    assert_nothing_left()


def test_collects_bad_rows_and_loads_the_rest(tenant: Tenant, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    content = b'id,a\n1,10\n2,x\n3\n,4\n5,"5\n0"\n6,\xe9\n7,"70"\n8,80,\n9,\n'
    result = load(
        tenant,
        tmp_path,
        content,
        types={"a": "integer"},
        encoding="utf-8",
        skip_bad_rows=bad,
        key="id",
    )
    assert rows(result) == [(1, 10), (7, 70), (9, None)]
    assert (result.loaded, result.skipped) == (3, 6)
    assert bad.read_text() == (
        "line,reason,row\n"
        '3,"column ""a"": ""x"" is not of type integer","2,x"\n'
        "4,1 field instead of 2,3\n"
        '5,"column ""id"": the key is empty",",4"\n'
        '6,"column ""a"": ""5\n0"" is not of type integer","5,""5\n0"""\n'
        '8,it is not valid in the file\'s encoding,"6,\\xe9"\n'
        '10,3 fields instead of 2,"8,80,"\n'
    )


def test_numbers_have_no_gaps_where_rows_were_skipped(tenant: Tenant, tmp_path: Path) -> None:
    result = load(
        tenant,
        tmp_path,
        "a\n10\nx\n30\n",
        key="row_number",
        types={"a": "integer"},
        skip_bad_rows=tmp_path / "bad.csv",
    )
    assert rows(result) == [(1, 10), (2, 30)]


@pytest.mark.usefixtures("clean_relations")
def test_commits_nothing_after_a_row_postgresql_refused(tenant: Tenant, tmp_path: Path) -> None:
    body = "".join(f"{at},{at},{LONG}\n" for at in range(2, 90_000))
    with pytest.raises(Rejected) as refused:
        load(tenant, tmp_path, f"id,a,long\n{body}1,x,\n", types={"a": "bigint"})
    assert str(refused.value) == 'line 90000: column "a": "x" is not of type bigint'
    assert_nothing_left()


def test_keeps_an_old_list_of_bad_rows_when_it_fails(tenant: Tenant, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("old")
    with pytest.raises(Rejected):
        load(tenant, tmp_path, "id,a\n1,2\n1,3\n", skip_bad_rows=bad)
    assert bad.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "bad.csv",
        "customers.csv",
    ]
    assert_nothing_left()
