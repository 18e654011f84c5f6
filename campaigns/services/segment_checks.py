"""What a segment selects from its tables as they are now, or everything that is wrong with it."""

from functools import partial

from campaigns.models import Schema, Segment
from campaigns.services.segment_joins import Faults, read_join
from campaigns.services.segment_relations import Fields, find_relation, read_relation
from campaigns.services.segment_sql import View, sources
from executor.errors import Rejected
from executor.flow.conditions import parse_condition
from executor.flow.operators import quoted
from executor.flow.types import Cursor

MAX_JOINS = 5
#: PostgreSQL allows 1,664 columns in a SELECT.
MAX_COLUMNS = 1600
MAX_NAME = 255


def check_segment(cursor: Cursor, segment: Segment) -> View:
    """The view the segment asks for. Raises Rejected with all that is wrong with the segment."""
    faults = _text_faults(segment)
    if segment.base_schema.tenant_id != segment.tenant_id:
        raise Rejected.of([*faults, ("baseSchemaId", "Is a schema of another tenant.")])
    try:
        view = read_view(cursor, segment.base_schema, segment.filters, segment.joins)
    except Rejected as error:
        raise Rejected.of([*faults, *error.errors]) from error
    check_texts(segment)
    return view


def check_texts(segment: Segment) -> None:
    """Raise Rejected for a name or description that cannot be stored."""
    faults = _text_faults(segment)
    if faults:
        raise Rejected.of(faults)


def read_view(cursor: Cursor, base_schema: Schema, filters: object, joins: object) -> View:
    """Read filters and joins as the API takes them, against the catalog.

    Raises Rejected with every fault under its path ("filters[0].operator", "joins[1].foreignKey").
    """
    faults = Faults()
    base = faults.attempt("baseSchemaId", partial(read_relation, cursor, base_schema))
    if base is None:
        raise Rejected.of(faults.errors)
    items = faults.attempt("joins", partial(_items, joins)) or []
    find = partial(find_relation, cursor, base_schema.tenant_id)
    read = [
        faults.attempt(f"joins[{number}]", partial(read_join, item, base, find))
        for number, item in enumerate(items)
    ]
    good = [join for join in read if join is not None]
    faulty = {_alias(item) for item, join in zip(items, read, strict=True) if join is None}
    columns = {name: column for name, (_, column) in sources(base, good).items()}
    condition = faults.attempt(
        "", partial(parse_condition, filters, Fields(columns, faulty), "filters")
    )
    if faults.errors or condition is None:
        raise Rejected.of(faults.errors)
    return _narrow(View(base, tuple(good), condition))


def _text_faults(segment: Segment) -> list[tuple[str, str]]:
    faults = []
    if not segment.name.strip():
        faults.append(("name", "May not be blank."))
    if len(segment.name) > MAX_NAME:
        faults.append(("name", f"May have at most {MAX_NAME} characters."))
    texts = {"name": segment.name, "description": segment.description}
    faults += [
        (f, "May not contain the character NUL.") for f, text in texts.items() if "\0" in text
    ]
    return faults


def _items(joins: object) -> list[object]:
    if not isinstance(joins, list | tuple):
        raise Rejected(f"must be a list of joins, got {quoted(joins)}")
    if len(joins) > MAX_JOINS:
        raise Rejected(f"has {len(joins)} joins, at most {MAX_JOINS} are allowed")
    aliases = [_alias(item) for item in joins]
    again = [
        (f"[{number}].alias", f"{quoted(alias)} is the alias of another join")
        for number, alias in enumerate(aliases)
        if alias and alias in aliases[:number]
    ]
    if again:
        raise Rejected.of(again)
    return list(joins)


def _alias(item: object) -> str:
    alias = item.get("alias") if isinstance(item, dict) else None
    return alias if isinstance(alias, str) else ""


def _narrow(view: View) -> View:
    if len(view.columns()) > MAX_COLUMNS:
        raise Rejected(("joins", f"make more than {MAX_COLUMNS} columns together"))
    return view
