"""The kinds a condition can compare, and the one cast each PostgreSQL type gets.

Segment views and the freeze statement both read a customer column through `column_sql`, so a
filter sees the very value that is frozen. No result depends on a session's settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from psycopg import sql

from executor.errors import Rejected


class Kind(StrEnum):
    """What a column holds once cast: bigint, float8, text, boolean, date or timestamptz."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True)
class PgType:
    """A type of the catalog. `name` is what `format_type(oid, NULL)` prints."""

    name: str
    typtype: str = "b"
    typcategory: str = "U"
    typmod: int = -1
    base: "PgType | None" = None
    element: "PgType | None" = None

    @property
    def is_array(self) -> bool:
        return self.element is not None

    def resolved(self) -> "PgType":
        """The type under all domains."""
        return self if self.base is None else self.base.resolved()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a customer table; `kind` is None when its type cannot be used, for `reason`."""

    name: str
    pg_type: PgType
    kind: Kind | None
    nullable: bool
    reason: str = ""

    @property
    def supported(self) -> bool:
        return self.kind is not None


class Cursor(Protocol):
    """What psycopg's cursor and Django's have in common."""

    def execute(self, query: Any, params: Any = None, /) -> Any: ...
    def fetchall(self) -> Sequence[Any]: ...


_TEXT = sql.SQL("({x})::text")
# Dates outside the years 1 to 9999 have no place in Python, polars or a file: they become its ends.
_DATE = sql.SQL(
    "(CASE WHEN ({x})::date > '9999-12-31'::date THEN '9999-12-31'::date"
    " WHEN ({x})::date < '0001-01-01'::date THEN '0001-01-01'::date ELSE ({x})::date END)"
)
_TIMESTAMPTZ = sql.SQL(
    "(CASE WHEN {x} > '9999-12-31 23:59:59.999999+00'::timestamptz"
    " THEN '9999-12-31 23:59:59.999999+00'::timestamptz"
    " WHEN {x} < '0001-01-01 00:00:00+00'::timestamptz"
    " THEN '0001-01-01 00:00:00+00'::timestamptz ELSE {x} END)"
)
_TIMESTAMP = sql.SQL(
    "((CASE WHEN {x} > '9999-12-31 23:59:59.999999'::timestamp"
    " THEN '9999-12-31 23:59:59.999999'::timestamp"
    " WHEN {x} < '0001-01-01 00:00:00'::timestamp"
    " THEN '0001-01-01 00:00:00'::timestamp ELSE {x} END) AT TIME ZONE 'UTC')"
)
_FLOAT = sql.SQL("({x})::float8")
# PostgreSQL refuses to cast a numeric that float8 cannot hold, and one row would fail the segment.
_WIDE_NUMERIC = sql.SQL(
    "(CASE WHEN abs({x}) < '2.2250738585072014e-308'::numeric THEN '0'::float8"
    " WHEN {x} > '1.7976931348623157e308'::numeric AND {x} < 'Infinity'::numeric"
    " THEN 'Infinity'::float8"
    " WHEN {x} < '-1.7976931348623157e308'::numeric AND {x} > '-Infinity'::numeric"
    " THEN '-Infinity'::float8 ELSE ({x})::float8 END)"
)

_CASTS: Mapping[str, tuple[sql.SQL, Kind]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), (sql.SQL("({x})::bigint"), Kind.INTEGER)),
    **dict.fromkeys(("real", "double precision"), (_FLOAT, Kind.NUMBER)),
    "numeric": (_FLOAT, Kind.NUMBER),
    "money": (sql.SQL("({x})::numeric::float8"), Kind.NUMBER),
    "interval": (sql.SQL("(extract(epoch FROM {x}))::float8"), Kind.NUMBER),
    "boolean": (sql.SQL("({x})::boolean"), Kind.BOOLEAN),
    **dict.fromkeys(("uuid", "cidr", "json", "jsonb", "xml"), (_TEXT, Kind.TEXT)),
    **dict.fromkeys(("time without time zone", "time with time zone"), (_TEXT, Kind.TEXT)),
    # A cast to text would print every address with its /32.
    "inet": (sql.SQL("abbrev({x})"), Kind.TEXT),
    "bytea": (sql.SQL("encode({x}, 'hex')"), Kind.TEXT),
    "date": (_DATE, Kind.DATE),
    "timestamp with time zone": (_TIMESTAMPTZ, Kind.DATETIME),
    "timestamp without time zone": (_TIMESTAMP, Kind.DATETIME),
}
# Inside an array these print by the session's time zone or by settings, so two readers may differ.
_UNSTABLE_IN_ARRAYS = frozenset({"timestamp with time zone", "interval", "bytea", "money"})


def column_sql(expr: sql.Composable, pg_type: PgType) -> tuple[sql.Composable, Kind]:
    """Cast a column to what conditions, chunks and files see; NULL stays NULL.

    Numbers become float8, whole numbers bigint, timestamps without a zone are taken as UTC, dates
    and timestamps are clamped to the years 1 to 9999, arrays become JSON text.
    Raises Rejected for a type that is not on the list.
    """
    resolved = pg_type.resolved()
    reason = _unsupported(resolved)
    if reason:
        raise Rejected(reason)
    if resolved.is_array:
        return sql.SQL("to_json({x})::text").format(x=expr), Kind.TEXT
    if resolved.name == "numeric" and not _fits_float(resolved.typmod):
        return _WIDE_NUMERIC.format(x=expr), Kind.NUMBER
    template, kind = _CASTS.get(resolved.name, (_TEXT, Kind.TEXT))
    return template.format(x=expr), kind


def read_columns(cursor: Cursor, schema: str, relation: str) -> dict[str, Column]:
    """The columns of a table or view in their order, from the catalog (two queries).

    Raises Rejected when there is no such relation.
    """
    cursor.execute(_COLUMNS, (schema, relation))
    rows = list(cursor.fetchall())
    if not rows:
        raise Rejected(f'there is no table or view "{relation}" in schema "{schema}"')
    types = _read_types(cursor, {row[1] for row in rows})
    return {
        name: _column(name, _with_typmod(types[oid], typmod), nullable=not not_null)
        for name, oid, typmod, not_null in rows
    }


def unique_columns(cursor: Cursor, schema: str, relation: str) -> frozenset[str]:
    """The columns of a table of which the catalog says that no two rows have the same (one query).

    Nulls may repeat.
    """
    cursor.execute(_UNIQUE, (schema, relation))
    return frozenset(name for (name,) in cursor.fetchall())


def _unsupported(pg_type: PgType) -> str:
    element = pg_type.element.resolved() if pg_type.element else None
    if element is not None:
        bad = element.is_array or _unsupported(element) or element.name in _UNSTABLE_IN_ARRAYS
        return f"arrays of type {element.name} are not supported" if bad else ""
    if pg_type.name in _CASTS or pg_type.typtype == "e":
        return ""
    # Category S is every kind of character string: text, varchar, bpchar, name, citext.
    if pg_type.typtype == "b" and pg_type.typcategory == "S":
        return ""
    return f"type {pg_type.name} is not supported"


def _fits_float(typmod: int) -> bool:
    """Whether numeric(precision, scale) can hold nothing that float8 cannot."""
    if typmod < 4:
        return False
    precision, scale = (typmod - 4) >> 16, (((typmod - 4) & 0x7FF) ^ 1024) - 1024
    return precision <= 300 and 0 <= scale <= 300


def _column(name: str, pg_type: PgType, *, nullable: bool) -> Column:
    try:
        _, kind = column_sql(sql.Identifier(name), pg_type)
    except Rejected as error:
        return Column(name, pg_type, None, nullable, str(error))
    return Column(name, pg_type, kind, nullable)


def _with_typmod(pg_type: PgType, typmod: int) -> PgType:
    return pg_type if pg_type.base is not None else replace(pg_type, typmod=typmod)


def _read_types(cursor: Cursor, oids: set[int]) -> dict[int, PgType]:
    cursor.execute(_TYPES, (sorted(oids),))
    rows = {row[0]: row[1:] for row in cursor.fetchall()}

    def build(oid: int) -> PgType:
        name, typtype, category, base, base_typmod, element = rows[oid]
        return PgType(
            name=name,
            typtype=typtype,
            typcategory=category,
            base=_with_typmod(build(base), base_typmod) if base else None,
            element=build(element) if element else None,
        )

    return {oid: build(oid) for oid in oids}


_COLUMNS = """
SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_TYPES = """
WITH RECURSIVE seen(oid) AS (
  SELECT unnest(%s::oid[])
  UNION
  SELECT nested.oid
  FROM seen
  JOIN pg_catalog.pg_type t ON t.oid = seen.oid
  CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS nested(oid)
  WHERE nested.oid <> 0 AND (t.typtype = 'd' OR t.typcategory = 'A')
)
SELECT t.oid, pg_catalog.format_type(t.oid, NULL), t.typtype::text, t.typcategory::text,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE 0 END,
       t.typtypmod,
       CASE WHEN t.typtype = 'b' AND t.typcategory = 'A' THEN t.typelem ELSE 0 END
FROM seen JOIN pg_catalog.pg_type t ON t.oid = seen.oid
"""

# An expression in an index counts as column 0, which joins nothing. A unique index of a parent
# table says nothing about the rows of tables that inherit from it.
_UNIQUE = """
SELECT a.attname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE n.nspname = %s AND c.relname = %s
  AND i.indisunique AND i.indisvalid AND i.indislive AND i.indnkeyatts = 1 AND i.indpred IS NULL
  AND (c.relkind <> 'r' OR NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = c.oid))
"""
