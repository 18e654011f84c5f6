"""Making and changing schema joins: both sides must exist, and nothing may multiply customers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import connection

from campaigns.models import Schema, SchemaJoin, Status
from campaigns.services.resources import check_version, create_row, update_row
from campaigns.services.segment_joins import Faults, usable_column
from campaigns.services.segment_relations import read_relation
from campaigns.services.segment_sql import Relation, comparable, keeps_unique
from executor.errors import Rejected
from executor.flow.operators import quoted
from executor.flow.types import Column, Cursor
from kaireon.access.models import Tenant

#: What is checked against the tables.
MATCHED = frozenset({"name", "primary_schema", "primary_key", "foreign_schema", "foreign_key"})


def create_join(tenant: Tenant, fields: Mapping[str, Any]) -> SchemaJoin:
    """Make a join. Raises Rejected with every fault, Conflict for a name the tenant has."""
    check_join(SchemaJoin(tenant=tenant, **fields))
    return create_row(SchemaJoin, tenant, dict(fields))


def update_join(
    join: SchemaJoin, fields: Mapping[str, Any], expected: int | None = None
) -> SchemaJoin:
    """Set fields of a join that the caller has locked.

    One whose tables are gone can still be paused: what it matches is checked when that changes, or
    when it becomes active.
    """
    check_version(join, expected)
    changed = {name for name, value in fields.items() if getattr(join, name) != value}
    becomes_active = "status" in changed and fields["status"] == Status.ACTIVE
    if changed & MATCHED or becomes_active:
        stored = {name: getattr(join, name) for name in MATCHED}
        given = {name: value for name, value in fields.items() if name in MATCHED}
        check_join(SchemaJoin(tenant_id=join.tenant_id, **stored | given))
    return update_row(join, dict(fields))


def check_join(join: SchemaJoin) -> None:
    """Raise Rejected with all that is wrong with the two sides, by the API's names of fields."""
    faults = Faults()
    with connection.cursor() as cursor:
        primary = faults.attempt(
            "primarySchemaId", partial(_relation, cursor, join.tenant_id, join.primary_schema)
        )
        foreign = faults.attempt(
            "foreignSchemaId", partial(_relation, cursor, join.tenant_id, join.foreign_schema)
        )
    local = None
    if primary:
        local = faults.attempt("primaryKey", partial(usable_column, join.primary_key, primary))
    if foreign:
        faults.attempt("foreignKey", partial(_check_foreign_key, join, local, foreign))
    if primary and foreign:
        faults.attempt("name", partial(_check_name, join.name, primary, foreign))
    if faults.errors:
        raise Rejected.of(faults.errors)


def _relation(cursor: Cursor, tenant_key: int, schema: Schema) -> Relation:
    if schema.tenant_id != tenant_key:
        raise Rejected("is a schema of another tenant")
    return read_relation(cursor, schema)


def _check_foreign_key(join: SchemaJoin, local: Column | None, relation: Relation) -> None:
    foreign = usable_column(join.foreign_key, relation)
    if local is not None and not comparable(local, foreign):
        raise Rejected(
            f"{quoted(foreign.name)} is of kind {foreign.kind} and cannot be compared with"
            f" {quoted(local.name)} of kind {local.kind}"
        )
    # Registering found the key of a schema to be unique, which a view has no index for.
    if foreign.name not in {*relation.unique, join.foreign_schema.key_column}:
        raise Rejected(
            f"could multiply customers: no unique index makes {quoted(foreign.name)} unique on"
            " its own; add one, or choose another column"
        )
    if local is not None and not keeps_unique(local, foreign):
        raise Rejected(
            f"could multiply customers: {foreign.pg_type.name} is compared with"
            f" {local.pg_type.name} only approximately; give both the same type"
        )


def _check_name(name: str, primary: Relation, foreign: Relation) -> None:
    taken = [column for column in foreign.columns if f"{name}.{column}" in primary.columns]
    if taken:
        clash = quoted(f"{name}.{taken[0]}")
        raise Rejected(f"the customers have a column {clash} already, choose another name")
