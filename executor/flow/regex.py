"""The regular expressions that mean the same to PostgreSQL and to Rust.

A pattern is parsed here and written out again, so neither engine sees a construct it reads in its
own way. Matching is case-sensitive and searches anywhere in the text; `.` matches a newline too;
`\\d`, `\\w` and `\\s` are ASCII; `^` and `$` are the ends of the whole text.
"""

from dataclasses import dataclass
from functools import lru_cache

MAX_PATTERN = 500
MAX_EXPANDED = 1000
# PostgreSQL takes seconds to compile patterns with many parts that may be left out.
MAX_OPTIONAL = 255
MAX_REPEAT = 255
MAX_DEPTH = 20

ALLOWED = (
    "allowed are literals, ., classes like [a-z0-9] and [^,], ^, $, groups ( ), alternation |, "
    "* + ? {m,n}, \\d \\w \\s \\D \\W \\S, \\n \\r \\t, and \\ before punctuation"
)

Ranges = tuple[tuple[str, str], ...]


class PatternError(ValueError):
    """A pattern outside the common subset; the message names the position, counted from 1."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character in the ranges, or outside them; no ranges and negated is any character."""

    ranges: Ranges
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Anchor:
    symbol: str


@dataclass(frozen=True, slots=True)
class Repeat:
    item: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Branches:
    """Alternatives, each a sequence."""

    options: tuple[tuple["Node", ...], ...]


Node = Chars | Anchor | Repeat | Branches

