import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from executor.flow.columns import column_expr
from executor.flow.conditions import Condition, Group, parse_condition, to_json
from executor.flow.operators import OPERATORS, Op, Takes, allowed_operators
from executor.flow.sql import condition_sql
from executor.flow.types import Kind, column_sql, read_columns

ROWS = 64
MAX_INT = 2**63 - 1
TEXTS = [
    *["", "a", "A", "Ab", "aB", "ab", "aaa", "a1", "1", "-1", "10", "9", "null", "a.b", "a-b&~"],
    *["é", "e\u0301", "É", "ß", "ﬀ", "İ", "👍", "👍🏽", "\U0010ffff", "\ud7ff", "\x01", "\u00a0"],
    *["%", "_", "a%b", "a_b", "\\", "a\\b", "'", "''", '"', "a'b", "|", "a|b", "%s", "{x}", "$1"],
    *["a\nb", "\n", "a\n", "\t", " ", " a", "a ", "[a]", "(a)", "^a$", "{2}", "--", "/*"],
]
DATES = ["0001-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-30", "9999-12-31"]
TIMES = [
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2024-03-10T02:30:00-05:00",
    "2024-03-10T07:30:00.000001Z",
    "9999-12-31T23:59:59.999999Z",
]
INTEGERS = [0, 1, -1, 7, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, MAX_INT, -MAX_INT - 1]
NUMBERS = [0.0, -0.0, 0.1, 0.5, -1.5, 7, 2.0**53, 1e16, 5e-324, 1.7976931348623157e308, -1e308]
ODD_NUMBERS = [math.nan, math.inf, -math.inf]

#: Column -> (type in PostgreSQL, values of the rows, values conditions compare with).
COLUMNS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "i": ("bigint", INTEGERS, [*INTEGERS, 1.5, -0.5, 2.0**53, 2**63, -1e30, 1e300]),
    "n": ("float8", [*NUMBERS, *ODD_NUMBERS], NUMBERS),
    'odd "name"': ("numeric", [*map(repr, NUMBERS), "NaN", "1e400", "-1e400", "1e-400"], NUMBERS),
    "^t$": ("text", TEXTS, TEXTS),
    "*": ("char(3)", ["", "a", "a ", "ab", "é"], ["", "a", "a  ", "ab", "é"]),
    "b": ("boolean", [True, False], [True, False]),
    "d": ("date", [*DATES, "infinity", "-infinity", "0044-03-15 BC"], DATES),
    "s": ("timestamptz", [*TIMES, "infinity", "-infinity"], TIMES),
    "plain": ("timestamp", [*(t.removesuffix("Z") for t in TIMES[:3]), "infinity"], TIMES),
}


@dataclass(frozen=True)
class Table:
    connection: psycopg.Connection[tuple[Any, ...]]
    columns: dict[str, tuple[sql.Composable, Kind]]
    frame: pl.DataFrame

    @property
    def kinds(self) -> dict[str, Kind]:
        return {name: kind for name, (_, kind) in self.columns.items()}

    def sql(self, condition: Condition) -> sql.Composable:
        return condition_sql(condition, lambda name: self.columns[name][0])


@pytest.fixture
def table(pg_dsn: str) -> Iterator[Table]:
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS conditions CASCADE; CREATE SCHEMA conditions")
        fill(connection)
        columns = read_columns(connection.cursor(), "conditions", "people")
        casts = {name: column_sql(sql.Identifier(name), c.pg_type) for name, c in columns.items()}
        del casts["id"]
        yield Table(connection, casts, read_frame(pg_dsn, casts))
        connection.execute("DROP SCHEMA conditions CASCADE")


