"""Simple templates as column expressions: text, variables, `default`, `round`, `upcase`,
`downcase`, and conditions on variables. They mean what `templates.render` does, row by row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from liquid import escape
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions import logical as ask
from liquid.builtin.expressions.primitive import FloatLiteral, IntegerLiteral, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.expression import Expression

from executor.flow.formula_functions import rounded
from executor.flow.formula_values import Typed, number, text
from executor.flow.templates import MAX_DIGITS, Template, missing_text, path_name
from executor.flow.types import Kind

NUMBERS = (Kind.INTEGER, Kind.NUMBER)
#: More than this is left to the other path: the expression would only grow.
MAX_NODES = 200


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's column and kind; null where it is missing, and never an empty text."""

    expr: pl.Expr
    kind: Kind

    @property
    def text(self) -> pl.Expr:
        """As a template prints it."""
        if self.kind is Kind.BOOLEAN:
            return pl.when(self.expr).then(pl.lit("true")).when(~self.expr).then(pl.lit("false"))
        return text(Typed(self.expr, self.kind))


@dataclass(frozen=True, slots=True)
class Rendered:
    """Two text columns: what comes out, and why nothing does (null where something does)."""

    text: pl.Expr
    fault: pl.Expr


class _NotSimple(Exception):
    """The template needs what has no expression here."""


def compile_template(template: Template, variables: Mapping[str, Variable]) -> Rendered | None:
    """The template as expressions, or None if it is not simple enough.

    `variables` has all its names.
    """
    compiler = _Compiler(template.html, variables)
    try:
        return compiler.block(template.parsed.nodes)
    except _NotSimple:
        return None