_SHORTHAND: dict[str, Ranges] = {
    "d": (("0", "9"),),
    "w": (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")),
    "s": (("\t", "\r"), (" ", " ")),
}
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")


def check(pattern: str) -> None:
    """Raise PatternError unless the pattern is in the subset and small enough."""
    _parse(pattern)


def to_postgres(pattern: str) -> str:
    """The pattern as a PostgreSQL advanced regular expression."""
    return _write(_parse(pattern))


def to_rust(pattern: str) -> str:
    """The pattern for Rust's `regex` crate, which polars uses."""
    return "(?s)" + _write(_parse(pattern))


@lru_cache(maxsize=256)
def _parse(pattern: str) -> Branches:
    if len(pattern) > MAX_PATTERN:
        raise PatternError(
            f"has {len(pattern)} characters, at most {MAX_PATTERN} are allowed in a pattern"
        )
    tree = _Parser(pattern).parse()
    if _expanded(tree) > MAX_EXPANDED:
        raise PatternError(
            f"repeats too much: written out it must have at most {MAX_EXPANDED} characters"
        )
    if _optional(tree) > MAX_OPTIONAL:
        raise PatternError(
            f"repeats too much: written out it must have at most {MAX_OPTIONAL} optional parts"
        )
    return tree


class _Parser:
    """Recursive descent over the pattern; `at` is the index of the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0

    def parse(self) -> Branches:
        tree = self._branches()
        if self._peek():
            raise self._error("a ) without its (")
        return tree

    def _branches(self) -> Branches:
        options = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            options.append(self._sequence())
        return Branches(tuple(options))

    def _sequence(self) -> tuple[Node, ...]:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            items.append(self._quantified(self._atom()))
        return tuple(items)

    def _atom(self) -> Node:
        character = self._peek()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character in "*+?{":
            raise self._error(f"{character} has nothing to repeat; write \\{character} to match it")
        if character == "\\":
            return self._escape()
        self.at += 1
        if character in "^$":
            return Anchor(character)
        return Chars((), negated=True) if character == "." else Chars(((character, character),))

    def _group(self) -> Branches:
        start = self.at
        self.at += 1
        if self._peek() == "?":
            if self.pattern[self.at : self.at + 2] != "?:":
                raise self._error("a group that starts with (?")
            self.at += 2
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} nested groups")
        inner = self._branches()
        if self._peek() != ")":
            raise self._error("a ( without its )", start)
        self.at += 1
        self.depth -= 1
        return inner

    def _escape(self) -> Chars:
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter.lower() in _SHORTHAND and letter:
            self.at += 2
            return Chars(_SHORTHAND[letter.lower()], negated=letter.isupper())
        character = self._escaped_character()
        return Chars(((character, character),))

    def _escaped_character(self) -> str:
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter not in _CONTROL and letter not in _PUNCTUATION:
            raise self._error(f"\\{letter}" if letter else "a \\ at the end")
        self.at += 2
        return _CONTROL.get(letter, letter)

    def _quantified(self, atom: Node) -> Node:
        start = self.at
        bounds = self._bounds()
        if bounds is None:
            return atom
        if isinstance(atom, Anchor):
            raise self._error(f"a repeated {atom.symbol}", start)
        if self._peek() and self._peek() in "*+?{":
            raise self._error(f"{self._peek()} after a repetition (lazy and possessive)")
        return Repeat(atom, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        character = self._peek()
        if character in simple:
            self.at += 1
            return simple[character]
        if character != "{":
            return None
        start = self.at
        text, closed, _ = self.pattern[start + 1 :].partition("}")
        least, comma, most = text.partition(",")
        digits = all(part.isascii() and part.isdigit() for part in (least, most or "0"))
        if not closed or not digits or len(text) > 7:
            raise self._error("a { that is not {m}, {m,} or {m,n}; write \\{ to match it")
        self.at += len(text) + 2
        low, high = int(least), int(most) if most else (None if comma else int(least))
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise self._error(f"{{{text}}} (m exceeds n, or n {MAX_REPEAT})", start)
        return low, high

    def _class(self) -> Chars:
        start = self.at
        self.at += 1
        negated = self._peek() == "^"
        self.at += negated
        ranges: list[tuple[str, str]] = []
        first = True
        while self._peek() != "]" or first:
            if not self._peek():
                raise self._error("a [ without its ]", start)
            ranges.extend(self._class_item(first))
            first = False
        self.at += 1
        return Chars(tuple(ranges), negated)

    def _class_item(self, first: bool) -> Ranges:
        letter = self.pattern[self.at + 1 : self.at + 2]
        if self._peek() == "\\" and letter in _SHORTHAND:
            self.at += 2
            if self._starts_range():
                raise self._error("a range that starts with a class")
            return _SHORTHAND[letter]
        if self._peek() == "-" and not first and letter != "]":
            raise self._error("- in the middle of a class; write \\- to match it")
        low = self._class_character()
        if not self._starts_range():
            return ((low, low),)
        start = self.at - 1
        self.at += 1
        high = self._class_character()
        if high < low:
            raise self._error(f"a range that ends before it starts ({low}-{high})", start)
        return ((low, high),)

    def _class_character(self) -> str:
        character = self._peek()
        if character == "\\":
            return self._escaped_character()
        if character in ("[", "]"):
            raise self._error(f"{character} inside a class; write \\{character} to match it")
        self.at += 1
        return character

    def _starts_range(self) -> bool:
        return self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", "")

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _error(self, problem: str, at: int | None = None) -> PatternError:
        position = (self.at if at is None else at) + 1
        return PatternError(f"pattern, position {position}: {problem} is not allowed; {ALLOWED}")


def _expanded(node: Node) -> int:
    match node:
        case Chars():
            return 1
        case Anchor():
            return 0
        case Repeat(item):
            return _expanded(item) * _copies(node)
        case _:
            return sum(_expanded(item) for option in node.options for item in option)


def _optional(node: Node) -> int:
    match node:
        case Repeat(item, least, most):
            skips = least == 0 if most is None else most - least
            return _optional(item) * _copies(node) + skips
        case Branches(options):
            inner = sum(_optional(item) for option in options for item in option)
            return inner + (() in options)
        case _:
            return 0


def _copies(repeat: Repeat) -> int:
    return max(1, repeat.least if repeat.most is None else repeat.most)


def _write(node: Node) -> str:
    match node:
        case Chars():
            return _write_chars(node)
        case Anchor(symbol):
            return symbol
        case Repeat(item, least, most):
            return _write(item) + _QUANTIFIERS.get((least, most), _counted(least, most))
        case _:
            return f"(?:{'|'.join(''.join(map(_write, option)) for option in node.options)})"


_QUANTIFIERS = {(0, None): "*", (1, None): "+", (0, 1): "?"}


def _counted(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def _write_chars(chars: Chars) -> str:
    if not chars.ranges:
        return "."
    if not chars.negated and len(chars.ranges) == 1 and chars.ranges[0][0] == chars.ranges[0][1]:
        return _escape(chars.ranges[0][0])
    body = "".join(
        _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}"
        for low, high in chars.ranges
    )
    return f"[{'^' if chars.negated else ''}{body}]"


def _escape(character: str) -> str:
    return f"\\{character}" if character in "\\.+*?()|[]{}^$-&~" else character
