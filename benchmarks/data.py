"""The made-up tenant that `manage.py bench` measures: customers, offers, channels, rules, flows.

Built once and kept. Equal sizes give equal data, as every value follows from a seed.
"""

from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from psycopg import sql

from campaigns.models import (
    Campaign,
    Category,
    Channel,
    Creative,
    Flow,
    FlowVersion,
    Offer,
    QualificationRule,
    Schema,
    Status,
)
from campaigns.services.imports.table import describe_columns
from campaigns.services.segments import create_segment
from executor.flow.types import Cursor
from kaireon.access.models import Tenant

DATA_SCHEMA = "data"
#: Kinds of products; a customer has a propensity for each, and all offers of a kind share it.
FAMILIES = 10
#: Share of customers that can be reached by at least one channel.
REACHABLE = 0.95
TOPS = (1, 3)
SEED = 0.5


@dataclass(frozen=True, slots=True)
class Size:
    customers: int
    offers: int
    channels: int

    @property
    def slug(self) -> str:
        return f"bench-{self.customers}-{self.offers}-{self.channels}"

    @property
    def table(self) -> str:
        return f"ds_{self.slug}".replace("-", "_")


def open_tenant(size: Size) -> Tenant:
    """The tenant of this size; it is built, all or nothing, if it is not there."""
    tenant = Tenant.objects.filter(slug=size.slug).first()
    if tenant is None:
        with transaction.atomic(), connection.cursor() as cursor:
            tenant = Tenant.objects.create(slug=size.slug, name=size.slug, salt="be" * 16)
            _make_customers(cursor, size)
            _make_campaigns(cursor, tenant, size)
    return tenant


def campaign_of(tenant: Tenant, top: int) -> Campaign:
    """The campaign that gives each customer at most `top` offers."""
    campaign: Campaign = Campaign.objects.of(tenant).get(name=f"top {top}")
    return campaign


def _make_customers(cursor: Cursor, size: Size) -> None:
    """Rows in the order of their keys, as an id sequence gives them."""
    table = sql.Identifier(DATA_SCHEMA, size.table)
    refused = (1 - REACHABLE) ** (1 / size.channels)
    columns: dict[str, tuple[str, sql.Composable]] = {
        "customer_id": ('text COLLATE "C"', sql.SQL("'C' || lpad(i::text, 9, '0')")),
        "age": ("bigint", sql.SQL("18 + floor(random() * 70)")),
        "balance": ("float8", sql.SQL("round((random() * 10000)::numeric, 2)")),
        "tenure": ("bigint", sql.SQL("1 + floor(random() * 40)")),
        "income": ("float8", sql.SQL("round((random() * 90000)::numeric, 2)")),
        "region": ("text", sql.SQL("('{north,south,east,west}'::text[])[1 + i % 4]")),
        "loan": ("boolean", sql.SQL("random() < 0.2")),
    }
    for channel in range(size.channels):
        reached = sql.SQL("random() >= {}").format(sql.Literal(refused))
        columns[consent(channel)] = ("boolean", reached)
    for family in range(FAMILIES):
        columns[propensity(family)] = ("float8", sql.SQL("0.001 + 0.998 * random()"))
    cursor.execute("SELECT setseed(%s)", (SEED,))
    cursor.execute(
        sql.SQL("CREATE TABLE {} ({})").format(
            table,
            sql.SQL(", ").join(
                sql.SQL("{} {} NOT NULL").format(sql.Identifier(name), sql.SQL(kind))
                for name, (kind, _) in columns.items()
            ),
        )
    )
    cursor.execute(
        sql.SQL("INSERT INTO {} SELECT {} FROM generate_series(1, {}) AS i").format(
            table,
            sql.SQL(", ").join(value for _, value in columns.values()),
            sql.Literal(size.customers),
        )
    )
    cursor.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (customer_id)").format(table))


def consent(channel: int) -> str:
    """The column that says whether a customer may be reached by this channel."""
    return f"channel_{channel + 1}_ok"


def propensity(family: int) -> str:
    return f"p{family + 1}"


