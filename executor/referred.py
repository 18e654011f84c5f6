"""What a flow refers to besides offers and rules: schemas, joins, called flows, profiles."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import connection

from campaigns.models import (
    Flow,
    FlowVersion,
    Placement,
    RankingProfile,
    Schema,
    SchemaJoin,
    Status,
)
from executor.errors import Rejected
from executor.evidence_counts import count_evidence
from executor.flow.catalog import (
    Catalog,
    Evidence,
    FlowFacts,
    JoinFacts,
    PlacementFacts,
    ProfileFacts,
    SchemaFacts,
)
from executor.flow.configs import OptimizeConfig, ScoreConfig
from executor.flow.named import named_in
from executor.flow.nodes import Definition
from executor.flow.parse import parse_flow
from executor.flow.scoring_choice import asks_evidence
from executor.flow.types import read_columns
from kaireon import ids
from kaireon.access.models import Tenant


def with_referred(
    catalog: Catalog, tenant: Tenant, config: Mapping[str, Any], base: Schema | None, now: datetime
) -> Catalog:
    """The catalog with all that the flow, and the flows it calls, may refer to.

    `base` is the schema of the customers, which may have automatic joins. What is not there is left
    out: compiling says so where it is named. How customers have answered up to `now` is counted
    only for a flow that asks.
    """
    definitions, flows = _with_called(tenant, config)
    joins = _automatic_joins(base) if base else ()
    named = [one for definition in definitions for one in named_in(definition)]
    wanted = {join.schema_key for join in joins}
    wanted |= {ids.decode("Schema", one.name) or 0 for one in named if one.model == "Schema"}
    schemas = _schemas(tenant, wanted)
    return replace(
        catalog,
        flows=flows,
        schemas=schemas,
        joins=_matching(joins, schemas),
        evidence=count_evidence(tenant, now) if _asks(definitions, catalog) else Evidence(),
        placements=tuple(
            PlacementFacts(row.pk, row.name, row.channel_id, row.max_slots)
            for row in Placement.objects.of(tenant).filter(status=Status.ACTIVE).order_by("pk")
        ),
        profiles=tuple(
            ProfileFacts(row.pk, row.name, row.weights)
            for row in RankingProfile.objects.of(tenant).order_by("pk")
        ),
    )


def _with_called(
    tenant: Tenant, config: Mapping[str, Any]
) -> tuple[list[Definition], tuple[FlowFacts, ...]]:
    """The flow with all that it calls, and the published versions of those."""
    found: dict[str, FlowFacts] = {}
    definitions, unread = [], [config]
    while unread:
        try:
            definitions.append(parse_flow(unread.pop(0)))
        except Rejected:  # compiling will say what is wrong
            continue
        for one in named_in(definitions[-1]):
            version = _published(tenant, one.name) if one.model == "Flow" else None
            if version is not None and one.name not in found:
                found[one.name] = FlowFacts(one.name, version.version, version.config)
                unread.append(version.config)
    return definitions, tuple(found.values())


def _published(tenant: Tenant, key: str) -> FlowVersion | None:
    flow = Flow.objects.of(tenant).filter(key=key).first()
    return flow.published if flow else None


def _asks(definitions: list[Definition], catalog: Catalog) -> bool:
    """Whether any part of the flows, or a rule, looks at how customers have answered."""
    configs = [node.config for definition in definitions for node in definition.nodes]
    is_looked_at = any(isinstance(one, OptimizeConfig) for one in configs) or any(
        rule.rule_type == "propensity_threshold" for rule in catalog.rules
    )
    return any(
        isinstance(one, ScoreConfig) and asks_evidence(one, is_looked_at=is_looked_at)
        for one in configs
    )


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


def _schemas(tenant: Tenant, keys: set[int]) -> tuple[SchemaFacts, ...]:
    rows = Schema.objects.of(tenant).filter(pk__in=keys).order_by("pk")
    return tuple(facts for row in rows if (facts := schema_facts(row)) is not None)


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
