"""Schemas over tables that exist: register one, look at its catalog again, drop it."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from psycopg import sql

from campaigns.models import Schema, SchemaJoin, Segment
from campaigns.services.errors import Conflict
from campaigns.services.imports.table import DATA_SCHEMA, count_rows, describe_columns
from campaigns.services.transactions import explained
from executor.errors import Rejected
from executor.flow.types import Column, Kind, column_sql, read_columns
from kaireon.access.models import Tenant

_OWN_SCHEMAS = frozenset({DATA_SCHEMA, "segments", "information_schema"})
_NAME_CHARACTERS = 255
_NAMED_USERS = 5


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered schema, and what of its table cannot be used."""

    schema: Schema
    warnings: tuple[str, ...]


def register_table(
    tenant: Tenant,
    relation: str,
    *,
    name: str,
    key: str,
    entity_type: str = Schema.EntityType.CUSTOMER,
) -> Registration:
    """Make a schema of an existing table or view `relation`, written `schema.table`.

    Reads all rows once to count them, twice when no index says that the key is unique. Raises
    Rejected for a relation of ours, of another tenant or outside `KAIREON_SOURCE_SCHEMAS`, and
    for a key that is missing, NULL somewhere or not unique; Conflict for what is registered.
    """
    name = name.strip()
    if not 1 <= len(name) <= _NAME_CHARACTERS:
        raise Rejected(("schema", f"a name has 1 to {_NAME_CHARACTERS} characters"))
    place, table = _split(relation)
    with explained() as cursor:
        _check_relation(cursor, tenant, place, table)
        columns = read_columns(cursor, place, table)
        _check_key(cursor, sql.Identifier(place, table), key, columns)
        schema = Schema(
            tenant=tenant,
            name=name,
            entity_type=entity_type,
            origin=Schema.Origin.REGISTERED,
            relation_schema=place,
            relation_name=table,
            key_column=key,
            columns=describe_columns(cursor, place, table, {}),
            row_count=count_rows(cursor, sql.Identifier(place, table)),
        )
        try:
            with transaction.atomic():
                schema.save()
        except IntegrityError as error:
            raise Conflict(f'"{name}" or {relation} is registered already') from error
    return Registration(schema, _warnings(columns))


def refresh_catalog(schema: Schema) -> tuple[str, ...]:
    """Read columns and row count again; return what cannot be used.

    Raises Rejected when the relation or its key column is gone.
    """
    place, table = schema.relation_schema, schema.relation_name
    displays = {column["name"]: column.get("displayName", "") for column in schema.columns}
    with explained() as cursor:
        columns = read_columns(cursor, place, table)
        if schema.key_column not in columns:
            raise Rejected(
                ("key", f'{place}.{table} has lost its key column "{schema.key_column}"')
            )
        schema.columns = describe_columns(cursor, place, table, displays)
        schema.row_count = count_rows(cursor, sql.Identifier(place, table))
        schema.save(update_fields=["columns", "row_count", "updated_at"])
    return _warnings(columns)


def drop_schema(schema: Schema) -> None:
    """Forget the schema, and drop its table if an import made it.

    Raises Conflict while segments, joins, or views of others, read it.
    """
    with explained() as cursor:
        users = _users(schema)
        if users:
            named = ", ".join(users[:_NAMED_USERS])
            more = f" and {len(users) - _NAMED_USERS} more" if len(users) > _NAMED_USERS else ""
            raise Conflict(f"The schema is used by {named}{more}.")
        if schema.origin == Schema.Origin.IMPORTED:
            table = sql.Identifier(schema.relation_schema, schema.relation_name)
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        schema.delete()


def _users(schema: Schema) -> list[str]:
    """The segments that read the schema as their base or in a join, and its schema joins."""
    joined = Q(joins__contains=[{"schemaId": schema.public_id}])
    segments = Segment.objects.of(schema.tenant_id).filter(Q(base_schema=schema) | joined)
    sides = Q(primary_schema=schema) | Q(foreign_schema=schema)
    joins = SchemaJoin.objects.of(schema.tenant_id).filter(sides)
    return [
        *(f'segment "{segment.name}"' for segment in segments.order_by("name")),
        *(f'schema join "{join.name}"' for join in joins.order_by("name")),
    ]


