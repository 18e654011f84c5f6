"""Conditions as polars expressions over frozen columns."""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import polars as pl
from polars import selectors

from executor.flow import regex
from executor.flow.conditions import Condition, Leaf, Not
from executor.flow.operators import Op

Column = Callable[[str], pl.Expr]


def by_name(name: str) -> pl.Expr:
    """The column of exactly this name: `pl.col` would read `*` and `^...$` as patterns."""
    return selectors.by_name(name).as_expr()


def column_expr(condition: Condition, column: Column = by_name) -> pl.Expr:
    """A boolean expression with one value per row, never null.

    `column` gives the expression of a field; its values must have been cast by `column_sql`.
    """
    if isinstance(condition, Leaf):
        return _leaf(condition, column)
    if isinstance(condition, Not):
        return ~column_expr(condition.child, column)
    if not condition.children:
        return pl.repeat(True, pl.len())
    children = [column_expr(child, column) for child in condition.children]
    return reduce(operator.and_ if condition.combinator == "and" else operator.or_, children)


def _leaf(leaf: Leaf, column: Column) -> pl.Expr:
    if leaf.operator is Op.IN and leaf.operand == ():
        return pl.repeat(False, pl.len())
    result = _OPERATORS[leaf.operator](column(leaf.field), leaf.operand)
    return result if leaf.operand is None else result.fill_null(False)


_OPERATORS: Mapping[Op, Callable[[pl.Expr, Any], pl.Expr]] = {
    Op.EQ: operator.eq,
    Op.NEQ: operator.ne,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
    Op.IN: lambda column, values: column.is_in(values),
    Op.NOT_IN: lambda column, values: ~column.is_in(values),
    Op.CONTAINS: lambda column, text: column.str.contains(text, literal=True),
    Op.STARTS_WITH: lambda column, text: column.str.starts_with(text),
    Op.REGEX: lambda column, text: column.str.contains(regex.to_rust(text)),
    Op.IS_NULL: lambda column, _: column.is_null(),
    Op.IS_NOT_NULL: lambda column, _: column.is_not_null(),
}
