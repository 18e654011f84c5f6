"""The tenant of `benchmarks/engine.py`: that of the bench, with all that the engine can do.

60 rules of every type, 6 contact policies over 5 contacts per customer, a formula whose propensity
is a logistic model, and creatives with two fields of the customer.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from benchmarks.data import Size, flow_config, open_tenant
from campaigns.models import (
    AlgorithmModel,
    Campaign,
    Category,
    Channel,
    ContactPolicy,
    Creative,
    Flow,
    FlowVersion,
    Offer,
    QualificationRule,
    Status,
)
from executor.contacts import ensure_partition
from kaireon.access.models import Tenant

RULES = 60
HISTORY_DAYS = 60
CONTACTS = 5
CAMPAIGN = "engine"
FILE_COLUMNS = ["customer_id", "offer_name", "channel", "score", "content.subject", "content.body"]
WEIGHTS = {"age": 0.01, "balance": -0.00005, "tenure": 0.02, "offer.priority": 0.005}

HISTORY = """
INSERT INTO campaigns_contact
  (at, tenant_id, campaign_id, run_id, offer_id, channel_id, creative_id, customer_key)
SELECT now() - random() * %(days)s * interval '1 day', %(tenant)s, %(campaign)s, 0,
  (%(offers)s::bigint[])[1 + floor(random() * %(offer_count)s)::int],
  (%(channels)s::bigint[])[1 + floor(random() * %(channel_count)s)::int], NULL,
  'C' || lpad((1 + floor(random() * %(customers)s)::bigint)::text, 9, '0')
FROM generate_series(1, %(contacts)s)
"""


@dataclass(frozen=True, slots=True)
class EngineSize(Size):
    @property
    def slug(self) -> str:
        return f"engine-{self.customers}-{self.offers}-{self.channels}"

    @property
    def contacts(self) -> int:
        return CONTACTS * self.customers


def open_engine(size: EngineSize) -> Tenant:
    """The tenant of this size; it is built, all or nothing, if it is not there."""
    with transaction.atomic():
        tenant = open_tenant(size)
        if not Campaign.objects.of(tenant).filter(name=CAMPAIGN).exists():
            _add(tenant, size)
    return tenant


def _add(tenant: Tenant, size: EngineSize) -> None:
    offers = list(Offer.objects.of(tenant).order_by("pk"))
    channels = list(Channel.objects.of(tenant).order_by("pk"))
    _rules(tenant, offers)
    AlgorithmModel.unscoped.create(
        tenant=tenant,
        key="answers",
        name="answers",
        model_type="logistic_regression",
        status=Status.ACTIVE,
        model_state={"weights": WEIGHTS, "bias": -2.0},
    )
    content = {"subject": "{{ offer_name }} for you", "body": "At {{ age }} in the {{ region }}"}
    items = [{"variable": "offer_name", "source": "offer.name"}]
    Creative.objects.of(tenant).update(
        template_type="email_text", content=content, personalization=items
    )
    campaign = _campaign(tenant)
    _policies(tenant, offers, channels)
    _history(campaign, size, offers, channels)


def _rules(tenant: Tenant, offers: list[Offer]) -> None:
    """As many more as make 60, of all types and stages."""
    kinds: list[tuple[str, dict[str, Any], str]] = [
        ("recency_check", {"source": "contact", "olderThanDays": 3, "fitMultiplier": 0.8}, "match"),
        ("metric_condition", {"metric": "contacts", "operator": "lt", "threshold": 12}, "fit"),
        ("offer_attribute", {"attribute": "priority", "operator": "gte", "value": 5}, "fit"),
        ("propensity_threshold", {"threshold": 0.05}, "eligibility"),
        (
            "attribute_condition",
            {"attribute": "income", "operator": "gte", "value": 30_000, "fitMultiplier": 0.7},
            "match",
        ),
        ("attribute_condition", {"attribute": "region", "operator": "neq", "value": "x"}, "fit"),
    ]
    missing = RULES - QualificationRule.objects.of(tenant).count()
    for number in range(missing):
        rule_type, config, stage = kinds[number % len(kinds)]
        QualificationRule.unscoped.create(
            tenant=tenant,
            name=f"rule {number + 1}",
            rule_type=rule_type,
            config=config,
            stage=stage,
            scope="offer",
            scope_key=offers[number * 7 % len(offers)].pk,
        )


def _campaign(tenant: Tenant) -> Campaign:
    config = flow_config(3)
    nodes = [node for node in config["nodes"] if node["type"] != "score"]
    at = next(number for number, node in enumerate(nodes) if node["type"] == "rank")
    score = {
        "method": "formula",
        "modelKey": "answers",
        "evidence": "never",
        "relevance": {"field": "customer.tenure", "min": 0, "max": 40, "default": 0.5},
    }
    nodes[at:at] = [
        {"id": "policies", "type": "contact_policy"},
        {"id": "score", "type": "score", "config": score},
    ]
    flow = Flow.unscoped.create(tenant=tenant, key="engine", name="engine", status=Status.ACTIVE)
    FlowVersion.objects.create(flow=flow, version=1, config=config | {"nodes": nodes})
    segment = Campaign.objects.of(tenant).get(name="top 1").segment
    return Campaign.unscoped.create(
        tenant=tenant,
        name=CAMPAIGN,
        flow=flow,
        segment=segment,
        status=Status.ACTIVE,
        file_columns=[
            "customer_id",
            "offer_name",
            "channel",
            "score",
            "content.subject",
            "content.body",
        ],
    )


def _policies(tenant: Tenant, offers: list[Offer], channels: list[Channel]) -> None:
    category = Category.objects.of(tenant).order_by("pk").first()
    assert category is not None  # noqa: S101 - the bench has made some
    for rule_type, scope, key, config in (
        ("frequency_cap", "global", None, {"maxPerWeek": 3, "maxPerMonth": 8}),
        ("frequency_cap", "channel", channels[0].pk, {"maxPerWeek": 2}),
        ("customer_total_cap", "global", None, {"maxTotal": 25}),
        ("cooldown", "channel", channels[1].pk, {"cooldownHours": 6}),
        (
            "mutual_exclusion",
            "offer",
            offers[0].pk,
            {"offerIds": [offers[1].public_id], "lookbackDays": 30},
        ),
        (
            "category_suppression",
            "global",
            None,
            {"categoryIds": [category.public_id], "lookbackDays": 14},
        ),
    ):
        ContactPolicy.unscoped.create(
            tenant=tenant,
            name=f"{rule_type} {scope}",
            rule_type=rule_type,
            scope=scope,
            scope_key=key,
            config=config,
        )


def _history(
    campaign: Campaign,
    size: EngineSize,
    offers: list[Offer],
    channels: list[Channel],
) -> None:
    now = datetime.now(UTC)
    for day in range(HISTORY_DAYS + 1):
        ensure_partition(connection.connection, now - timedelta(days=day))
    told = {
        "tenant": campaign.tenant_id,
        "campaign": campaign.pk,
        "days": HISTORY_DAYS,
        "offers": [offer.pk for offer in offers],
        "offer_count": len(offers),
        "channels": [channel.pk for channel in channels],
        "channel_count": len(channels),
        "customers": size.customers,
        "contacts": size.contacts,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.5)")
        cursor.execute(HISTORY, told)
