"""One join of a segment: read from the API's JSON, refused if it could multiply customers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from campaigns.services.segment_relations import Fields
from campaigns.services.segment_sql import Join, JoinType, Relation, comparable, keeps_unique
from executor.errors import Rejected
from executor.flow.conditions import parse_condition
from executor.flow.fields import did_you_mean
from executor.flow.operators import quoted
from executor.flow.types import Column

ValueT = TypeVar("ValueT")

KEYS = ("schemaId", "type", "localKey", "foreignKey", "alias", "columns", "filters")
ALIAS = re.compile(r"[a-z][a-z0-9_]{0,30}")
#: Bytes of a column's name; PostgreSQL would cut off the rest.
MAX_NAME = 63


@dataclass(slots=True)
class Faults:
    """Collects what is wrong, each fault under its path, instead of stopping at the first."""

    errors: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.errors.append((path, message))

    def attempt(self, path: str, read: Callable[[], ValueT]) -> ValueT | None:
        """Return what `read` returns, or None once its faults are noted below `path`."""
        try:
            return read()
        except Rejected as error:
            for where, text in error.errors:
                dot = "." if path and where and not where.startswith("[") else ""
                self.add(f"{path}{dot}{where}", text)
            return None


def read_join(data: object, base: Relation, find: Callable[[object], Relation]) -> Join:
    """Read a join; `find` gives the relation of a schema's public id or raises Rejected.

    Raises Rejected with every fault under its path within the join.
    """
    if not isinstance(data, dict):
        raise Rejected(f"must be an object with {', '.join(KEYS)}; got {quoted(data)}")
    faults = Faults()
    for key in [key for key in data if key not in KEYS][:5]:
        faults.add("", f"unknown key {quoted(key)}; allowed: {', '.join(KEYS)}")
    join_type = faults.attempt("type", partial(_type, data.get("type")))
    foreign = faults.attempt("schemaId", partial(find, data.get("schemaId")))
    local_key = faults.attempt("localKey", partial(usable_column, data.get("localKey"), base))
    if join_type is None or foreign is None:
        raise Rejected.of(faults.errors)
    join = _Draft(data, join_type, base, foreign)
    alias = faults.attempt("alias", join.alias)
    foreign_key = faults.attempt("foreignKey", partial(join.foreign_key, local_key))
    columns = faults.attempt("columns", join.columns)
    filters = partial(parse_condition, data.get("filters", []), Fields(foreign.columns), "filters")
    condition = faults.attempt("", filters)
    if faults.errors or not local_key or not foreign_key or condition is None:
        raise Rejected.of(faults.errors)
    return Join(join_type, alias or "", foreign, local_key, foreign_key, columns or (), condition)


@dataclass(frozen=True, slots=True)
class _Draft:
    data: Mapping[Any, Any]
    type: JoinType
    base: Relation
    foreign: Relation

    def alias(self) -> str:
        alias = self.data.get("alias", "")
        if alias == "" and not self.type.adds_columns:
            return ""
        if not isinstance(alias, str) or not ALIAS.fullmatch(alias):
            raise Rejected(
                "must be a lower-case letter and at most 30 more letters, digits or underscores;"
                f" got {quoted(alias)}"
            )
        taken = [name for name in self.foreign.columns if f"{alias}.{name}" in self.base.columns]
        if taken:
            clash = quoted(f"{alias}.{taken[0]}")
            raise Rejected(f"the customers have a column {clash} already, choose another alias")
        return alias

    def foreign_key(self, local: Column | None) -> Column:
        foreign = usable_column(self.data.get("foreignKey"), self.foreign)
        if local is not None and not comparable(local, foreign):
            raise Rejected(
                f"{quoted(foreign.name)} is of kind {foreign.kind} and cannot be compared with"
                f" {quoted(local.name)} of kind {local.kind}"
            )
        if self.type.adds_columns and foreign.name not in self.foreign.unique:
            raise Rejected(
                f"could multiply customers: no unique index makes {quoted(foreign.name)} unique on"
                " its own; add one, or join by exists"
            )
        if self.type.adds_columns and local is not None and not keeps_unique(local, foreign):
            raise Rejected(
                f"could multiply customers: {foreign.pg_type.name} is compared with"
                f" {local.pg_type.name} only approximately; give both the same type"
            )
        return foreign

    def columns(self) -> tuple[str, ...]:
        names = self.data.get("columns", [])
        if not isinstance(names, list):
            raise Rejected(f"must be a list of column names, got {quoted(names)}")
        if names and not self.type.adds_columns:
            raise Rejected(f"a join of type {self.type} adds no columns: remove them")
        faults = Faults()
        for position, name in enumerate(names):
            column = faults.attempt(f"[{position}]", partial(usable_column, name, self.foreign))
            if column is not None and name in names[:position]:
                faults.add(f"[{position}]", f"{quoted(name)} is there twice")
            elif column is not None and self._view_name_size(name) > MAX_NAME:
                faults.add(f"[{position}]", f"with its alias it is longer than {MAX_NAME} bytes")
        if faults.errors:
            raise Rejected.of(faults.errors)
        return tuple(names)

    def _view_name_size(self, name: str) -> int:
        return len(f"{self.data.get('alias')}.{name}".encode())


def _type(raw: object) -> JoinType:
    if not isinstance(raw, str) or raw not in list(JoinType):
        raise Rejected(f"must be one of {', '.join(JoinType)}; got {quoted(raw)}")
    return JoinType(raw)


def usable_column(raw: object, relation: Relation) -> Column:
    """The column of this name, if it can be used."""
    if not isinstance(raw, str) or not raw:
        raise Rejected(f"must name a column, got {quoted(raw)}")
    if raw not in relation.columns:
        hint = did_you_mean(raw, relation.columns)
        raise Rejected(f"{relation.schema}.{relation.name} has no column {quoted(raw)}{hint}")
    column = relation.columns[raw]
    if column.kind is None:
        raise Rejected(f"{quoted(raw)} cannot be used: {column.reason}")
    return column
