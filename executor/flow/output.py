"""Phase 3: what is put beside each recommendation."""

from typing import Any

from executor.flow.calls import Located
from executor.flow.nodes import ComputeNode, ResponseNode, SetPropertiesNode
from executor.flow.plan import Properties
from executor.flow.work import Work


def output(work: Work, located: list[Located]) -> Properties:
    """What compute and set_properties come to; a name that is set twice has its last value."""
    computed: tuple[str, ...] | None = None
    constants: dict[str, Any] = {}
    formulas: dict[str, tuple[str, str]] = {}
    for one in located:
        match one.node:
            case ComputeNode() as node:
                computed = node.config.fields
                text = "all computed fields" if computed is None else ", ".join(computed)
                work.note(node, text, phase=3)
            case SetPropertiesNode() as node:
                for each in node.config.properties:
                    constants.pop(each.name, None)
                    formulas.pop(each.name, None)
                    if each.formula is None:
                        constants[each.name] = each.value
                    else:
                        formulas[each.name] = (each.formula, each.output_type)
                work.note(node, ", ".join(each.name for each in node.config.properties), phase=3)
            case ResponseNode() as node:
                work.note(node, node.config.response_format, phase=3)
    return Properties(
        computed=computed,
        constants=tuple(constants.items()),
        formulas=tuple((name, *formula) for name, formula in formulas.items()),
    )
