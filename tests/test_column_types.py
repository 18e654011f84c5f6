import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, LiteralString

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
import pytest
from psycopg import sql

from executor.errors import Rejected
from executor.flow.types import Column, Kind, PgType, column_sql, read_columns

DTYPES = {
    Kind.INTEGER: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.DATE: pl.Date(),
    Kind.DATETIME: pl.Datetime("us", "UTC"),
}
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

#: Type -> (kind, input, value read through ADBC); each type is one column, each value one row.
TYPES: dict[LiteralString, tuple[Kind, list[tuple[str, Any]]]] = {
    "smallint": (Kind.INTEGER, [("-32768", -32768)]),
    "integer": (Kind.INTEGER, [("2147483647", 2147483647)]),
    "bigint": (Kind.INTEGER, [(str(-(2**63)), -(2**63)), (str(2**63 - 1), 2**63 - 1)]),
    "types.domain_of_domain": (Kind.INTEGER, [("7", 7)]),
    "real": (Kind.NUMBER, [("0.5", 0.5), ("-infinity", -math.inf)]),
    "double precision": (Kind.NUMBER, [("0.1", 0.1), ("infinity", math.inf)]),
    "numeric": (
        Kind.NUMBER,
        [
            ("0.1", 0.1),
            ("-Infinity", -math.inf),
            ("1e400", math.inf),
            ("-1e400", -math.inf),
            ("1e-400", 0.0),
        ],
    ),
    "numeric(12,2)": (Kind.NUMBER, [("1234567890.12", 1234567890.12)]),
    "numeric(1000,5)": (Kind.NUMBER, [("1" + "0" * 400, math.inf)]),
    "types.amount": (Kind.NUMBER, [("12.345", 12.35)]),
    "money": (Kind.NUMBER, [("-12.50", -12.5)]),
    "interval": (Kind.NUMBER, [("1 day 02:00:00.25", 93600.25), ("-1 second", -1.0)]),
    "boolean": (Kind.BOOLEAN, [("t", True), ("f", False)]),
    "text": (Kind.TEXT, [("é\n\\", "é\n\\"), ("", "")]),
    "varchar(5)": (Kind.TEXT, [("ab ", "ab ")]),
    "char(5)": (Kind.TEXT, [("ab", "ab"), ("", "")]),
    "name": (Kind.TEXT, [("Name", "Name")]),
    "types.colour": (Kind.TEXT, [("red", "red")]),
    "uuid": (Kind.TEXT, [(UUID.upper(), UUID)]),
    "inet": (Kind.TEXT, [("192.0.2.1", "192.0.2.1"), ("10.1.0.0/16", "10.1.0.0/16")]),
    "cidr": (Kind.TEXT, [("10.1.0.0/16", "10.1.0.0/16")]),
    "json": (Kind.TEXT, [('{"a":  1}', '{"a":  1}')]),
    "jsonb": (Kind.TEXT, [('{"a":  1}', '{"a": 1}')]),
    # Not every PostgreSQL is built to read XML, but every one has the type.
    "xml": (Kind.TEXT, []),
    "bytea": (Kind.TEXT, [("\\x00ff", "00ff"), ("", "")]),
    "time": (Kind.TEXT, [("24:00", "24:00:00"), ("09:05:00.5", "09:05:00.5")]),
    "timetz": (Kind.TEXT, [("09:05+02", "09:05:00+02")]),
    "integer[]": (Kind.TEXT, [("{1,NULL}", "[1,null]"), ("{{1},{2}}", "[[1],[2]]")]),
    "text[]": (Kind.TEXT, [('{"a\\"b",c}', '["a\\"b","c"]')]),
    "types.colour[]": (Kind.TEXT, [("{red}", '["red"]')]),
    "types.amounts": (Kind.TEXT, [("{1,2}", "[1.00,2.00]")]),
    "date": (
        Kind.DATE,
        [
            ("2024-02-29", date(2024, 2, 29)),
            ("infinity", date.max),
            ("-infinity", date.min),
            ("10000-01-01", date.max),
            ("0001-12-31 BC", date.min),
        ],
    ),
    "types.birthday": (Kind.DATE, [("infinity", date.max)]),
    "timestamp": (
        Kind.DATETIME,
        [
            ("2024-03-10 02:30:00.000001", datetime(2024, 3, 10, 2, 30, 0, 1, UTC)),
            ("infinity", LAST),
            ("-infinity", FIRST),
            ("0044-03-15 BC", FIRST),
        ],
    ),
    "timestamptz": (
        Kind.DATETIME,
        [
            ("2024-03-10 02:30:00-05", datetime(2024, 3, 10, 7, 30, tzinfo=UTC)),
            ("infinity", LAST),
            ("-infinity", FIRST),
            ("10000-01-01", LAST),
        ],
    ),
    "types.moment": (Kind.DATETIME, [("-infinity", FIRST)]),
}
UNSUPPORTED: dict[LiteralString, str] = {
    "int4range": "type int4range is not supported",
    "point": "type point is not supported",
    "types.pair": "type types.pair is not supported",
    "int4range[]": "arrays of type int4range are not supported",
    "timestamptz[]": "arrays of type timestamp with time zone are not supported",
    "types.amounts[]": "arrays of type numeric[] are not supported",
}
DEPTH = max(len(values) for _, values in TYPES.values())
TypedTable = dict[str, Column]


