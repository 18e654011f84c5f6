"""The made-up bank's offers, channels, creatives, rules, flow, segment and campaign.

Everything is found by name before it is made, so building the bank again changes nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns.models import (
    Campaign,
    Category,
    Channel,
    Creative,
    Flow,
    Offer,
    QualificationRule,
    Schema,
    Segment,
    Status,
)
from campaigns.services import imports
from campaigns.services.campaigns import create_campaign
from campaigns.services.flows import create_flow, publish_flow, save_draft
from campaigns.services.segments import create_segment, refresh_segment
from kaireon.access.models import Tenant

SLUG, NAME = "harbour-bank", "Harbour Bank"
SCHEMA, SEGMENT = "Bank customers", "Reachable customers"
CAMPAIGN = "Weekly High-Value Campaign"

# Category -> offers as (name, priority, business value).
OFFERS = {
    "Cards": (("Gold Card", 70, 80), ("Travel Card", 60, 65), ("Cashback Card", 55, 50),
              ("Student Card", 50, 25)),
    "Lending": (("Home Improvement Loan", 65, 85), ("Car Loan", 60, 70),
                ("Overdraft Upgrade", 40, 30)),
    "Savings": (("Easy Saver", 45, 35), ("Fixed-Term Deposit", 60, 60),
                ("Children's Account", 35, 20), ("Green Bond Saver", 50, 45)),
    "Protection": (("Home Insurance", 60, 75), ("Travel Insurance", 40, 40),
                   ("Life Cover", 55, 70)),
}  # fmt: skip
# Channel -> (type, delivery mode, template, consent column).
CHANNELS = {
    "E-mail": ("email", "file", "email_html", "email_opt_in"),
    "SMS": ("sms", "file", "sms_text", "sms_opt_in"),
    "Direct mail": ("direct_mail", "manual", "email_text", "mail_opt_in"),
    "Website": ("web", "api", "web_banner", None),
}
# Offer -> what a customer must meet.
RULES: dict[str, tuple[tuple[str, str, object], ...]] = {
    "Gold Card": (("income", "gte", 45_000), ("credit_score", "gte", 640)),
    "Travel Card": (("income", "gte", 25_000), ("has_credit_card", "eq", False)),
    "Cashback Card": (("credit_score", "gte", 580), ("has_credit_card", "eq", False)),
    "Student Card": (("age", "lte", 26),),
    "Home Improvement Loan": (("home_owner", "eq", True), ("credit_score", "gte", 620)),
    "Car Loan": (("credit_score", "gte", 600),),
    "Overdraft Upgrade": (("tenure_years", "gte", 1),),
    "Fixed-Term Deposit": (("balance", "gte", 5_000),),
    "Children's Account": (("age", "gte", 25), ("age", "lte", 55)),
    "Home Insurance": (("home_owner", "eq", True),),
    "Life Cover": (("age", "lte", 65),),
}
FLOW: dict[str, Any] = {
    "version": 2,
    "nodes": [
        {"id": "offers", "type": "inventory", "config": {"scope": "all"}},
        {"id": "treatments", "type": "match_creatives", "config": {"requireCreative": True}},
        {"id": "rules", "type": "qualify", "config": {"mode": "all"}},
        {
            "id": "worth",
            "type": "score",
            "config": {
                "method": "formula",
                "propensity": {
                    "field": "customer.propensity_{offer.product_type}", "default": 0.1
                },
                "relevance": {
                    "field": "customer.digital_engagement", "min": -1, "max": 1, "default": 0.5
                },
            },
        },
        {"id": "best", "type": "rank", "config": {"method": "top_n", "maxCandidates": 1}},
        {"id": "answer", "type": "response", "config": {"responseFormat": "standard"}},
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bank:
    tenant: Tenant
    campaign: Campaign


def build_bank(customers_file: Path) -> Bank:
    """Import the customers (replacing earlier ones) and make what is missing of the rest."""
    tenant, _ = Tenant.objects.get_or_create(
        slug=SLUG, defaults={"name": NAME, "timezone": "America/New_York"}
    )
    schema = _import(tenant, customers_file)
    offers, channels = _offers(tenant), _channels(tenant)
    _creatives(tenant, offers, channels)
    _rules(tenant, offers, channels)
    segment = _segment(tenant, schema)
    return Bank(tenant, _campaign(tenant, _flow(tenant), segment))


def _import(tenant: Tenant, file: Path) -> Schema:
    known = Schema.objects.of(tenant).filter(name=SCHEMA).exists()
    mode = imports.Mode.REPLACE if known else imports.Mode.CREATE
    result = imports.import_customers(
        tenant, file, schema=SCHEMA, key="" if known else "customer_id", mode=mode
    )
    return result.schema


def _offers(tenant: Tenant) -> dict[str, Offer]:
    offers = {}
    for ordinal, (category_name, rows) in enumerate(OFFERS.items()):
        category, _ = Category.unscoped.get_or_create(
            tenant=tenant, name=category_name, defaults={"ordinal": ordinal}
        )
        for name, priority, value in rows:
            offers[name], _ = Offer.unscoped.get_or_create(
                tenant=tenant,
                name=name,
                defaults={
                    "status": Status.ACTIVE,
                    "category": category,
                    "product_type": category_name.lower(),
                    "priority": priority,
                    "business_value": value,
                },
            )
    return offers


def _channels(tenant: Tenant) -> dict[str, Channel]:
    return {
        name: Channel.unscoped.get_or_create(
            tenant=tenant,
            name=name,
            defaults={"channel_type": channel_type, "delivery_mode": mode},
        )[0]
        for name, (channel_type, mode, _, _) in CHANNELS.items()
    }


def _creatives(tenant: Tenant, offers: dict[str, Offer], channels: dict[str, Channel]) -> None:
    for offer in offers.values():
        for channel in channels.values():
            Creative.unscoped.get_or_create(
                tenant=tenant,
                name=f"{offer.name} by {channel.name}",
                defaults={
                    "offer": offer,
                    "channel": channel,
                    "status": Status.ACTIVE,
                    "template_type": CHANNELS[channel.name][2],
                    "content": {
                        "subject": f"{offer.name} for you",
                        "body": f"Your {offer.name} is waiting. Visit us or reply to this message.",
                    },
                },
            )


def _rules(tenant: Tenant, offers: dict[str, Offer], channels: dict[str, Channel]) -> None:
    _rule(tenant, "Not in arrears", "global", None, (("in_arrears", "eq", False),), 100)
    for name, (_, _, _, consent) in CHANNELS.items():
        if consent:
            wanted = ((consent, "eq", True),)
            _rule(tenant, f"Consent to {name}", "channel", channels[name].pk, wanted, 90)
    for name, conditions in RULES.items():
        _rule(tenant, f"{name}: who may have it", "offer", offers[name].pk, conditions, 50)


def _rule(
    tenant: Tenant,
    name: str,
    scope: str,
    scope_key: int | None,
    conditions: tuple[tuple[str, str, object], ...],
    priority: int,
) -> None:
    leaves = [{"field": f, "operator": o, "value": v} for f, o, v in conditions]
    QualificationRule.unscoped.get_or_create(
        tenant=tenant,
        name=name,
        defaults={
            "rule_type": QualificationRule.RuleType.ATTRIBUTE_CONDITION,
            "scope": scope,
            "scope_key": scope_key,
            "config": {"combinator": "AND", "conditions": leaves},
            "priority": priority,
        },
    )


def _flow(tenant: Tenant) -> Flow:
    key, name = "weekly-best-offer", "Weekly Best Offer"
    flow = Flow.objects.of(tenant).filter(key=key).first()
    if flow is None:
        flow = create_flow(tenant, key=key, name=name, config=FLOW)
    elif flow.draft_config != FLOW:
        flow = save_draft(flow, FLOW)
    if flow.published is None or flow.published.config != FLOW:
        publish_flow(flow, notes="Demo")
    return flow


def _segment(tenant: Tenant, schema: Schema) -> Segment:
    segment: Segment | None = Segment.objects.of(tenant).filter(name=SEGMENT).first()
    if segment is not None:
        refresh_segment(segment)
        return segment
    consents = [consent for _, _, _, consent in CHANNELS.values() if consent]
    return create_segment(
        tenant,
        name=SEGMENT,
        description="Adults who agreed to at least one way of being contacted",
        base_schema=schema,
        filters=[
            {"field": "age", "operator": "gte", "value": 18},
            {
                "combinator": "OR",
                "conditions": [
                    {"field": consent, "operator": "eq", "value": True} for consent in consents
                ],
            },
        ],
    )


def _campaign(tenant: Tenant, flow: Flow, segment: Segment) -> Campaign:
    campaign: Campaign | None = Campaign.objects.of(tenant).filter(name=CAMPAIGN).first()
    if campaign is not None:
        return campaign
    flow.refresh_from_db()
    return create_campaign(
        tenant,
        {
            "name": CAMPAIGN,
            "description": "The best offer for every reachable customer, Mondays at nine",
            "status": Status.ACTIVE,
            "flow": flow,
            "segment": segment,
            "schedule_type": "weekly",
            "schedule_day_of_week": 1,
            "schedule_time": "09:00",
            "schedule_timezone": "America/New_York",
            "max_total_per_run": 10_000,
            "max_per_offer": 500,
            "file_columns": ["customer_id", "offer_name", "channel", "score"],
        },
    )
