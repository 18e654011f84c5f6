"""call_flow: the nodes of another flow in place of the call, phase by phase."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from executor.errors import Rejected
from executor.flow.nodes import PHASES, CallFlowNode, ConditionalNode, Definition, Node
from executor.flow.operators import quoted
from executor.flow.order import Place, order_faults, phases

Fault = tuple[str, str]

#: Called flows bring none of these: the flow that calls has its own.
_LEFT_OUT = ("inventory", "response")


@dataclass(frozen=True, slots=True)
class Located:
    """A node, the phase it is in, and the path that faults of its config get."""

    path: str
    node: Node
    phase: int
    then: tuple["Located", ...] = ()
    otherwise: tuple["Located", ...] = ()


def inline(definition: Definition, flows: Mapping[str, Definition]) -> list[Located]:
    """The nodes with those of called flows in their places, which get ids like `call/node`.

    Raises Rejected for a flow that is not there, a cycle, and an order that the calls break.
    """
    inliner = _Inliner(flows)
    located = list(inliner.nodes(definition.nodes, _Where()))
    errors = inliner.errors or _faults(located)
    if errors:
        raise Rejected.of(dict.fromkeys(errors))
    return located


@dataclass(frozen=True, slots=True)
class _Where:
    """Inside which calls a list of nodes stands; those of the flow itself are in none."""

    path: str = "nodes"
    prefix: str = ""
    flows: tuple[str, ...] = ()
    #: Only nodes of this phase are wanted of a called flow.
    phase: int = 0

    def config(self, position: int) -> str:
        """Faults of a called flow's nodes are told at the call."""
        return self.path if self.flows else f"{self.path}[{position}].config"


class _Inliner:
    def __init__(self, flows: Mapping[str, Definition]) -> None:
        self._flows = flows
        self.errors: list[Fault] = []

    def nodes(self, nodes: tuple[Node, ...], where: _Where) -> Iterator[Located]:
        own = phases([Place("", node.id, node.type, node.phase) for node in nodes])
        for position, (node, phase) in enumerate(zip(nodes, own, strict=True)):
            if where.phase and (phase != where.phase or node.type in _LEFT_OUT):
                continue
            path = where.config(position)
            if isinstance(node, CallFlowNode):
                yield from self._called(node, path, phase, where)
                continue
            named = node.model_copy(update={"id": f"{where.prefix}{node.id}"})
            yield Located(path, named, phase, *self._branches(node, path, where))

    def _called(
        self, node: CallFlowNode, path: str, phase: int, where: _Where
    ) -> Iterator[Located]:
        key, place = node.config.flow_key, path if where.flows else f"{path}.flowKey"
        if key in where.flows:
            chain = " -> ".join((*where.flows, key))
            self.errors.append((place, f"flows call each other in a circle: {chain}"))
        elif key not in self._flows:
            problem = f"there is no published flow with key {quoted(key)}"
            self.errors.append((place, f"{problem}; publish it, or remove the node"))
        else:
            inside = _Where(place, f"{where.prefix}{node.id}/", (*where.flows, key), phase)
            yield from self.nodes(self._flows[key].nodes, inside)

    def _branches(
        self, node: Node, path: str, where: _Where
    ) -> tuple[tuple[Located, ...], tuple[Located, ...]]:
        if not isinstance(node, ConditionalNode):
            return (), ()
        found = []
        for name, nodes in (("then", node.config.then), ("otherwise", node.config.otherwise)):
            below = path if where.flows else f"{path}.{name}"
            inside = replace(where, path=below, phase=0)
            found.append(tuple(self.nodes(nodes, inside)))
        return found[0], found[1]


def _faults(located: list[Located]) -> list[Fault]:
    """The order once everything stands in its place."""
    places = [
        Place(
            path=one.path.removesuffix(".config"),
            id=one.node.id,
            type=one.node.type,
            phase_given=None if PHASES[one.node.type] else one.phase,
            hook=getattr(one.node.config, "hook", None),
        )
        for one in located
    ]
    return list(order_faults(places))