@pytest.fixture
def columns(pg_dsn: str) -> Iterator[TypedTable]:
    """A table with one column of every type, named by it; its last row is all NULL."""
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        connection.execute(
            "DROP SCHEMA IF EXISTS types CASCADE; CREATE SCHEMA types;"
            " CREATE TYPE types.colour AS ENUM ('red', 'blue');"
            " CREATE TYPE types.pair AS (a int, b int);"
            " CREATE DOMAIN types.small AS smallint; CREATE DOMAIN types.domain_of_domain"
            " AS types.small CHECK (value > 0);"
            " CREATE DOMAIN types.amount AS numeric(10, 2);"
            " CREATE DOMAIN types.amounts AS numeric(10, 2)[];"
            " CREATE DOMAIN types.birthday AS date; CREATE DOMAIN types.moment AS timestamptz"
        )
        definitions = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(name))
            for name in [*TYPES, *UNSUPPORTED]
        )
        create = sql.SQL('CREATE TABLE types."T" ("k%" int PRIMARY KEY, {})')
        connection.execute(create.format(definitions))
        connection.execute('ALTER TABLE types."T" ADD gone int; ALTER TABLE types."T" DROP gone')
        fill(connection)
        yield read_columns(connection.cursor(), "types", "T")
        connection.execute("DROP SCHEMA types CASCADE")


def fill(connection: psycopg.Connection[Any]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, ["k%", *TYPES]))
    copy_in = sql.SQL('COPY types."T" ({}) FROM STDIN').format(names)
    with connection.cursor().copy(copy_in) as copy:
        for k in range(DEPTH + 1):
            cells = [v[k][0] if k < len(v) else None for _, v in TYPES.values()]
            copy.write_row((k, *cells))


def read(dsn: str, columns: TypedTable, settings: str = "") -> tuple[pl.DataFrame, list[Kind]]:
    """The table as production reads it."""
    casts = {
        name: column_sql(sql.Identifier(name), column.pg_type)
        for name, column in columns.items()
        if column.supported
    }
    selected = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(cast, sql.Identifier(name)) for name, (cast, _) in casts.items()
    )
    query = sql.SQL('SELECT {} FROM types."T" ORDER BY "k%"').format(selected)
    with adbc.connect(dsn) as connection, connection.cursor() as cursor:
        for setting in filter(None, settings.split(";")):
            cursor.execute(setting)
        cursor.execute(query.as_string(None))
        return pl.DataFrame(cursor.fetch_arrow()), [kind for _, kind in casts.values()]