class _Compiler:
    def __init__(self, html: bool, variables: Mapping[str, Variable]) -> None:
        self.html = html
        self.variables = variables
        self.nodes = 0

    def block(self, nodes: Sequence[Node]) -> Rendered:
        """One after the other; the first fault is the fault."""
        self.nodes += len(nodes)
        if self.nodes > MAX_NODES:
            raise _NotSimple
        parts = [self.node(node) for node in nodes]
        if not parts:
            return Rendered(pl.lit(""), pl.lit(None, pl.String))
        return Rendered(
            pl.concat_str([part.text.fill_null("") for part in parts]),
            pl.coalesce(part.fault for part in parts),
        )

    def node(self, node: Node) -> Rendered:
        if isinstance(node, ContentNode):
            return Rendered(pl.lit(node.text), pl.lit(None, pl.String))
        if isinstance(node, OutputNode) and isinstance(node.expression, FilteredExpression):
            return self.output(node.expression)
        if isinstance(node, IfNode):
            return self.choice(node)
        raise _NotSimple

    def choice(self, node: IfNode) -> Rendered:
        branches = [(node.condition, node.consequence)]
        branches += [(each.expression, each.block) for each in node.alternatives]
        found = self.inner(node.default) if node.default else self.block([])
        for condition, block in reversed(branches):
            holds = self.condition(condition)
            yes = self.inner(block)
            found = Rendered(
                pl.when(holds).then(yes.text).otherwise(found.text),
                pl.when(holds).then(yes.fault).otherwise(found.fault),
            )
        return found

    def inner(self, block: BlockNode) -> Rendered:
        """What stands in a tag is left out if it is nothing but white space."""
        return self.block([] if block.blank else block.nodes)

    def output(self, expression: FilteredExpression) -> Rendered:
        name, variable = self.variable(expression.left)
        missing = pl.lit(missing_text(name))
        fault: pl.Expr = pl.when(variable.expr.is_null()).then(missing)
        whole: pl.Expr | None = None
        filters = expression.filters or []
        for position, each in enumerate(filters):
            arguments = [argument.value for argument in each.args]
            if each.name in _CASES and not arguments:
                whole = _CASES[each.name](variable.text if whole is None else whole)
            elif each.name == "round" and whole is None:
                variable = _round(variable, arguments)
            elif each.name == "default" and position == 0 and variable.kind is not Kind.BOOLEAN:
                default = _literal(arguments)
                if len(filters) == 1:
                    values = (self.escaped(variable.text), pl.lit(default))
                    return Rendered(pl.coalesce(values), pl.lit(None, pl.String))
                if self.html and escape(default) != default:
                    raise _NotSimple
                whole = pl.coalesce(variable.text, pl.lit(default))
                fault = pl.lit(None, pl.String)
            else:
                raise _NotSimple
        return Rendered(self.escaped(variable.text if whole is None else whole), fault)

    def escaped(self, whole: pl.Expr) -> pl.Expr:
        """Literals of a template are HTML already, values are not."""
        if not self.html:
            return whole
        for character in "&<>'\"":
            whole = whole.str.replace_all(character, str(escape(character)), literal=True)
        return whole

    def variable(self, expression: Expression) -> tuple[str, Variable]:
        name = path_name(expression)
        if name is None or name not in self.variables:
            raise _NotSimple
        return name, self.variables[name]

    def condition(self, expression: Expression) -> pl.Expr:
        """Never null."""
        if isinstance(expression, ask.BooleanExpression):
            return self.condition(expression.expression)
        if isinstance(expression, ask.LogicalAndExpression):
            return self.condition(expression.left) & self.condition(expression.right)
        if isinstance(expression, ask.LogicalOrExpression):
            return self.condition(expression.left) | self.condition(expression.right)
        compare = _COMPARISONS.get(type(expression))
        if compare is not None:
            return self.comparison(compare, expression)
        _, variable = self.variable(expression)
        if variable.kind is Kind.BOOLEAN:
            return variable.expr.fill_null(False)
        return variable.expr.is_not_null()

    def comparison(self, compare: Callable[[Any, Any], pl.Expr], pair: Any) -> pl.Expr:
        """Of a variable with a text or a number of its own kind; with a missing one it fails."""
        _, variable = self.variable(pair.left)
        literal = pair.right
        fitting = (
            (variable.kind is Kind.TEXT and isinstance(literal, StringLiteral))
            or (variable.kind in NUMBERS and isinstance(literal, IntegerLiteral))
            or (variable.kind is Kind.NUMBER and isinstance(literal, FloatLiteral))
        )
        if not fitting:
            raise _NotSimple
        value = literal.value
        if not isinstance(value, str) and abs(value) >= 2**53:
            raise _NotSimple
        absent = isinstance(pair, ask.NeExpression)
        return compare(variable.expr, pl.lit(value)).fill_null(absent)


_CASES: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "upcase": lambda expr: expr.str.to_uppercase(),
    "downcase": lambda expr: expr.str.to_lowercase(),
}
_COMPARISONS: Mapping[type, Callable[[Any, Any], pl.Expr]] = {
    ask.EqExpression: lambda a, b: a == b,
    ask.NeExpression: lambda a, b: a != b,
    ask.LtExpression: lambda a, b: a < b,
    ask.LeExpression: lambda a, b: a <= b,
    ask.GtExpression: lambda a, b: a > b,
    ask.GeExpression: lambda a, b: a >= b,
}


def _round(variable: Variable, arguments: Sequence[Expression]) -> Variable:
    digits = 0
    if arguments:
        argument = arguments[0]
        if (
            len(arguments) > 1
            or not isinstance(argument, IntegerLiteral)
            or not 0 <= argument.value <= MAX_DIGITS
        ):
            raise _NotSimple
        digits = argument.value
    if variable.kind is Kind.INTEGER:
        return variable
    if variable.kind is not Kind.NUMBER:
        raise _NotSimple
    result = rounded(Typed(variable.expr, variable.kind), digits)
    return Variable(number(result), Kind.NUMBER)


def _literal(arguments: Sequence[Expression]) -> str:
    if len(arguments) != 1 or not isinstance(arguments[0], StringLiteral | IntegerLiteral):
        raise _NotSimple
    return str(arguments[0].value)
