"""Conditions as SQL, for segment views: values are literals, nothing is pasted."""

from collections.abc import Callable, Mapping
from datetime import date, datetime

from psycopg import sql

from executor.flow import regex
from executor.flow.conditions import Condition, Leaf, Not
from executor.flow.operators import Op, Operand, Value

Column = Callable[[str], sql.Composable]


def condition_sql(condition: Condition, column: Column) -> sql.Composable:
    """A boolean SQL expression, never NULL, that a view can hold.

    `column` gives the expression of a field, cast by `column_sql`.
    """
    if isinstance(condition, Leaf):
        return _leaf(condition, column(condition.field))
    if isinstance(condition, Not):
        return sql.SQL("(NOT {})").format(condition_sql(condition.child, column))
    if not condition.children:
        return sql.SQL("TRUE")
    word = sql.SQL(" AND ") if condition.combinator == "and" else sql.SQL(" OR ")
    children = [condition_sql(child, column) for child in condition.children]
    return sql.SQL("({})").format(word.join(children))


def literal(value: Value) -> sql.Composable:
    """A value with its type, independent of the session's settings."""
    if isinstance(value, bool):
        return sql.SQL("TRUE" if value else "FALSE")
    if isinstance(value, str):
        return sql.SQL('({}::text COLLATE "C")').format(sql.Literal(value))
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return sql.SQL("{}::{}").format(sql.Literal(text), _TYPES[type(value)])


_TYPES: Mapping[type, sql.SQL] = {
    int: sql.SQL("bigint"),
    float: sql.SQL("float8"),
    date: sql.SQL("date"),
    datetime: sql.SQL("timestamptz"),
}

# IS TRUE turns the NULL of a comparison into false and keeps the planner's estimate.
_TEMPLATES: Mapping[Op, sql.SQL] = {
    Op.EQ: sql.SQL("(({x} = {y}) IS TRUE)"),
    Op.NEQ: sql.SQL("(({x} <> {y}) IS TRUE)"),
    Op.GT: sql.SQL("(({x} > {y}) IS TRUE)"),
    Op.GTE: sql.SQL("(({x} >= {y}) IS TRUE)"),
    Op.LT: sql.SQL("(({x} < {y}) IS TRUE)"),
    Op.LTE: sql.SQL("(({x} <= {y}) IS TRUE)"),
    Op.IN: sql.SQL("(({x} IN ({y})) IS TRUE)"),
    Op.NOT_IN: sql.SQL("(({x} NOT IN ({y})) IS TRUE)"),
    Op.CONTAINS: sql.SQL("((strpos({x}, {y}) > 0) IS TRUE)"),
    Op.STARTS_WITH: sql.SQL("(starts_with({x}, {y}) IS TRUE)"),
    Op.REGEX: sql.SQL("(({x} ~ {y}) IS TRUE)"),
    Op.IS_NULL: sql.SQL("({x} IS NULL)"),
    Op.IS_NOT_NULL: sql.SQL("({x} IS NOT NULL)"),
}


def _leaf(leaf: Leaf, column: sql.Composable) -> sql.Composable:
    if leaf.operator is Op.IN and leaf.operand == ():
        return sql.SQL("FALSE")
    return _TEMPLATES[leaf.operator].format(x=column, y=_operand(leaf.operator, leaf.operand))


def _operand(op: Op, operand: Operand) -> sql.Composable:
    if operand is None:
        return sql.SQL("")
    if isinstance(operand, tuple):
        return sql.SQL(", ").join(map(literal, operand))
    return literal(regex.to_postgres(str(operand)) if op is Op.REGEX else operand)