def test_reads_kinds_and_faults_from_the_catalog(columns: TypedTable) -> None:
    assert list(columns) == ["k%", *TYPES, *UNSUPPORTED]
    assert columns["k%"] == Column("k%", PgType("integer", "b", "N"), Kind.INTEGER, False)
    assert {name: columns[name].kind for name in TYPES} == {n: k for n, (k, _) in TYPES.items()}
    assert {name: columns[name].reason for name in UNSUPPORTED} == UNSUPPORTED
    assert not any(columns[name].supported for name in UNSUPPORTED)
    assert all(column.nullable for name, column in columns.items() if name != "k%")


def test_resolves_domains_and_arrays(columns: TypedTable) -> None:
    nested = columns["types.domain_of_domain"].pg_type
    assert (nested.name, nested.typtype) == ("types.domain_of_domain", "d")
    assert nested.base is not None
    assert nested.base.name == "types.small"
    assert nested.resolved() == PgType("smallint", "b", "N")
    assert columns["integer[]"].pg_type.is_array
    assert columns["types.amounts"].pg_type.resolved().is_array
    assert columns["types.amount"].pg_type.resolved().typmod == ((10 << 16) | 2) + 4


def test_every_type_arrives_in_polars_as_its_kind(pg_dsn: str, columns: TypedTable) -> None:
    frame, kinds = read(pg_dsn, columns)
    assert frame.dtypes == [DTYPES[kind] for kind in kinds]
    for name, (_, values) in TYPES.items():
        padding = [None] * (DEPTH + 1 - len(values))
        assert (name, frame[name].to_list()) == (name, [out for _, out in values] + padding)


def test_values_do_not_depend_on_the_session(pg_dsn: str, columns: TypedTable) -> None:
    settings = (
        "SET TimeZone = 'Asia/Tokyo';SET DateStyle = 'SQL, DMY';SET IntervalStyle = 'iso_8601'"
        ";SET bytea_output = 'escape'"
    )
    plain, _ = read(pg_dsn, columns)
    assert read(pg_dsn, columns, settings)[0].equals(plain)


def test_nan_stays_nan(pg_dsn: str, columns: TypedTable) -> None:
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        connection.execute(
            'UPDATE types."T" SET "real" = \'NaN\', "double precision" = \'NaN\','
            ' "numeric" = \'NaN\', "numeric(12,2)" = \'NaN\' WHERE "k%" = 0'
        )
    frame, _ = read(pg_dsn, columns)
    for name in ("real", "double precision", "numeric", "numeric(12,2)"):
        assert math.isnan(frame[name][0])


def test_reads_views_and_refuses_what_is_not_there(pg_dsn: str, columns: TypedTable) -> None:
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        connection.execute('CREATE VIEW types.seen AS SELECT "inet", 1 AS one FROM types."T"')
        cursor = connection.cursor()
        seen = read_columns(cursor, "types", "seen")
        assert {name: column.kind for name, column in seen.items()} == {
            "inet": Kind.TEXT,
            "one": Kind.INTEGER,
        }
        with pytest.raises(Rejected, match='no table or view "t" in schema "types"'):
            read_columns(cursor, "types", "t")


def test_refuses_to_cast_an_unsupported_type(columns: TypedTable) -> None:
    with pytest.raises(Rejected, match="type int4range is not supported"):
        column_sql(sql.Identifier("x"), columns["int4range"].pg_type)


def test_citext_becomes_text_that_minds_case(pg_dsn: str, columns: TypedTable) -> None:
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'citext'")
        if found.fetchone() is None:
            pytest.skip("this PostgreSQL has no citext")
        connection.execute("CREATE EXTENSION citext SCHEMA types")
        connection.execute(
            "CREATE TABLE types.c (c types.citext); INSERT INTO types.c VALUES ('A')"
        )
        column = read_columns(connection.cursor(), "types", "c")["c"]
        cast, kind = column_sql(sql.Identifier("c"), column.pg_type)
        query = sql.SQL("SELECT {0}, {0} = 'a' FROM types.c").format(cast)
        assert connection.execute(query).fetchall() == [("A", False)]
        assert kind is Kind.TEXT
