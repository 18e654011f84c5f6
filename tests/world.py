"""A small bank whose right answers a test can work out by hand."""

from dataclasses import dataclass

from django.db import connection

from campaigns.models import Campaign, CampaignRun, Channel, FlowVersion, Offer
from kaireon.access.models import Tenant
from tests import factories

COLUMNS = "customer_id, age, balance, email_ok, sms_ok, p_cards, p_loans"


@dataclass(frozen=True)
class World:
    tenant: Tenant
    campaign: Campaign
    offers: list[Offer]
    channels: list[Channel]
    table: str

    def run(self, **changes: object) -> CampaignRun:
        """A pending run of the campaign, changed as asked."""
        for name, value in changes.items():
            setattr(self.campaign, name, value)
        self.campaign.save()
        number = self.campaign.runs.count() + 1
        return factories.RunFactory(campaign=self.campaign, run_number=number)


def build(customers: int = 100, *, k: int = 1, table: str = "ds_world") -> World:
    """Customers with attributes that follow from their number, three offers, two channels."""
    tenant = factories.TenantFactory()
    with connection.cursor() as cursor:
        cursor.execute(
            f'CREATE TABLE data.{table} (customer_id text COLLATE "C" PRIMARY KEY, age int,'
            " balance float8, email_ok boolean, sms_ok boolean, p_cards float8, p_loans float8)"
        )
        cursor.execute(
            f"INSERT INTO data.{table} SELECT 'C' || lpad(i::text, 7, '0'), 18 + i % 60,"
            " (i * 7919 % 10007)::float8, i % 3 <> 0, i % 4 <> 0,"
            " (1 + i * 31 % 97) / 100.0, CASE WHEN i % 11 = 0 THEN NULL ELSE"
            f" (1 + i * 57 % 89) / 100.0 END FROM generate_series(1, {customers}) AS i"
        )
        view = f"seg_{tenant.pk:012x}"
        cursor.execute(f"CREATE VIEW segments.{view} AS SELECT * FROM data.{table}")
    schema = factories.SchemaFactory(tenant=tenant, relation_name=table)
    segment = factories.SegmentFactory(
        tenant=tenant, base_schema=schema, view_name=view, customer_count=customers
    )
    channels = [
        factories.ChannelFactory(tenant=tenant, name=name) for name in ("Email", "Text message")
    ]
    offers = [
        factories.OfferFactory(tenant=tenant, name=name, priority=priority, product_type=product)
        for name, priority, product in (
            ("Gold Card", 80, "cards"),
            ('Loan, "easy"', 60, "loans"),
            ("Silver Card", 40, "cards"),
        )
    ]
    for offer in offers:
        for channel in channels:
            factories.CreativeFactory(tenant=tenant, offer=offer, channel=channel)
    _rules(tenant, offers, channels)
    flow = factories.FlowFactory(tenant=tenant, status="active")
    FlowVersion.objects.create(flow=flow, version=1, config=flow_config(k))
    campaign = factories.CampaignFactory(
        tenant=tenant, flow=flow, segment=segment, status="active", name="Weekly Cards"
    )
    return World(tenant, campaign, offers, channels, f"data.{table}")


def _rules(tenant: Tenant, offers: list[Offer], channels: list[Channel]) -> None:
    for channel, column in zip(channels, ("email_ok", "sms_ok"), strict=True):
        factories.RuleFactory(
            tenant=tenant,
            name=f"consent {channel.name}",
            scope="channel",
            scope_key=channel.pk,
            priority=90,
            config={"attribute": column, "operator": "eq", "value": True},
        )
    factories.RuleFactory(
        tenant=tenant,
        name="adults of means",
        scope="offer",
        scope_key=offers[0].pk,
        config={
            "combinator": "AND",
            "conditions": [
                {"field": "age", "operator": "gte", "value": 25},
                {"field": "balance", "operator": "gt", "value": 1000},
            ],
        },
    )


def flow_config(k: int) -> dict[str, object]:
    propensity = {"field": "customer.p_{offer.product_type}", "default": 0.5}
    nodes = [
        ("inventory", {"scope": "all"}),
        ("match_creatives", {"requireCreative": True}),
        ("qualify", {"mode": "all"}),
        ("score", {"method": "formula", "propensity": propensity}),
        ("rank", {"method": "top_n", "maxCandidates": k}),
        ("response", {"responseFormat": "standard"}),
    ]
    return {
        "version": 2,
        "nodes": [{"id": f"{kind}-1", "type": kind, "config": config} for kind, config in nodes],
    }
