"""Small tables of customers for tests, made by SQL and registered as schemas."""

from typing import Any

from django.db import connection
from psycopg import sql

from campaigns.models import Schema, Segment
from kaireon.access.models import Tenant
from tests.factories import SchemaFactory


def execute(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def make_schema(tenant: Tenant, name: str, columns: str, *rows: tuple[Any, ...]) -> Schema:
    """A schema over the new table data.<name>; its key is the first column."""
    table = sql.Identifier("data", name)
    execute(f'CREATE TABLE data."{name}" ({columns})')
    with connection.cursor() as cursor:
        for row in rows:
            values = sql.SQL(", ").join(map(sql.Literal, row))
            cursor.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, values))
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table))
        key = cursor.description[0].name
    return SchemaFactory(tenant=tenant, name=name, relation_name=name, key_column=key)


def view_rows(segment: Segment) -> list[tuple[Any, ...]]:
    return execute(f"SELECT * FROM segments.{segment.view_name} ORDER BY 1")


def view_keys(segment: Segment) -> list[Any]:
    return [row[0] for row in view_rows(segment)]


def view_columns(segment: Segment) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM segments.{segment.view_name} LIMIT 0")
        return [column.name for column in cursor.description]


def views() -> list[str]:
    """All views of segments there are."""
    rows = execute("SELECT viewname FROM pg_views WHERE schemaname = 'segments' ORDER BY 1")
    return [name for (name,) in rows]
