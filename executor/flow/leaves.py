"""Reads a condition while remembering every leaf as its author wrote it, and folds it.

Folding replaces leaves by true or false and keeps what is left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from executor.errors import Rejected
from executor.flow.conditions import MAX_DEPTH, Condition, Group, Leaf, Not, parse_condition
from executor.flow.fields import Ref
from executor.flow.operators import Op, find_operator
from executor.flow.types import Kind

#: Finds the field of a leaf, which has text under "field"; may raise Rejected.
Resolve = Callable[[dict[str, Any]], tuple[Ref, Kind]]
Verdict = Condition | bool


@dataclass(frozen=True, slots=True)
class Written:
    """A leaf before its operand was made to fit the column."""

    ref: Ref
    operator: Op
    value: object
    path: str


@dataclass(frozen=True, slots=True)
class ReadCondition:
    """A condition whose leaves are named by tokens, and what each token stands for."""

    condition: Condition
    written: Mapping[str, Written]

    def as_written(self) -> Condition:
        """The condition with the names of the fields back in place."""
        return _renamed(self.condition, self.written)


def read_leaves(data: object, path: str, resolve: Resolve) -> ReadCondition:
    """Read a condition. Raises Rejected with every fault under its path below `path`."""
    reader = _Reader(resolve)
    named = map_leaves(data, path, reader.name)
    return ReadCondition(parse_condition(named, reader.kind, path), reader.written)


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every leaf, in order."""
    if isinstance(condition, Leaf):
        yield condition
        return
    if isinstance(condition, Not):
        yield from leaves(condition.child)
        return
    for child in condition.children:
        yield from leaves(child)


def fold(condition: Condition, verdict: Callable[[Leaf], Verdict]) -> Verdict:
    """Replace each leaf by its verdict; what does not depend on customers becomes true or false."""
    if isinstance(condition, Leaf):
        return verdict(condition)
    if isinstance(condition, Not):
        return negated(fold(condition.child, verdict))
    is_and = condition.combinator == "and"
    folded = (fold(child, verdict) for child in condition.children)
    return all_of(folded) if is_and else any_of(folded)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """What holds when all do; looks no further than the first that is false."""
    return _joined("and", verdicts)


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """What holds when one does; looks no further than the first that is true."""
    return _joined("or", verdicts)


def negated(verdict: Verdict) -> Verdict:
    if isinstance(verdict, bool):
        return not verdict
    return verdict.child if isinstance(verdict, Not) else Not(verdict)


def _joined(word: Literal["and", "or"], verdicts: Iterable[Verdict]) -> Verdict:
    left: list[Condition] = []
    for verdict in verdicts:
        if not isinstance(verdict, bool):
            left.append(verdict)
        elif verdict is not (word == "and"):
            return verdict
    if not left:
        return word == "and"
    return left[0] if len(left) == 1 else Group(word, tuple(left))


def customer_leaf(leaf: Leaf, column: str) -> Verdict:
    """The leaf over the column; false at once if nothing can match it."""
    if leaf.operator is Op.IN and leaf.operand == ():
        return False
    return Leaf(column, leaf.operator, leaf.operand)


def map_leaves(
    data: object, path: str, visit: Callable[[dict[str, Any], str], object], depth: int = 0
) -> object:
    """The same JSON with every leaf replaced by `visit(leaf, path)`."""
    # What is nested deeper is refused when the condition is read.
    if depth > 2 * MAX_DEPTH + 2:
        return data
    if isinstance(data, list):
        return [
            map_leaves(item, f"{path}[{position}]", visit, depth + 1)
            for position, item in enumerate(data)
        ]
    if not isinstance(data, dict):
        return data
    if "conditions" in data or "combinator" in data:
        inside = map_leaves(data.get("conditions"), f"{path}.conditions", visit, depth + 1)
        return {**data, "conditions": inside}
    return visit(data, path)


def _renamed(condition: Condition, written: Mapping[str, Written]) -> Condition:
    if isinstance(condition, Leaf):
        return replace(condition, field=str(written[condition.field].ref))
    if isinstance(condition, Not):
        return Not(_renamed(condition.child, written))
    children = tuple(_renamed(child, written) for child in condition.children)
    return replace(condition, children=children)


@dataclass(slots=True)
class _Reader:
    resolve: Resolve
    written: dict[str, Written] = field(default_factory=dict)
    kinds: dict[str, Kind | Rejected] = field(default_factory=dict)

    def name(self, leaf: dict[str, Any], path: str) -> dict[str, Any]:
        """Note the leaf and put a token in place of its field."""
        if not isinstance(leaf.get("field"), str):
            return leaf
        token = f"#{len(self.kinds)}"
        try:
            ref, self.kinds[token] = self.resolve(leaf)
        except Rejected as error:
            self.kinds[token] = error
        else:
            operator = find_operator(leaf.get("operator"))
            if operator is not None:
                self.written[token] = Written(ref, operator.op, leaf.get("value"), path)
        return {**leaf, "field": token}

    def kind(self, token: str) -> Kind | None:
        found = self.kinds.get(token)
        if isinstance(found, Rejected):
            raise found
        return found
