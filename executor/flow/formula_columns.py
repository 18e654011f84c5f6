"""Formulas over columns: a formula and the columns of its names -> one column.

What cannot be computed is null, never an error: x / 0, the root of a negative number, text that is
no number, a number beyond float64.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from executor.flow.formula import Binary, Call, Choice, Formula, Node, Unary
from executor.flow.formula import Literal as Constant
from executor.flow.formula_functions import CALLS, choice, date_diff, rounded
from executor.flow.formula_values import (
    DATE,
    INSTANT,
    Clock,
    Typed,
    column_source,
    constant,
    converted,
    divided,
    flag,
    number,
    numbers,
    remainder,
    text,
    texts,
    truth,
)
from executor.flow.types import Kind

Output: TypeAlias = Literal["number", "text"]
#: A longer result is no text any more: one field's result may stand many times in another's.
MAX_TEXT = 10_000


def evaluate(
    formula: Formula, names: Mapping[str, pl.Series | Any], rows: int, clock: Clock, output: Output
) -> pl.Series:
    """The formula's value in each of the rows, as float64 or text.

    `names` has a column of `rows` values, or one value for all, for every name of the formula.
    """
    columns = {name: value for name, value in names.items() if isinstance(value, pl.Series)}
    places = {name: number for number, name in enumerate(columns, 1)}
    every = pl.Series("every", np.arange(rows))
    frame = pl.DataFrame([every, *(column.alias(name) for name, column in columns.items())])
    sources = {
        name: column_source(pl.nth(places[name]), value.dtype, clock)
        if isinstance(value, pl.Series)
        else constant(value)
        for name, value in names.items()
    }
    value = as_output(compile_formula(formula, sources, clock), output)
    return frame.with_columns(value.alias("=value"))["=value"]


def as_output(value: Typed, output: Output) -> pl.Expr:
    if output == "number":
        return number(value)
    found = text(value)
    return pl.when(found.str.len_chars() <= MAX_TEXT).then(found)


def compile_formula(formula: Formula, sources: Mapping[str, Typed], clock: Clock) -> Typed:
    """The formula as an expression; `sources` has all its names."""
    return _Compiler(sources, clock).node(formula.root)


class _Compiler:
    def __init__(self, sources: Mapping[str, Typed], clock: Clock) -> None:
        self.sources = sources
        self.clock = clock

    def node(self, node: Node) -> Typed:
        if isinstance(node, Constant):
            return constant(node.value)
        if isinstance(node, Unary):
            operand = self.node(node.operand)
            return flag(~truth(operand)) if node.operator == "!" else numbers(-number(operand))
        if isinstance(node, Binary):
            return _binary(node.operator, self.node(node.left), self.node(node.right))
        if isinstance(node, Choice):
            return choice(*map(self.node, (node.condition, node.yes, node.no)))
        return self._call(node) if isinstance(node, Call) else self.sources[node.name]

    def _call(self, call: Call) -> Typed:
        if call.function in ("now", "today"):
            local = self.clock.local
            if call.function == "now":
                return Typed(pl.lit(local, INSTANT), Kind.DATETIME)
            return Typed(pl.lit(local.date(), DATE), Kind.DATE)
        values = [self.node(argument) for argument in call.arguments]
        if call.function == "date_diff":
            unit = call.arguments[2]
            return date_diff(values[0], values[1], str(getattr(unit, "value", "")))
        if call.function == "round":
            digits = call.arguments[1] if call.arguments[1:] else Constant(0.0)
            return rounded(values[0], int(getattr(digits, "value", 0)))
        return CALLS[call.function](*values)


def _binary(operator: str, left: Typed, right: Typed) -> Typed:
    if operator == "&&":
        return flag(truth(left) & truth(right))
    if operator == "||":
        return flag(truth(left) | truth(right))
    if operator in _COMPARISONS:
        return _compare(operator, left, right)
    if operator == "+" and Kind.TEXT in (left.kind, right.kind):
        return texts(text(left) + text(right))
    a, b = number(left), number(right)
    if operator in "/%":
        b = pl.when(b != 0).then(b)
    return numbers(_ARITHMETIC[operator](a, b))


_ARITHMETIC: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": divided,
    "%": remainder,
}
_COMPARISONS: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _compare(operator: str, left: Typed, right: Typed) -> Typed:
    """1 or 0, and null where a value is missing, unless it is compared with a plain null."""
    if left.kind is None or right.kind is None:
        other = right if left.kind is None else left
        missing = other.expr.is_null() if other.kind else pl.lit(True)
        if operator in ("==", "!="):
            return flag(missing if operator == "==" else ~missing)
        return Typed(pl.lit(None, pl.Float64), Kind.NUMBER)
    kind = _compared_as(left.kind, right.kind)
    return flag(_COMPARISONS[operator](converted(left, kind), converted(right, kind)))


def _compared_as(left: Kind, right: Kind) -> Kind:
    """Text is read as what it is compared with."""
    kinds = {left, right}
    if len(kinds) == 1:
        return left
    if kinds <= {Kind.INTEGER, Kind.NUMBER, Kind.TEXT}:
        return Kind.NUMBER
    if kinds <= {Kind.DATE, Kind.TEXT, Kind.DATETIME}:
        return Kind.DATE if kinds == {Kind.DATE, Kind.TEXT} else Kind.DATETIME
    return Kind.TEXT
