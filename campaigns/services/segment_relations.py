"""The tables a segment reads, as the catalog has them now."""

from collections.abc import Collection, Iterator, Mapping

from campaigns.models import Schema
from campaigns.services.segment_sql import Relation
from executor.errors import Rejected
from executor.flow.operators import quoted
from executor.flow.types import Column, Cursor, Kind, read_columns, unique_columns
from kaireon import ids


class Fields(Mapping[str, Kind]):
    """The kinds of columns; looking up one whose type cannot be used raises Rejected with why."""

    def __init__(self, columns: Mapping[str, Column], faulty: Collection[str] = ()) -> None:
        """Fields of the joins `faulty` raise a Rejected without a message: theirs is known."""
        self._columns = columns
        self._faulty = faulty

    def __getitem__(self, name: str) -> Kind:
        if name not in self._columns and name.partition(".")[0] in self._faulty:
            raise Rejected
        column = self._columns[name]
        if column.kind is None:
            raise Rejected(f"{quoted(name)} cannot be used: {column.reason}")
        return column.kind

    def __iter__(self) -> Iterator[str]:
        return (name for name, column in self._columns.items() if column.supported)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_relation(cursor: Cursor, schema: Schema) -> Relation:
    """Read the table or view of a schema (three queries). Raises Rejected if it is gone."""
    place = (schema.relation_schema, schema.relation_name)
    try:
        columns = read_columns(cursor, *place)
    except Rejected as error:
        gone = f"the table {'.'.join(place)} of the schema {quoted(schema.name)} is gone"
        raise Rejected(gone) from error
    return Relation(*place, columns, unique_columns(cursor, *place))


def find_relation(cursor: Cursor, tenant_key: int, public_id: object) -> Relation:
    """Read the relation of the tenant's schema with this id. Raises Rejected if there is none."""
    key = ids.decode("Schema", public_id)
    schema = None if key is None else Schema.objects.of(tenant_key).filter(pk=key).first()
    if schema is None:
        raise Rejected(f"there is no schema {quoted(public_id)}")
    return read_relation(cursor, schema)
