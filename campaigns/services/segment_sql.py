"""The view of a segment as one SELECT: base table, joins through keys, conditions.

Pure composition: names are identifiers, values are literals, nothing is pasted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql

from executor.flow.conditions import Condition
from executor.flow.sql import condition_sql
from executor.flow.types import Column, Kind, PgType, column_sql

_BASE = "base"


class JoinType(StrEnum):
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    LEFT = "left"
    INNER = "inner"

    @property
    def adds_columns(self) -> bool:
        return self in (JoinType.LEFT, JoinType.INNER)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view; `unique` are the columns that a unique index holds on their own."""

    schema: str
    name: str
    columns: Mapping[str, Column]
    unique: frozenset[str]


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of another relation whose key equals the customer's and that meet the condition."""

    type: JoinType
    alias: str
    relation: Relation
    local_key: Column
    foreign_key: Column
    columns: tuple[str, ...]
    condition: Condition


@dataclass(frozen=True, slots=True)
class View:
    """What a segment's view selects; its condition names columns of joins `alias.column`."""

    base: Relation
    joins: tuple[Join, ...]
    condition: Condition

    def columns(self) -> dict[str, Column]:
        """The columns of the view in their order."""
        added = {
            f"{join.alias}.{name}": join.relation.columns[name]
            for join in self.joins
            for name in join.columns
        }
        return {**self.base.columns, **added}


def sources(base: Relation, joins: Sequence[Join]) -> dict[str, tuple[str, Column]]:
    """What the segment's own filters may name, with its table: base columns, `alias.column`."""
    named = {
        f"{join.alias}.{name}": (table, column)
        for table, join in _tables(joins).items()
        if join.type.adds_columns
        for name, column in join.relation.columns.items()
    }
    return {**named, **{name: (_BASE, column) for name, column in base.columns.items()}}


def view_sql(view: View) -> sql.Composable:
    """The SELECT of the view: each customer of the base at most once."""
    found = sources(view.base, view.joins)
    tables = _tables(view.joins)
    added = [_join_sql(table, join) for table, join in tables.items() if join.type.adds_columns]
    exists = [_exists_sql(t, join) for t, join in tables.items() if not join.type.adds_columns]
    condition = condition_sql(view.condition, lambda name: _cast(*found[name]))
    return sql.SQL("SELECT {columns} FROM {base}{added} WHERE {conditions}").format(
        columns=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(_identifier(*found[name]), sql.Identifier(name))
            for name in view.columns()
        ),
        base=_table(view.base, _BASE),
        added=sql.SQL("").join(added),
        conditions=sql.SQL(" AND ").join([condition, *exists]),
    )


def comparable(local: Column, foreign: Column) -> bool:
    """Whether two keys can be compared."""
    return local.kind is not None and local.kind is foreign.kind


def keeps_unique(local: Column, foreign: Column) -> bool:
    """Whether unique values of the foreign key stay unique in the form they are compared in."""
    left, right = local.pg_type.resolved(), foreign.pg_type.resolved()
    return _same_equality(left, right) or _casts_one_to_one(right)


def _tables(joins: Sequence[Join]) -> dict[str, Join]:
    return {f"join{number}": join for number, join in enumerate(joins, 1)}


def _join_sql(table: str, join: Join) -> sql.Composable:
    return sql.SQL("{type} {relation} ON {on}").format(
        type=sql.SQL(" LEFT JOIN" if join.type is JoinType.LEFT else " JOIN"),
        relation=_table(join.relation, table),
        on=_on(table, join),
    )


def _exists_sql(table: str, join: Join) -> sql.Composable:
    return sql.SQL("{word} (SELECT FROM {relation} WHERE {on})").format(
        word=sql.SQL("EXISTS" if join.type is JoinType.EXISTS else "NOT EXISTS"),
        relation=_table(join.relation, table),
        on=_on(table, join),
    )


def _on(table: str, join: Join) -> sql.Composable:
    columns = join.relation.columns
    return sql.SQL("{} AND {}").format(
        _equal(join.local_key, table, join.foreign_key),
        condition_sql(join.condition, lambda name: _cast(table, columns[name])),
    )


def _equal(local: Column, table: str, foreign: Column) -> sql.Composable:
    if _same_equality(local.pg_type.resolved(), foreign.pg_type.resolved()):
        left, right = _identifier(_BASE, local), _identifier(table, foreign)
    else:
        left, right = _cast(_BASE, local), _cast(table, foreign)
        if local.kind is Kind.TEXT:
            right = sql.SQL('({} COLLATE "C")').format(right)
    return sql.SQL("{} = {}").format(left, right)


def _table(relation: Relation, name: str) -> sql.Composable:
    return sql.SQL("{} AS {}").format(
        sql.Identifier(relation.schema, relation.name), sql.Identifier(name)
    )


def _identifier(table: str, column: Column) -> sql.Composable:
    return sql.Identifier(table, column.name)


def _cast(table: str, column: Column) -> sql.Composable:
    return column_sql(_identifier(table, column), column.pg_type)[0]


# Compared as they are: quicker than through a cast, usable by an index, and no two values become
# one. Text is not among them: its own equality depends on collations.
_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_OWN_EQUALITY = _INTEGERS | {
    *("real", "double precision", "numeric", "money", "interval", "boolean", "uuid", "date"),
    *("timestamp with time zone", "timestamp without time zone"),
}
# Their casts keep different values different; those of timestamps, money or arrays may not.
_ONE_TO_ONE = frozenset({"real", "double precision", "uuid", "bytea", "inet", "cidr"})
_EXACT_DIGITS = 15


def _same_equality(left: PgType, right: PgType) -> bool:
    names = {left.name, right.name}
    return names <= _INTEGERS or (len(names) == 1 and names <= _OWN_EQUALITY)


def _casts_one_to_one(pg_type: PgType) -> bool:
    if pg_type.name == "numeric":
        return pg_type.typmod >= 4 and (pg_type.typmod - 4) >> 16 <= _EXACT_DIGITS
    text = pg_type.typtype == "b" and pg_type.typcategory == "S"
    return text or pg_type.typtype == "e" or pg_type.name in _ONE_TO_ONE
