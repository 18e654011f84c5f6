"""A request to make one of everything, by path: the examples of the API's description."""

from collections.abc import Mapping
from typing import Any

FLOW = {
    "version": 2,
    "nodes": [
        {"id": "inventory-1", "type": "inventory", "config": {"scope": "all"}},
        {"id": "creatives-1", "type": "match_creatives", "config": {"requireCreative": True}},
        {"id": "qualify-1", "type": "qualify", "config": {"mode": "all"}},
        {"id": "score-1", "type": "score", "config": {"method": "priority_weighted"}},
        {"id": "rank-1", "type": "rank", "config": {"method": "top_n", "maxCandidates": 5}},
        {"id": "response-1", "type": "response", "config": {"responseFormat": "standard"}},
    ],
}
CREATIVE = {
    "name": "Gold Card by e-mail",
    "offerId": "off_Uk1pLm4z",
    "channelId": "ch_Uk1pLm4z",
    "placementId": "plc_Uk1pLm4z",
    "status": "active",
    "templateType": "email_html",
    "content": {
        "subject": "A card that pays you back",
        "headline": "Your Gold Card is waiting",
        "body": "Dear {first_name}, 2% of what you spend comes back to you.",
        "ctaText": "Apply now",
        "ctaUrl": "https://bank.example.com/gold",
    },
    "personalization": [
        {"variable": "first_name", "fallback": "customer", "source": "customer.first_name"}
    ],
    "abTestVariant": "control",
    "weight": 50,
}
OFFER = {
    "name": "Gold Card Upgrade",
    "description": "A credit card with 2% cash back.",
    "shortDesc": "2% cash back",
    "status": "active",
    "categoryId": "cat_Uk1pLm4z",
    "subCategoryId": "sub_Uk1pLm4z",
    "priority": 80,
    "weight": 100,
    "businessValue": 50,
    "margin": 0.35,
    "revenueValue": 120,
    "productType": "cards",
    "tags": ["cards", "rewards"],
    "metadata": {"costCentre": "4711"},
    "budget": {"maxPerDay": 5000, "maxTotal": 100000},
    "schedule": {"startDate": "2026-03-01", "endDate": "2026-06-30"},
}
RULE = {
    "name": "Adults of means",
    "description": "Whoever may have a card, and can pay for it.",
    "ruleType": "attribute_condition",
    "scope": "offer",
    "scopeId": "off_Uk1pLm4z",
    "config": {
        "combinator": "AND",
        "conditions": [
            {"field": "age", "operator": "gte", "value": 18},
            {"field": "balance", "operator": "gt", "value": 1000},
        ],
    },
    "priority": 80,
    "stage": "eligibility",
    "onMissing": "fail",
}
SCORECARD = {
    "key": "card-scorecard",
    "name": "Card scorecard",
    "modelType": "scorecard",
    "status": "active",
    "config": {
        "baseScore": 50,
        "minScore": 0,
        "maxScore": 100,
        "normalization": "sigmoid",
        "rules": [
            {
                "id": "means",
                "field": "balance",
                "operator": "gte",
                "value": 5000,
                "points": 20,
                "description": "Can pay for it",
            }
        ],
    },
    "predictors": [{"field": "balance", "selected": True, "importance": 0.7}],
}
CAP = {
    "name": "Gold Card a week",
    "scope": "offer",
    "scopeId": "off_Uk1pLm4z",
    "maxVolume": 10000,
    "period": "weekly",
    "enabled": True,
}
INTERACTION = {
    "customerId": "C0000042",
    "interactionType": "impression",
    "outcome": "",
    "direction": "outbound",
    "offerId": "off_Uk1pLm4z",
    "channelId": "ch_Uk1pLm4z",
    "campaignId": "camp_Uk1pLm4z",
    "context": {"device": "mobile"},
}
MEMBER = {"email": "ana@bank.example.com", "role": "editor"}

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "categories": {
        "name": "Credit cards",
        "description": "All that is paid with.",
        "color": "blue",
        "icon": "credit-card",
        "status": "active",
        "ordinal": 1,
    },
    "sub-categories": {"categoryId": "cat_Uk1pLm4z", "name": "Rewards cards", "ordinal": 1},
    "offers": OFFER,
    "channels": {
        "name": "Batch Email",
        "channelType": "email",
        "deliveryMode": "file",
        "impressionMode": "implicit",
        "status": "active",
    },
    "placements": {
        "channelId": "ch_Uk1pLm4z",
        "key": "hero",
        "name": "Hero banner",
        "slotType": "banner",
        "maxSlots": 1,
    },
    "creatives": CREATIVE,
    "qualification-rules": RULE,
    "contact-policies": {
        "name": "Three a week",
        "ruleType": "frequency_cap",
        "scope": "global",
        "scopes": [{"scope": "offer", "scopeId": "off_Uk1pLm4z"}],
        "config": {"maxPerDay": 1, "maxPerWeek": 3},
        "priority": 90,
    },
    "volume-constraints": CAP,
    "frequency-caps": CAP,
    "schema-joins": {
        "name": "account",
        "primarySchemaId": "sch_Uk1pLm4z",
        "primaryKey": "customer_id",
        "foreignSchemaId": "sch_Uk1pLm4z",
        "foreignKey": "customer_id",
        "joinType": "left",
        "autoEnrich": True,
        "status": "active",
    },
    "ranking-profiles": {
        "name": "Growth",
        "key": "growth",
        "description": "More customers before more margin.",
        "weights": {"propensity": 0.4, "relevance": 0.2, "impact": 0.3, "emphasis": 0.1},
    },
    "algorithm-models": SCORECARD,
    "interactions": {"interactions": [INTERACTION]},
    "decision-flows": {
        "key": "cards",
        "name": "Cards by priority",
        "description": "The five best offers for each customer.",
        "draftConfig": FLOW,
    },
    "decision-flows/validate": {"draftConfig": FLOW, "segmentId": "seg_Uk1pLm4z"},
    "decision-flows/publish": {"id": "df_Uk1pLm4z", "notes": "Cards first"},
    "decision-flows/rollback": {"id": "df_Uk1pLm4z", "version": 1, "notes": "Loans are back"},
    "admin/dlq": {"action": "retry", "eventIds": ["dlq_Uk1pLm4z"]},
    "api-keys": {
        "name": "Reporting",
        "role": "viewer",
        "expiresAt": "2099-12-31T23:00:00.000Z",
    },
    "members": MEMBER,
    "users": MEMBER,
}