def fill(connection: psycopg.Connection[Any]) -> None:
    """Every value of every column at least once, beside different neighbours, and NULLs."""
    values = []
    for turn, (_, pool, _) in enumerate(COLUMNS.values()):
        cells = [*pool, None]
        size = len(cells)
        assert size <= ROWS
        values.append([cells[(k + (k // size + 3) * turn) % size] for k in range(ROWS)])
    types = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(pg_type))
        for name, (pg_type, _, _) in COLUMNS.items()
    )
    connection.execute(sql.SQL("CREATE TABLE conditions.people (id int, {})").format(types))
    with connection.cursor().copy("COPY conditions.people FROM STDIN") as copy:
        for row in zip(range(ROWS), *values, strict=True):
            copy.write_row(row)


def read_frame(dsn: str, casts: dict[str, tuple[sql.Composable, Kind]]) -> pl.DataFrame:
    selected = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(cast, sql.Identifier(name)) for name, (cast, _) in casts.items()
    )
    query = sql.SQL("SELECT id, {} FROM conditions.people ORDER BY id").format(selected)
    with adbc.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query.as_string(None))
        return pl.DataFrame(cursor.fetch_arrow())


def verify(table: Table, data: Any) -> None:
    """The same rows from SQL, from polars, and from the plain reading of the condition."""
    condition = parse_condition(data, table.kinds, "filters")
    assert parse_condition(to_json(condition), table.kinds, "filters") == condition
    query = sql.SQL("SELECT {} FROM conditions.people ORDER BY id").format(table.sql(condition))
    by_sql = [value for (value,) in table.connection.execute(query)]
    by_polars = table.frame.select(result=column_expr(condition))["result"].to_list()
    expected = [holds(data, row) for row in table.frame.rows(named=True)]
    assert by_sql == expected
    assert by_polars == expected


def holds(data: Any, row: dict[str, Any]) -> bool:
    if isinstance(data, list):
        return all(holds(child, row) for child in data)
    if "conditions" in data:
        together = all if data["combinator"] == "AND" else any
        return together(holds(child, row) for child in data["conditions"])
    cell, op = row[data["field"]], Op(data["operator"])
    if cell is None or OPERATORS[op].takes is Takes.NOTHING:
        return (cell is None) == (op is Op.IS_NULL)
    if OPERATORS[op].takes is Takes.LIST:
        found = any(compare(cell, value) == 0 for value in data["value"])
        return found == (op is Op.IN)
    return MEANING[op](cell, data["value"])


def compare(cell: Any, value: Any) -> int:
    """-1, 0 or 1; Python compares int with float exactly and str as UTF-8 does."""
    if isinstance(cell, datetime):
        value = datetime.fromisoformat(value)
    elif isinstance(cell, date):
        value = date.fromisoformat(value)
    elif cell != cell:
        return 1
    return (cell > value) - (cell < value)


def search(cell: str, pattern: str) -> bool:
    """Python's `$` also matches before a final newline."""
    pattern = re.sub(r"\\.|\$", lambda m: r"\Z" if m[0] == "$" else m[0], pattern, flags=re.DOTALL)
    return re.search(pattern, cell, re.DOTALL | re.ASCII) is not None


MEANING: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: lambda cell, value: compare(cell, value) == 0,
    Op.NEQ: lambda cell, value: compare(cell, value) != 0,
    Op.GT: lambda cell, value: compare(cell, value) > 0,
    Op.GTE: lambda cell, value: compare(cell, value) >= 0,
    Op.LT: lambda cell, value: compare(cell, value) < 0,
    Op.LTE: lambda cell, value: compare(cell, value) <= 0,
    Op.CONTAINS: lambda cell, value: value in cell,
    Op.STARTS_WITH: lambda cell, value: cell.startswith(value),
    Op.REGEX: search,
}
KIND_OF = {
    "bigint": Kind.INTEGER,
    "float8": Kind.NUMBER,
    "numeric": Kind.NUMBER,
    "text": Kind.TEXT,
    "char(3)": Kind.TEXT,
    "boolean": Kind.BOOLEAN,
    "date": Kind.DATE,
    "timestamptz": Kind.DATETIME,
    "timestamp": Kind.DATETIME,
}

scalar_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
FRESH: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INTEGER: st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False),
    Kind.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    Kind.TEXT: st.text(scalar_characters, max_size=4),
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: st.dates().map(date.isoformat),
    Kind.DATETIME: st.datetimes().map(lambda value: f"{value.isoformat()}Z"),
}

