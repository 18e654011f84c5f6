"""What compute and set_properties put beside a recommendation, as fields of its offer."""

from collections.abc import Iterable
from dataclasses import replace

from executor.flow.catalog import OfferFacts
from executor.flow.formula import parse_formula
from executor.flow.plan import Plan, Properties


def with_properties(plan: Plan) -> Plan:
    """The plan whose offers have the properties of the flow among their custom fields."""
    properties = plan.properties
    return replace(plan, offers=tuple(_offer(offer, properties) for offer in plan.offers))


def _offer(offer: OfferFacts, properties: Properties) -> OfferFacts:
    constants = tuple((name, _literal(value), _type(value)) for name, value in properties.constants)
    given = (*constants, *properties.formulas)
    names = {name for name, *_ in given}
    own = {name: value for name, value in offer.custom_fields.items() if name not in names}
    computed = tuple(one for one in offer.computed if one[0] not in names)
    wanted = _wanted(computed, properties.computed)
    return replace(offer, custom_fields=own, computed=(*wanted, *given))


def _type(value: object) -> str:
    return "text" if isinstance(value, str | None) else "number"


def _literal(value: object) -> str:
    """The formula of a constant."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    # A number as Python writes it back exactly; formulas read it the same way.
    return str(value).lower() if isinstance(value, bool) else f"({value!r})"


def _wanted(
    computed: tuple[tuple[str, str, str], ...], names: Iterable[str] | None
) -> tuple[tuple[str, str, str], ...]:
    """The fields of these names, and those that their formulas read."""
    if names is None:
        return computed
    formulas = {key: formula for key, formula, _ in computed}
    wanted, left = set[str](), [name for name in names if name in formulas]
    while left:
        key = left.pop()
        if key not in wanted:
            wanted.add(key)
            left.extend(name for name in parse_formula(formulas[key]).names if name in formulas)
    return tuple(one for one in computed if one[0] in wanted)
