"""What a flow refers to besides offers and rules: schemas, joins, called flows, profiles."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.db import connection

from campaigns.models import Flow, Placement, RankingProfile, Schema, SchemaJoin, Status
from executor.errors import Rejected
from executor.flow.calls import calls
from executor.flow.catalog import (
    Catalog,
    FlowFacts,
    JoinFacts,
    PlacementFacts,
    ProfileFacts,
    SchemaFacts,
)
from executor.flow.nodes import ConditionalNode, Definition, EnrichNode, Node
from executor.flow.parse import parse_flow
from executor.flow.types import read_columns
from kaireon import ids
from kaireon.access.models import Tenant


def with_referred(
    catalog: Catalog, tenant: Tenant, config: Mapping[str, Any], base: Schema | None
) -> Catalog:
    """The catalog with all that the flow, and the flows it calls, may refer to.

    `base` is the schema of the customers, which may have automatic joins. What is not there is left
    out: compiling says so where it is named.
    """
    flows = called_flows(tenant, config)
    definitions = [_read(config), *(_read(flow.config) for flow in flows)]
    joins = _automatic_joins(base) if base else ()
    wanted = {join.schema_key for join in joins}
    wanted |= _enriching([one for one in definitions if one is not None])
    schemas = _schemas(tenant, wanted)
    return replace(
        catalog,
        flows=flows,
        schemas=schemas,
        joins=_matching(joins, schemas),
        placements=tuple(
            PlacementFacts(row.pk, row.name, row.channel_id, row.max_slots)
            for row in Placement.objects.of(tenant).filter(status=Status.ACTIVE).order_by("pk")
        ),
        profiles=tuple(
            ProfileFacts(row.pk, row.name, row.weights)
            for row in RankingProfile.objects.of(tenant).order_by("pk")
        ),
    )


def called_flows(tenant: Tenant, config: Mapping[str, Any]) -> tuple[FlowFacts, ...]:
    """The published versions of the flows that the flow calls, and of those that they call."""
    found: dict[str, FlowFacts] = {}
    wanted = list(_called(config))
    while wanted:
        key = wanted.pop(0)
        if key in found:
            continue
        flow = Flow.objects.of(tenant).filter(key=key).first()
        version = flow.published if flow else None
        if version is not None:
            found[key] = FlowFacts(key, version.version, version.config)
            wanted.extend(_called(version.config))
    return tuple(found.values())


def _called(config: Mapping[str, Any]) -> Iterator[str]:
    definition = _read(config)
    if definition is not None:
        yield from (key for _, key in calls(definition))


def _read(config: Mapping[str, Any]) -> Definition | None:
    """The definition; None for one that cannot be read, as compiling will say."""
    try:
        return parse_flow(config)
    except Rejected:
        return None


def _automatic_joins(base: Schema) -> tuple[JoinFacts, ...]:
    """The active ones of the schema, by name."""
    rows = SchemaJoin.objects.of(base.tenant_id).filter(
        primary_schema=base, auto_enrich=True, status=Status.ACTIVE
    )
    return tuple(
        JoinFacts(row.name, row.foreign_schema_id, row.primary_key, row.foreign_key)
        for row in sorted(rows, key=lambda row: row.name)
    )


def _matching(
    joins: tuple[JoinFacts, ...], schemas: tuple[SchemaFacts, ...]
) -> tuple[JoinFacts, ...]:
    """The joins whose foreign side is still there."""
    kinds = {schema.key: schema.kinds for schema in schemas}
    return tuple(join for join in joins if join.foreign_key in kinds.get(join.schema_key, ()))


def _enriching(definitions: list[Definition]) -> set[int]:
    """The keys of the schemas that enrich nodes name."""
    named = {
        node.config.schema_id
        for definition in definitions
        for node in _nodes(definition.nodes)
        if isinstance(node, EnrichNode) and node.config.schema_id is not None
    }
    return {key for one in named if (key := ids.decode("Schema", one)) is not None}


def _schemas(tenant: Tenant, keys: set[int]) -> tuple[SchemaFacts, ...]:
    rows = Schema.objects.of(tenant).filter(pk__in=keys).order_by("pk")
    return tuple(facts for row in rows if (facts := schema_facts(row)) is not None)


def _nodes(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, ConditionalNode):
            yield from _nodes((*node.config.then, *node.config.otherwise))


def schema_facts(row: Schema) -> SchemaFacts | None:
    """The schema as it is now; None if its relation is gone."""
    with connection.cursor() as cursor:
        try:
            columns = read_columns(cursor, row.relation_schema, row.relation_name)
        except Rejected:
            return None
    kinds = {name: column.kind for name, column in columns.items() if column.kind is not None}
    return SchemaFacts(
        key=row.pk,
        name=row.name,
        relation_schema=row.relation_schema,
        relation_name=row.relation_name,
        key_column=row.key_column,
        kinds=kinds,
    )
