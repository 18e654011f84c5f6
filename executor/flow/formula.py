"""Formulas of computed fields: text -> tokens -> syntax tree, by recursive descent. No eval.

`cond ? a : b` binds least, then || (or), && (and), comparisons, + -, * / %, and the unary - and !
most. A dotted name is one identifier.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from executor.errors import Rejected

MAX_LENGTH = 2_000
#: Operations within one another, parentheses included.
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, or null. true and false are 1 and 0."""

    value: float | str | None


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """The operator is "-" or "!"."""

    operator: str
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    """One of + - * / % == != < <= > >= && ||."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Choice:
    condition: "Node"
    yes: "Node"
    no: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple["Node", ...]


Node: TypeAlias = Literal | Name | Unary | Binary | Choice | Call


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula and the names it reads, in the order of their first use."""

    text: str
    root: Node
    names: tuple[str, ...]


class Arity(NamedTuple):
    least: int
    most: int


MANY = 100
#: Every function and how many arguments it takes.
FUNCTIONS: Mapping[str, Arity] = {
    **dict.fromkeys(("min", "max", "coalesce", "concat"), Arity(1, MANY)),
    **dict.fromkeys(("abs", "floor", "ceil", "sqrt", "number", "text", "date"), Arity(1, 1)),
    **dict.fromkeys(("upper", "lower", "trim", "length"), Arity(1, 1)),
    **dict.fromkeys(("year", "month", "day", "hour", "weekday"), Arity(1, 1)),
    **dict.fromkeys(("contains", "starts_with", "ends_with", "left", "right", "pow"), Arity(2, 2)),
    **dict.fromkeys(("days_between", "add_days"), Arity(2, 2)),
    **dict.fromkeys(("now", "today"), Arity(0, 0)),
    "round": Arity(1, 2),
    "substring": Arity(2, 3),
    "date_diff": Arity(3, 3),
    "if": Arity(3, 3),
}
UNITS = ("days", "weeks", "months", "years")
MAX_DIGITS = 10


class Token(NamedTuple):
    kind: str  # number, text, name, operator, end
    text: str
    position: int


