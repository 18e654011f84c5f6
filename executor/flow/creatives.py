"""What a creative says: its templates, and where their variables come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from executor.errors import Rejected
from executor.flow.fields import read_ref
from executor.flow.operators import quoted
from executor.flow.templates import NAMESPACES, parse_template

Fault = tuple[str, str]
MAX_VARIABLES = 500
MAX_NAME = 100
#: Content of these template types is HTML, so what comes from a customer is escaped in it.
HTML_TYPES = ("email_html", "in_app_", "web_")
#: Never HTML, whatever the template type: the line of a mailbox, and addresses.
PLAIN_FIELDS = ("subject", "preheader", "ctaUrl", "deepLink", "imageUrl")
#: Variables that every creative has.
IDS = ("customer_id", "offer_id")
_KNOWN = ("variable", "key", "source", "fallback")
_ANY_TIME = datetime(2000, 1, 1)  # noqa: DTZ001


@dataclass(frozen=True, slots=True)
class Item:
    """A variable of a creative: where it comes from, and what stands for a missing value."""

    variable: str
    source: str
    fallback: str | float | bool | None


def is_html(template_type: str, field: str) -> bool:
    return template_type.startswith(HTML_TYPES) and field not in PLAIN_FIELDS


def templates_of(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The content fields that are texts, in the order of their names."""
    for field in sorted(content):
        if isinstance(content[field], str):
            yield field, content[field]


def items_of(personalization: Sequence[Any]) -> list[Item]:
    """The variables, of the newer {variable, source, fallback} and the older {key, source}."""
    items = []
    for each in personalization:
        name = each.get("variable", each.get("key"))
        fallback = each.get("fallback")
        items.append(Item(name, each.get("source") or name, None if fallback == "" else fallback))
    return items


def creative_faults(
    template_type: str, content: Mapping[str, Any], personalization: Sequence[Any]
) -> Iterator[Fault]:
    """What no segment and no offer could make right."""
    for field, text in templates_of(content):
        try:
            parse_template(text, html=is_html(template_type, field), now=_ANY_TIME)
        except Rejected as error:
            yield from ((f"content.{field}", message) for _, message in error.errors)
    for field in sorted(content):
        if not isinstance(content[field], str) and _has_tag(content[field]):
            yield f"content.{field}", "only a text may have variables, not a list or an object"
    seen: set[str] = set()
    for number, each in enumerate(personalization[: MAX_VARIABLES + 1]):
        if number == MAX_VARIABLES:
            yield "personalization", f"has more than {MAX_VARIABLES} variables"
            return
        path = f"personalization[{number}]"
        found = [*_item_faults(each, seen)]
        yield from ((f"{path}{inner}", text) for inner, text in found)


def _has_tag(value: object) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(_has_tag, value.values()))
    return isinstance(value, list) and any(map(_has_tag, value))


def _item_faults(item: object, seen: set[str]) -> Iterator[Fault]:
    if not isinstance(item, Mapping):
        yield "", "must be a JSON object"
        return
    for name in sorted(item.keys() - {*_KNOWN}):
        yield f".{name}", f"is unknown; a variable has {', '.join(_KNOWN)}"
    variable = item.get("variable", item.get("key"))
    if not isinstance(variable, str) or not 1 <= len(variable) <= MAX_NAME:
        yield ".variable", f"must be a name of 1 to {MAX_NAME} characters"
    elif variable in NAMESPACES or not all(variable.split(".")):
        yield ".variable", f"{quoted(variable)} is no name of a variable"
    elif variable in seen:
        yield ".variable", f"{quoted(variable)} is there already"
    else:
        seen.add(variable)
    fallback = item.get("fallback")
    if fallback is not None and not isinstance(fallback, str | int | float):
        yield ".fallback", "must be a text, a number, true or false"
    source = item.get("source")
    if source is not None and not isinstance(source, str):
        yield ".source", "must be a text"
    elif source and (fault := _source_fault(source)):
        yield ".source", fault


def _source_fault(source: str) -> str | None:
    namespace, _, attribute = source.partition(".")
    if not attribute or source in IDS:
        if namespace in NAMESPACES or not namespace:
            return f"{quoted(source)} names no value, as in {namespace or 'customer'}.name"
        return None
    if namespace == "personalization":
        return None
    try:
        read_ref(source)
    except Rejected:
        known = "customer.<column>, offer.<attribute>, channel.<attribute>"
        return f"must be {known} or personalization.<custom field>, got {quoted(source)}"
    return None