literals = st.sampled_from("aAb1_ é👍\u0301%\n'\"/") | st.sampled_from("\\.+*?()|[]{}^$-&~").map(
    "\\{}".format
)
shorthands = st.sampled_from(["\\d", "\\w", "\\s"])
ranges = st.sampled_from(["a-c", "A-z", "!-\\~", "é-👍", "\t-\r", "0-9"])
classes = st.builds(
    "[{}{}]".format,
    st.sampled_from(["", "^"]),
    st.lists(literals | shorthands | ranges, min_size=1, max_size=3).map("".join),
)
anchors = st.sampled_from(["^", "$", ""])
quantifiers = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}", "{1,3}"])
negated = st.sampled_from([".", "\\D", "\\W", "\\S"])
atoms = st.recursive(
    literals | shorthands | classes | negated,
    lambda inner: st.builds(
        "({}{}|{}{})".format, anchors, st.lists(inner, max_size=2).map("".join), inner, anchors
    ).flatmap(lambda group: quantifiers.map(group.__add__)),
    max_leaves=6,
)
patterns = st.lists(
    st.builds("{}{}".format, st.builds("(?:{})".format, atoms), quantifiers) | anchors, max_size=4
).map("".join)


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(list(COLUMNS)))
    pg_type, _, operands = COLUMNS[field]
    op = Op(draw(st.sampled_from(allowed_operators(KIND_OF[pg_type]))))
    values = st.sampled_from(operands) | FRESH[KIND_OF[pg_type]]
    leaf: dict[str, Any] = {"field": field, "operator": str(op)}
    if op is Op.REGEX:
        leaf["value"] = draw(patterns)
    elif OPERATORS[op].takes is Takes.LIST:
        leaf["value"] = draw(st.lists(values, max_size=4))
    elif OPERATORS[op].takes is Takes.ONE:
        leaf["value"] = draw(values)
    return leaf


conditions = st.recursive(
    leaves(),
    lambda inner: st.fixed_dictionaries(
        {
            "combinator": st.sampled_from(["AND", "OR"]),
            "conditions": st.lists(inner, min_size=1, max_size=3),
        }
    ),
    max_leaves=6,
)


def test_both_compilers_agree_on_every_operator_and_value(table: Table) -> None:
    for field, (pg_type, _, operands) in COLUMNS.items():
        for name in allowed_operators(KIND_OF[pg_type]):
            takes = OPERATORS[Op(name)].takes
            leaf = {"field": field, "operator": name}
            if takes is Takes.NOTHING:
                verify(table, leaf)
            elif takes is Takes.LIST:
                for values in ([], operands, operands[::2], operands[1:2]):
                    verify(table, {**leaf, "value": values})
            elif name != "regex":
                for value in operands:
                    verify(table, {**leaf, "value": value})


def test_both_compilers_agree_on_any_condition(table: Table) -> None:
    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(conditions)
    def agree(data: Any) -> None:
        verify(table, data)

    agree()


def test_both_compilers_agree_on_any_pattern(table: Table) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(patterns)
    def agree(pattern: str) -> None:
        verify(table, {"field": "^t$", "operator": "regex", "value": pattern})

    agree()


def test_an_empty_condition_keeps_every_row(table: Table) -> None:
    verify(table, [])
    assert table.frame.filter(column_expr(Group("and", ()))).height == ROWS


def test_a_view_gives_the_same_rows_whatever_the_session_says(table: Table) -> None:
    data = [
        {"field": "d", "operator": "gte", "value": "1970-01-01"},
        {"field": "s", "operator": "lt", "value": "2024-03-10T07:30:00.000001Z"},
        {"field": "plain", "operator": "lte", "value": "1970-01-01T00:00:00Z"},
        {"field": "^t$", "operator": "not_in", "value": ["a\\b", "'", '"', "%s", "{x}", "é\n"]},
    ]
    condition = parse_condition(data, table.kinds, "filters")
    expected = table.frame.filter(column_expr(condition))["id"].to_list()
    assert expected
    table.connection.execute(
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'German';"
        " SET standard_conforming_strings = off; SET extra_float_digits = 0"
    )
    view = sql.SQL("CREATE VIEW conditions.seg AS SELECT id FROM conditions.people WHERE {}")
    table.connection.execute(view.format(table.sql(condition)))
    table.connection.execute("SET TimeZone = 'Asia/Tokyo'")
    rows = table.connection.execute("SELECT id FROM conditions.seg ORDER BY id").fetchall()
    assert [key for (key,) in rows] == expected


def test_text_compares_bytewise_whatever_the_collation_of_the_column(table: Table) -> None:
    icu = "SELECT FROM pg_collation WHERE collname = 'und-x-icu'"
    if table.connection.execute(icu).fetchone() is None:
        pytest.skip("this PostgreSQL has no ICU collations")
    table.connection.execute(
        "CREATE COLLATION conditions.loose"
        " (provider = icu, locale = 'und-u-ks-level1', deterministic = false);"
        'ALTER TABLE conditions.people ALTER "^t$" TYPE text COLLATE conditions.loose'
    )
    for name in ("eq", "gt", "contains", "starts_with", "regex"):
        verify(table, {"field": "^t$", "operator": name, "value": "a"})
    verify(table, {"field": "^t$", "operator": "not_in", "value": ["a", "É"]})
