"""Which files are read, how their form is found out, and which arguments make no sense."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from campaigns.models import Schema
from campaigns.services.imports import ImportOptions, import_customers, parse_types
from campaigns.services.imports.columns import column_names
from campaigns.services.imports.sniff import sniff_delimiter, sniff_encoding
from executor.errors import Rejected
from kaireon.access.models import Tenant

WORDS = "Größe;Café;Müller;naïve\nSeñor;garçon;Ærø;crème brûlée\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"plain", "utf-8"),
        (WORDS.encode(), "utf-8"),
        (WORDS.encode("utf-8-sig"), "utf-8"),
        (WORDS.encode("utf-16"), "utf-16"),
        (WORDS.encode("utf-16-be"), None),
        (WORDS.encode("utf-32"), "utf-32"),
        (WORDS.encode("cp1252"), "cp1252"),
        ("“5 €”\n".encode("cp1252"), "cp1252"),
        (WORDS.encode("latin-1") + b"\x81\n", "latin-1"),
        (WORDS.encode() + b"one \xff bad row\n", "utf-8"),
        ("Дмитрий Щукин;Тверь\nФёдор;Ижевск\n".encode("cp1251"), "cp1251"),  # noqa: RUF001
        ("山田太郎,東京都\n佐藤花子,大阪市\n".encode("shift_jis"), "shift_jis"),
        (b"x" * (8 << 20) + "é".encode() + b"\n", "utf-8"),
        (b"x" * ((8 << 20) - 1) + "é".encode() + b"\n", "utf-8"),
        (b"x" * ((8 << 20) - 1) + b"\xe9\n", "cp1252"),
    ],
)
def test_encoding(tmp_path: Path, content: bytes, expected: str | None) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    if expected:
        assert sniff_encoding(path) == expected
        return
    with pytest.raises(Rejected) as refused:
        sniff_encoding(path)
    assert str(refused.value) == (
        "encoding: every other byte is zero: give the encoding, such as utf-16-le"
    )


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (b"a,b\n1,2\n", ","),
        (b"a;b\n1,5;2,5\n", ";"),
        (b'"a;x",b\n"1;2;3",2\n', ","),
        (b"a\tb,c\n1\t2\n", "\t"),
        (b"a|b;c|d\n1|2|3\n", "|"),
        (b"only\none\n", ","),
        (b"a;b", ";"),
        (b"", ","),
    ],
)
def test_delimiter(sample: bytes, expected: str) -> None:
    assert sniff_delimiter(sample) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a:text, b c : double precision", {"a": "text", "b c": "double precision"}),
        ('{"a:b": "date"}', {"a:b": "date"}),
    ],
)
def test_types(text: str, expected: dict[str, str]) -> None:
    assert parse_types(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a", "types: write column:type,column:type or a JSON object"),
        ('{"a": 1}', "types: each type must be a text"),
        ('{"a"}', "types: not valid JSON: Expecting ':' delimiter: line 1 column 5 (char 4)"),
    ],
)
def test_types_that_cannot_be_read(text: str, error: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_types(text)
    assert str(refused.value) == error


def test_more_columns_than_a_table_holds() -> None:
    with pytest.raises(Rejected) as refused:
        column_names([f"c{at}" for at in range(1600)])
    assert str(refused.value) == "file: 1600 columns, at most 1590 fit in a table"


def refusal(tenant: Tenant, path: Path, options: dict[str, Any], **arguments: Any) -> str:
    """Why the import is refused; it leaves no schema."""
    names = {"schema": "C", "key": "id"} | arguments
    with pytest.raises(Rejected) as refused:
        import_customers(tenant, path, options=ImportOptions(**options), **names)
    assert not Schema.unscoped.exists()
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "arguments", "error"),
    [
        (
            {},
            {"mode": "merge"},
            'mode: "merge" is not one of create, replace, append, upsert',
        ),
        ({}, {"schema": " "}, "schema: a name has 1 to 255 characters"),
        ({}, {"key": ""}, "key: name the key column, or row_number to number the rows"),
        ({"delimiter": ";;"}, {}, 'delimiter: ";;" is not one character such as , ; | or tab'),
        ({"delimiter": "a"}, {}, 'delimiter: "a" occurs in values: use one such as , ; | or tab'),
        (
            {"encoding": "utf-9"},
            {},
            'encoding: "utf-9" is unknown; examples are utf-8, utf-16, cp1252, latin-1',
        ),
        (
            {"types": {"id": "date"}},
            {},
            'types: the key "id" must be one of text, bigint, integer',
        ),
        (
            {"skip_bad_rows": "customers.csv"},
            {},
            "skip_bad_rows: bad rows cannot be written over the file itself",
        ),
    ],
)
def test_arguments(
    tenant: Tenant,
    tmp_path: Path,
    options: dict[str, Any],
    arguments: dict[str, Any],
    error: str,
) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("id,a\n1,x\n")
    if "skip_bad_rows" in options:
        options = {"skip_bad_rows": tmp_path / options["skip_bad_rows"]}
    assert refusal(tenant, path, options, **arguments) == error


def test_bytes_that_are_not_of_the_given_encoding(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_bytes(b"id,a\n1,x\n2")
    error = "encoding: near byte 10 the file is not utf-16"
    assert refusal(tenant, path, {"encoding": "utf-16"}) == error


def test_a_quote_without_end(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_bytes(b'id,a\n1,x\n2,"y\n' + b"3,zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\n" * 100_000)
    assert refusal(tenant, path, {}) == "line 3: a quote that is never closed"


def test_a_file_that_is_no_parquet(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    path.write_bytes(b"PAR1 and no more")
    assert refusal(tenant, path, {}).startswith(f"file: {path} is not a Parquet file: ")


def test_parquet_types_no_table_holds(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pl.DataFrame({"id": [1], "l": [[1]], "b": [b"x"]}).write_parquet(path)
    assert refusal(tenant, path, {}) == (
        'file: columns of types that cannot be imported: "l" (List(Int64)), "b" (Binary)'
    )


def test_parquet_has_no_delimiter(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pl.DataFrame({"id": [1]}).write_parquet(path)
    error = "file: a Parquet file has neither delimiter nor encoding"
    assert refusal(tenant, path, {"delimiter": ";"}) == error


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (["a", "b", "a"], 'file: column "id": "a" occurs more than once (rows 1 and 3)'),
        (["a", None], 'row 2: column "id": the key is empty'),
        ([], "file: there are no rows to import"),
    ],
)
def test_parquet_keys(tenant: Tenant, tmp_path: Path, keys: list[str | None], error: str) -> None:
    path = tmp_path / "customers.parquet"
    frame = pl.DataFrame({"id": keys, "text": ["x\ny"] * len(keys)}, schema_overrides={"id": str})
    frame.write_parquet(path)
    assert refusal(tenant, path, {}) == error


def test_parquet_times_and_categories_are_text(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pl.DataFrame({"id": [2**63], "t": [None], "c": ["x"]}).with_columns(
        pl.col("c").cast(pl.Categorical), pl.lit("10:30:00.5").str.to_time().alias("at")
    ).write_parquet(path)
    options = ImportOptions(types={"id": "text"})
    result = import_customers(tenant, path, schema="C", key="id", options=options)
    assert {column["type"] for column in result.schema.columns} == {"text"}


def test_a_file_that_changes_while_it_is_read(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("id,a\n1,x\n")

    def grow(phase: str, done: int, total: int) -> None:
        with path.open("a") as file:
            file.write("2,y\n")

    error = refusal(tenant, path, {}, progress=grow)
    assert error == f"file: {path} changed while it was read"
