"""In which order nodes may stand, and how many there may be of a type."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from executor.flow.nodes import NODE_MODELS, PHASE_NAMES, PHASES
from executor.flow.operators import quoted

Fault = tuple[str, str]

_AT_MOST_ONE = (
    "inventory",
    "match_creatives",
    "qualify",
    "contact_policy",
    "score",
    "optimize",
    "rank",
    "group",
    "compute",
    "response",
)
_REQUIRED = ("inventory", "score", "rank")
#: What must stand before what, if both are there.
_BEFORE = (("score", "optimize"), ("score", "rank"), ("optimize", "rank"), ("rank", "group"))
#: Hook of an extension point -> the nodes it stands between.
_HOOKS: Mapping[str, tuple[str | None, str | None]] = {
    "pre_score": (None, "score"),
    "score_override": ("score", "rank"),
    "post_rank": ("rank", None),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A node of a known type, where it stands."""

    path: str
    id: object
    type: str
    phase_given: object = None
    position: object = None
    hook: object = None

    @property
    def name(self) -> str:
        return f"node {quoted(self.id)}: " if self.id is not None else ""


def places(nodes: Sequence[Any], path: str = "nodes") -> list[Place]:
    """The nodes of known types in a list of raw ones."""
    return [
        Place(
            path=f"{path}[{index}]",
            id=node.get("id"),
            type=node["type"],
            phase_given=node.get("phase"),
            position=node.get("position"),
            hook=_config(node).get("hook"),
        )
        for index, node in enumerate(nodes)
        if isinstance(node, Mapping)
        and isinstance(node.get("type"), str)
        and node["type"] in NODE_MODELS
    ]


def order_faults(found: Sequence[Place]) -> Iterator[Fault]:
    """Everything that is wrong with the order of a flow's own nodes."""
    yield from _required_faults(found)
    yield from repetition_faults(found)
    yield from _sequence_faults(found)
    yield from _position_faults(found)


def repetition_faults(found: Sequence[Place]) -> Iterator[Fault]:
    for kind in _AT_MOST_ONE:
        same = [place for place in found if place.type == kind]
        for place in same[1:]:
            problem = f"only one {kind} node is allowed, remove this one or {same[0].path}"
            yield place.path, place.name + problem


def phases(found: Sequence[Place]) -> list[int]:
    """The phase of each place; a node that may stand in any is where the one before it is."""
    result: list[int] = []
    for place in found:
        given = place.phase_given
        fixed = PHASES[place.type] or (given if given in PHASE_NAMES else 0)
        result.append(fixed if isinstance(fixed, int) and fixed else max([1, *result]))
    return result


def _config(node: Mapping[str, Any]) -> Mapping[str, Any]:
    config = node.get("config")
    return config if isinstance(config, Mapping) else {}


def _required_faults(found: Sequence[Place]) -> Iterator[Fault]:
    calls = any(
        place.type == "call_flow" and phase == 2
        for place, phase in zip(found, phases(found), strict=True)
    )
    for kind in _REQUIRED:
        can_be_called = calls and PHASES[kind] == 2
        if not can_be_called and not any(place.type == kind for place in found):
            yield "nodes", f'needs a node of type {kind}, as {{"id": "{kind}", "type": "{kind}"}}'


def _sequence_faults(found: Sequence[Place]) -> Iterator[Fault]:
    furthest: Place | None = None
    reached = 0
    first_of: dict[int, Place] = {}
    for place, phase in zip(found, phases(found), strict=True):
        given, own = place.phase_given, PHASES[place.type]
        if own and isinstance(given, int) and given != own:
            problem = f"{place.type} is always in phase {own}, got {given}"
            yield f"{place.path}.phase", f"{place.name}{problem}; leave it out or correct it"
        elif not own and given is not None and given not in PHASE_NAMES:
            yield f"{place.path}.phase", f"{place.name}must be 1, 2 or 3, got {quoted(given)}"
        if furthest is None:
            furthest, reached = place, phase
        elif place.type == "inventory" and furthest.type != "inventory":
            yield place.path, f"{place.name}inventory must be the first node"
        elif phase < reached:
            problem = f"{place.type} belongs to phase {phase} ({PHASE_NAMES[phase]})"
            # To stand before the last of what comes too early would not be enough.
            later = next(first_of[each] for each in sorted(first_of) if each > phase)
            remedy = f"must stand before {later.path} ({later.type})"
            yield place.path, f"{place.name}{problem} and {remedy}"
        else:
            furthest, reached = place, phase
        first_of.setdefault(phase, place)
    yield from _pair_faults(found)
    yield from _hook_faults(found)


def _pair_faults(found: Sequence[Place]) -> Iterator[Fault]:
    """Within phase 2 the order is fixed."""
    told: set[str] = set()
    for first, second in _BEFORE:
        later = next((n for n, place in enumerate(found) if place.type == second), None)
        for n, place in enumerate(found):
            if later is not None and place.type == first and n > later and place.path not in told:
                told.add(place.path)
                other = found[later]
                yield place.path, f"{place.name}{first} must stand before {other.path} ({second})"


def _hook_faults(found: Sequence[Place]) -> Iterator[Fault]:
    where = {place.type: n for n, place in enumerate(found)}
    for n, place in enumerate(found):
        if place.type != "extension_point" or place.hook not in _HOOKS:
            continue
        after, before = _HOOKS[str(place.hook)]
        for other, is_wrong, word in (
            (after, after in where and n < where[str(after)], "after"),
            (before, before in where and n > where[str(before)], "before"),
        ):
            if is_wrong:
                stands = f"must stand {word} {found[where[str(other)]].path} ({other})"
                yield place.path, f"{place.name}an extension point with hook {place.hook} {stands}"


def _position_faults(found: Sequence[Place]) -> Iterator[Fault]:
    for (before, earlier), (place, phase) in pairwise(zip(found, phases(found), strict=True)):
        if phase == earlier and not _ascends(before.position, place.position):
            problem = f"must be above {before.position}, the position of {before.path}"
            yield f"{place.path}.position", f"{place.name}{problem}; leave it out or correct it"


def _ascends(before: object, after: object) -> bool:
    return not (isinstance(before, int) and isinstance(after, int)) or before < after