def _split(relation: str) -> tuple[str, str]:
    place, dot, table = relation.partition(".")
    if not (dot and place and table):
        raise Rejected(("relation", f'"{relation}" is not written as schema.table'))
    allowed = [name for name in settings.KAIREON_SOURCE_SCHEMAS if not _is_ours(name)]
    if place not in allowed:
        raise Rejected(
            (
                "relation",
                f'PostgreSQL schema "{place}" is not open to kaireon;'
                f" KAIREON_SOURCE_SCHEMAS allows {', '.join(allowed) or 'none'}",
            )
        )
    return place, table


def _is_ours(place: str) -> bool:
    return place in _OWN_SCHEMAS or place.startswith("pg_")


def _check_relation(cursor: Any, tenant: Tenant, place: str, table: str) -> None:
    """Refuse what is, or reads, a table of the application or of another tenant."""
    application = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    cursor.execute(
        _READS,
        {"schema": place, "relation": table, "own": [*application, "django_migrations"]},
    )
    found = cursor.fetchall()
    if not found:
        raise Rejected(("relation", f'there is no table or view "{place}.{table}"'))
    for read_schema, read_table, is_own in found:
        what = "is" if (read_schema, read_table) == (place, table) else f"reads {read_table}:"
        if is_own:
            raise Rejected(("relation", f"{place}.{table} {what} a table of the application"))
        owner = Schema.unscoped.filter(relation_schema=read_schema, relation_name=read_table)
        if owner.exclude(tenant=tenant).exists():
            raise Rejected(("relation", f"{place}.{table} {what} a table of another tenant"))


def _check_key(cursor: Any, relation: sql.Identifier, key: str, columns: dict[str, Column]) -> None:
    if key not in columns:
        raise Rejected(("key", f'there is no column "{key}"; choose one of {", ".join(columns)}'))
    column = columns[key]
    if column.kind not in (Kind.TEXT, Kind.INTEGER):
        raise Rejected(
            (
                "key",
                f'"{key}" is {column.pg_type.name}; a key is text, uuid or a whole number:'
                " register a view that casts it",
            )
        )
    if not column.nullable and _has_unique_index(cursor, relation, key):
        return
    value, _ = column_sql(sql.Identifier(key), column.pg_type)
    cursor.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(relation, sql.Identifier(key))
    )
    nulls = cursor.fetchall()[0][0]
    if nulls:
        raise Rejected(("key", f'"{key}" is NULL in {nulls} rows'))
    cursor.execute(
        sql.SQL(
            "SELECT {value} AS value, count(*) FROM {relation} GROUP BY 1"
            " HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        ).format(value=value, relation=relation)
    )
    twice = cursor.fetchall()
    if twice:
        raise Rejected(
            ("key", f'"{key}" is not unique: "{twice[0][0]}" occurs {twice[0][1]} times')
        )


def _has_unique_index(cursor: Any, relation: sql.Identifier, key: str) -> bool:
    cursor.execute(_UNIQUE_INDEX, (relation.as_string(), key))
    return bool(cursor.fetchall())


def _warnings(columns: dict[str, Column]) -> tuple[str, ...]:
    return tuple(
        f'column "{column.name}" cannot be used: {column.reason}'
        for column in columns.values()
        if not column.supported
    )


# The relation, and all that a view or a partition of it comes from, however deep.
_READS = """
WITH RECURSIVE used(oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = %(relation)s
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION
  SELECT source.oid
  FROM used
  CROSS JOIN LATERAL (
    SELECT d.refobjid AS oid
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass
      AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
    WHERE r.ev_class = used.oid
    UNION
    SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = used.oid
  ) source
)
SELECT n.nspname, c.relname,
       n.nspname LIKE 'pg\\_%%' OR n.nspname = 'information_schema' OR (
         (c.relname = ANY(%(own)s) OR c.relname ~ '^campaigns_recommendation_r[0-9]+$')
         AND n.nspname = current_schema())
FROM used
JOIN pg_catalog.pg_class c ON c.oid = used.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY n.nspname, c.relname
"""

# Over the whole column as it is: neither partial nor of more columns, and valid.
_UNIQUE_INDEX = """
SELECT 1
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s::regclass AND a.attname = %s
  AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1
"""