def _make_campaigns(cursor: Cursor, tenant: Tenant, size: Size) -> None:
    schema = Schema.unscoped.create(
        tenant=tenant,
        name="customers",
        origin=Schema.Origin.IMPORTED,
        relation_schema=DATA_SCHEMA,
        relation_name=size.table,
        key_column="customer_id",
        columns=describe_columns(cursor, DATA_SCHEMA, size.table, {}),
        row_count=size.customers,
    )
    segment = create_segment(tenant, name="everyone", base_schema=schema, filters=[])
    channels = _make_channels(tenant, size)
    _make_offers(tenant, size, channels)
    for top in TOPS:
        key = f"top-{top}"
        flow = Flow.unscoped.create(tenant=tenant, key=key, name=key, status=Status.ACTIVE)
        FlowVersion.objects.create(flow=flow, version=1, config=flow_config(top))
        Campaign.unscoped.create(
            tenant=tenant, name=f"top {top}", flow=flow, segment=segment, status=Status.ACTIVE
        )


def _make_channels(tenant: Tenant, size: Size) -> list[Channel]:
    """Batch channels, each with the rule that the customer has agreed to it."""
    channels = []
    for number in range(size.channels):
        channel = Channel.unscoped.create(
            tenant=tenant, name=f"Channel {number + 1}", delivery_mode=Channel.DeliveryMode.FILE
        )
        config = {"attribute": consent(number), "operator": "eq", "value": True}
        _make_rule(tenant, "channel", channel.pk, f"consent to {channel.name}", config)
        channels.append(channel)
    return channels


def _make_offers(tenant: Tenant, size: Size, channels: list[Channel]) -> None:
    """Offers of all families; two of five have a rule on age or balance."""
    categories = [
        Category.unscoped.create(tenant=tenant, name=f"Category {number + 1}")
        for number in range(min(FAMILIES, size.offers))
    ]
    for number in range(size.offers):
        offer = Offer.unscoped.create(
            tenant=tenant,
            name=f"Offer {number + 1}",
            status=Status.ACTIVE,
            category=categories[number % FAMILIES],
            priority=1 + number * 37 % 100,
            business_value=5 + number * 53 % 90,
            product_type=str(number % FAMILIES + 1),
        )
        Creative.unscoped.bulk_create(
            Creative(
                tenant=tenant,
                name=f"{offer.name} by {channel.name}",
                offer=offer,
                channel=channel,
                status=Status.ACTIVE,
            )
            for channel in channels
        )
        if number % 5 in (0, 2):
            _make_rule(tenant, "offer", offer.pk, f"who may have {offer.name}", offer_rule(number))


def offer_rule(number: int) -> dict[str, Any]:
    if number % 5 == 0:
        return {"attribute": "age", "operator": "gte", "value": 20 + number * 7 % 30}
    return {"attribute": "balance", "operator": "gte", "value": 100 + number * 311 % 4000}


def _make_rule(tenant: Tenant, scope: str, key: int, name: str, config: dict[str, Any]) -> None:
    QualificationRule.unscoped.create(
        tenant=tenant,
        name=name,
        rule_type=QualificationRule.RuleType.ATTRIBUTE_CONDITION,
        scope=scope,
        scope_key=key,
        config=config,
        priority=90 if scope == "channel" else 50,
    )


def flow_config(top: int) -> dict[str, Any]:
    """Score = propensity^0.4 x relevance^0.2 x business value^0.3 x priority^0.1, best `top`."""
    score = {
        "method": "formula",
        "propensity": {"field": "customer.p{offer.product_type}", "default": 0.5},
        "relevance": {"field": "customer.tenure", "min": 0, "max": 40, "default": 0.5},
    }
    nodes: list[tuple[str, dict[str, Any]]] = [
        ("inventory", {"scope": "all"}),
        ("match_creatives", {}),
        ("qualify", {"mode": "all"}),
        ("score", score),
        ("rank", {"method": "top_n", "maxCandidates": top}),
        ("response", {}),
    ]
    return {
        "version": 2,
        "nodes": [{"id": kind, "type": kind, "config": config} for kind, config in nodes],
    }
