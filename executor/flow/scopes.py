"""What rules and policies act on: the candidates, and for a segment the customers, of a scope."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from executor.flow.candidates import Pair
from executor.flow.catalog import Place
from executor.flow.conditions import Leaf
from executor.flow.inputs import SegmentFlag
from executor.flow.leaves import Verdict, any_of
from executor.flow.operators import Op

IsIn = Callable[[int | None, Pair], bool]


class Scoped(Protocol):
    """A rule or a policy."""

    @property
    def places(self) -> tuple[Place, ...]: ...


#: Whether the scope with this key has the candidate.
SCOPES: Mapping[str, IsIn] = {
    "global": lambda _, pair: True,
    "channel": lambda key, pair: pair.channel.key == key,
    "category": lambda key, pair: pair.offer.category_key == key,
    "subcategory": lambda key, pair: pair.offer.sub_category_key == key,
    "offer": lambda key, pair: pair.offer.key == key,
    "creative": lambda key, pair: pair.creative_key == key,
    "placement": lambda key, pair: pair.placement_key == key,
}
SEGMENT = "segment"


def concerned(facts: Scoped, pair: Pair, flags: Mapping[int, SegmentFlag]) -> Verdict:
    """For which customers the rule concerns the candidate; a segment that is gone has none."""
    return any_of(_verdicts(facts, pair, flags))


def _verdicts(facts: Scoped, pair: Pair, flags: Mapping[int, SegmentFlag]) -> Iterable[Verdict]:
    for scope, key in facts.places:
        if scope != SEGMENT:
            yield SCOPES[scope](key, pair)
        elif key is not None and key in flags:
            yield Leaf(flags[key].name, Op.EQ, True)
