"""Columns of an imported table: names PostgreSQL likes, the types a user may ask for."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from executor.errors import Rejected

#: The key column that the import adds when the file has no key.
ROW_NUMBER = "row_number"

#: What a user may write -> what PostgreSQL's catalog calls it.
TYPES = {
    "text": "text",
    "bigint": "bigint",
    "integer": "integer",
    "double precision": "double precision",
    "numeric": "numeric",
    "boolean": "boolean",
    "date": "date",
    "timestamptz": "timestamp with time zone",
}
KEY_TYPES = ("text", "bigint", "integer")

_MAX_BYTES = 63
_MAX_COLUMNS = 1590
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table. `type` is the name the catalog uses; `display` the file's header."""

    name: str
    display: str
    type: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file, in its order, and which is the key; without one, rows are numbered."""

    columns: tuple[Column, ...]
    key_position: int | None

    @property
    def key(self) -> Column:
        if self.key_position is None:
            return Column(ROW_NUMBER, ROW_NUMBER, "bigint")
        return self.columns[self.key_position]

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The columns of the table: those of the file, and the row number before them."""
        return (self.key, *self.columns) if self.key_position is None else self.columns


def column_names(headers: Sequence[str]) -> list[str]:
    """Turn headers into distinct lowercase identifiers, in order.

    Raises Rejected when two columns have the same header, or there are too many.
    """
    twice = [header for header, count in Counter(headers).items() if header and count > 1]
    if twice:
        quoted = ", ".join(f'"{name}"' for name in twice)
        raise Rejected(("file", f"the header names more than one column {quoted}"))
    if len(headers) > _MAX_COLUMNS:
        raise Rejected(("file", f"{len(headers)} columns, at most {_MAX_COLUMNS} fit in a table"))
    names: list[str] = []
    for position, header in enumerate(headers, start=1):
        names.append(_distinct(identifier(header) or f"column_{position}", names))
    return names


def identifier(header: str) -> str:
    """A lowercase PostgreSQL name made of a text; empty when it has no Latin letter or digit."""
    folded = unicodedata.normalize("NFKD", header.casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    name = re.sub(r"[^a-z0-9]+", "_", bare).strip("_")[:_MAX_BYTES]
    if name[:1].isdigit():
        name = f"c_{name}"[:_MAX_BYTES]
    return f"{name}_" if name in _SYSTEM_COLUMNS else name


def key_position(headers: Sequence[str], names: Sequence[str], key: str) -> int | None:
    """Where the key is among the columns; None when rows are to be numbered.

    Raises Rejected when there is no such column, or `row_number` could mean two things.
    """
    position = _position(headers, names, key)
    if key == ROW_NUMBER:
        if ROW_NUMBER in names:
            raise Rejected(
                ("key", f"the file has a column {ROW_NUMBER} of its own: rename it in the file")
            )
        return None
    if position is None:
        choices = ", ".join([ROW_NUMBER, *headers])
        raise Rejected(("key", f'there is no column "{key}"; choose one of {choices}'))
    return position


def parse_types(text: str) -> dict[str, str]:
    """Read `{"age": "integer"}` or `age:integer,born:date`. Raises Rejected when it is neither."""
    if not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text)
        except ValueError as error:
            raise Rejected(("types", f"not valid JSON: {error}")) from error
        if not all(isinstance(value, str) for value in pairs.values()):
            raise Rejected(("types", "each type must be a text"))
        return dict(pairs)
    parts = [part.rpartition(":") for part in text.split(",")]
    if not all(name.strip() and kind.strip() for name, _, kind in parts):
        raise Rejected(("types", "write column:type,column:type or a JSON object"))
    return {name.strip(): kind.strip() for name, _, kind in parts}


def given_types(
    types: Mapping[str, str], headers: Sequence[str], names: Sequence[str]
) -> dict[int, str]:
    """The catalog's type of each column the user gave a type, by position.

    Raises Rejected listing every unknown column and type.
    """
    errors: list[tuple[str, str]] = []
    given: dict[int, str] = {}
    for name, kind in types.items():
        position = _position(headers, names, name)
        if position is None:
            errors.append(("types", f'there is no column "{name}"; there are {", ".join(headers)}'))
        elif kind.lower() not in TYPES:
            errors.append(("types", f'"{kind}" of column "{name}" is not one of {_listed(TYPES)}'))
        else:
            given[position] = TYPES[kind.lower()]
    if errors:
        raise Rejected.of(errors)
    return given


def check_key_type(column: Column) -> None:
    """Raise Rejected for a key whose text form may not be unique or stable."""
    if column.type not in KEY_TYPES:
        raise Rejected(("types", f'the key "{column.display}" must be one of {_listed(KEY_TYPES)}'))


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)


def _position(headers: Sequence[str], names: Sequence[str], wanted: str) -> int | None:
    for candidates in (headers, names):
        if wanted in candidates:
            return candidates.index(wanted)
    return None


def _distinct(name: str, taken: Collection[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        ending = f"_{number}"
        candidate = name[: _MAX_BYTES - len(ending)] + ending
    return candidate