_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[^\W0-9]\w*(?:\.\w+)*)"
    r"""|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"|(?P<operator>==|!=|<>|<=|>=|&&|\|\||[-+*/%<>=!?:(),])",
    re.DOTALL,
)
_BLANK = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t"}
_SAME = {"=": "==", "<>": "!=", "and": "&&", "or": "||", "not": "!"}
_CONSTANTS: Mapping[str, float | None] = {"true": 1.0, "false": 0.0, "null": None}
#: Binary operators, those that bind least first.
_LEVELS = (
    ("||",),
    ("&&",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/", "%"),
)


def parse_formula(text: str) -> Formula:
    """Raises Rejected saying where the formula is wrong, what stands there, and what may."""
    if len(text) > MAX_LENGTH:
        raise Rejected(f"has {len(text)} characters; a formula may have at most {MAX_LENGTH}")
    parser = _Parser(list(_tokens(text)))
    root = parser.choice()
    parser.expect_end()
    if _depth(root) > MAX_DEPTH:
        raise Rejected(f"has more than {MAX_DEPTH} operations within one another")
    return Formula(text, root, tuple(dict.fromkeys(_names(root))))


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    while True:
        place = _whitespace_end(text, place)
        if place == len(text):
            yield Token("end", "", place)
            return
        found = _TOKEN.match(text, place)
        if found is None:
            what = "a text without its closing quote" if text[place] in "\"'" else text[place]
            raise _fault(place, what, "a value or an operator")
        kind = str(found.lastgroup)
        yield Token(kind, found[0], place)
        place = found.end()


def _whitespace_end(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _fault(position: int, found: str, expected: str) -> Rejected:
    return Rejected(f"position {position + 1}: found {found}, expected {expected}")


class _Parser:
    """One method per level of the grammar; each leaves off behind what it has read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def choice(self) -> Node:
        self._deeper()
        condition = self.binary(0)
        if self._took("?"):
            yes = self.choice()
            self._expect(":", 'a ":" and what holds otherwise')
            condition = Choice(condition, yes, self.choice())
        self.depth -= 1
        return condition

    def binary(self, level: int) -> Node:
        """Operators of one level, from left to right."""
        if level == len(_LEVELS):
            return self.unary()
        if level == 2 and self.token.text == "not":
            self._took("!")
            self._deeper()
            negated = Unary("!", self.binary(level))
            self.depth -= 1
            return negated
        left = self.binary(level + 1)
        while (operator := self._operator()) in _LEVELS[level]:
            self.at += 1
            left = Binary(operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        for sign in ("-", "!"):
            if self._took(sign):
                self._deeper()
                node = Unary(sign, self.unary())
                self.depth -= 1
                return node
        if self._took("+"):
            raise self._unexpected("a value; a sign of plus has no meaning", back=1)
        return self.value()

    def value(self) -> Node:
        token = self.token
        if self._took("("):
            inner = self.choice()
            self._expect(")", 'an operator or ")"')
            return inner
        if token.kind in ("end", "operator") or token.text in _SAME:
            raise self._unexpected("a value")
        self.at += 1
        if token.kind == "number":
            return _number(token)
        if token.kind == "text":
            return Literal(_ESCAPE.sub(_unescaped, token.text[1:-1]))
        if self._took("("):
            return self._call(token)
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text])
        return Name(token.text)

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise self._unexpected("an operator or the end")

    def _call(self, name: Token) -> Call:
        if name.text not in FUNCTIONS:
            functions = ", ".join(sorted(FUNCTIONS))
            raise _fault(name.position, f'the function "{name.text}"', f"one of: {functions}")
        arguments: list[Node] = []
        if not self._took(")"):
            arguments.append(self.choice())
            while self._took(","):
                arguments.append(self.choice())
            self._expect(")", 'an operator, "," or ")"')
        arity = FUNCTIONS[name.text]
        if not arity.least <= len(arguments) <= arity.most:
            takes = "" if arity.least == arity.most else f"{arity.least} to "
            takes += str(arity.most)
            raise _fault(name.position, f"{len(arguments)} arguments of {name.text}", takes)
        _check_constants(name, arguments)
        return Call(name.text, tuple(arguments))

    def _operator(self) -> str:
        token = self.token
        if token.kind == "text":
            return ""
        return _SAME.get(token.text, token.text) if token.kind != "number" else ""

    def _took(self, operator: str) -> bool:
        """Step over the operator if it comes next."""
        if self._operator() != operator or self.token.kind == "end":
            return False
        self.at += 1
        return True

    def _expect(self, operator: str, expected: str) -> None:
        if not self._took(operator):
            raise self._unexpected(expected)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            place = self.token.position + 1
            raise Rejected(f"position {place}: more than {MAX_DEPTH} levels within one another")

    def _unexpected(self, expected: str, back: int = 0) -> Rejected:
        token = self.tokens[self.at - back]
        return _fault(token.position, token.text or "the end", expected)


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])


def _number(token: Token) -> Literal:
    value = float(token.text)
    if value == float("inf"):
        raise _fault(token.position, token.text, "a number below 1.8e308")
    return Literal(value)


def _check_constants(name: Token, arguments: list[Node]) -> None:
    """Some arguments say how to compute, so they must be written out."""
    if name.text == "round" and len(arguments) == 2:
        digits = arguments[1]
        if not (
            isinstance(digits, Literal)
            and isinstance(digits.value, float)
            and digits.value in range(MAX_DIGITS + 1)
        ):
            what = "another second argument of round"
            raise _fault(name.position, what, f"an integer from 0 to {MAX_DIGITS}")
    if name.text == "date_diff":
        unit = arguments[2]
        if not (isinstance(unit, Literal) and unit.value in UNITS):
            what = "another third argument of date_diff"
            raise _fault(name.position, what, f"one of: {', '.join(map(repr, UNITS))}")


def children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Unary):
        return (node.operand,)
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, Choice):
        return (node.condition, node.yes, node.no)
    return node.arguments if isinstance(node, Call) else ()


def _depth(root: Node) -> int:
    """Levels of the tree, without recursion: a long sum is as deep as it has terms."""
    level, deep = [root], 0
    while level:
        deep += 1
        level = [child for node in level for child in children(node)]
    return deep


def _names(node: Node) -> Iterator[str]:
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, Name):
            yield inner.name
        waiting += [*children(inner)][::-1]
