"""The campaigns of the drill: the demo's bank with capped and uncapped flows over two tables.

One customer table is changed all the while; the other one never is, so that runs over it must give
the very bytes of a run that nothing disturbed.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns.management.demo import bank as demo
from campaigns.management.demo.customers import make_customers
from campaigns.models import Campaign, Flow, Schema, Segment, Status
from campaigns.services import imports
from campaigns.services.campaigns import CampaignFields, create_campaign
from campaigns.services.flows import create_flow, publish_flow
from campaigns.services.schedules import database_now, wait_for
from campaigns.services.segments import create_segment
from kaireon.access.models import ApiKey, Role, Tenant

CALM = "Customers that nobody changes"
COLUMNS = ["customer_id", "rank", "offer_id", "channel_id", "score"]
EVERY_MINUTE = "* * * * *"


@dataclass(frozen=True, slots=True)
class Bank:
    tenant: Tenant
    api_key: str
    #: Campaigns over the table that nobody changes, and over the other one.
    calm: list[Campaign]
    changing: list[Campaign]
    #: One of each, to be run every minute.
    scheduled: list[Campaign]
    #: The table whose customers are changed.
    table: str


def build(folder: Path, customers: int) -> Bank:
    source = folder / "customers.csv"
    make_customers(customers).write_csv(source)
    weekly = demo.build_bank(source).campaign
    tenant, changing = weekly.tenant, weekly.segment
    known = imports.import_customers(
        tenant, source, schema=CALM, key="customer_id", mode=imports.Mode.CREATE
    )
    calm = create_segment(tenant, name=CALM, base_schema=known.schema, filters=changing.filters)
    flows = {top: _flow(tenant, top) for top in (1, 3)}
    places = {"calm": calm, "changing": changing}
    made = {
        name: [_campaign(segment, flows, name, how) for how in _kinds(customers)]
        for name, segment in places.items()
    }
    _, api_key = ApiKey.issue(tenant, name="drill", role=Role.EDITOR)
    base: Schema = changing.base_schema
    return Bank(
        tenant,
        api_key,
        **made,
        scheduled=[_scheduled(segment, flows[1], name) for name, segment in places.items()],
        table=base.relation_name,
    )


def _flow(tenant: Tenant, top: int) -> Flow:
    config: dict[str, Any] = copy.deepcopy(demo.FLOW)
    for node in config["nodes"]:
        if node["type"] == "rank":
            node["config"]["maxCandidates"] = top
    flow = create_flow(tenant, key=f"best-{top}", name=f"Best {top}", config=config)
    publish_flow(flow, notes="Drill")
    flow.refresh_from_db()
    return flow


def _kinds(customers: int) -> list[tuple[int, CampaignFields]]:
    """(recommendations per customer, what else): the caps are low enough to bind."""
    caps: CampaignFields = {
        "max_total_per_run": max(customers // 2, 1),
        "max_per_offer": max(customers // 20, 1),
    }
    return [
        (1, {"file_format": "csv"}),
        (3, {"file_format": "parquet", "allocation": "score", **caps}),
        (3, {"file_format": "csv", "allocation": "first_come", **caps}),
        (1, {"file_format": "json", "allocation": "score", **caps}),
    ]


def _campaign(
    segment: Segment, flows: dict[int, Flow], name: str, how: tuple[int, CampaignFields]
) -> Campaign:
    top, fields = how
    capped = fields.get("allocation", "uncapped")
    return create_campaign(
        segment.tenant,
        {
            "name": f"{name}, best {top}, {capped}, {fields['file_format']}",
            "status": Status.ACTIVE,
            "flow": flows[top],
            "segment": segment,
            "file_columns": COLUMNS,
            **fields,
        },
    )


def _scheduled(segment: Segment, flow: Flow, name: str) -> Campaign:
    return create_campaign(
        segment.tenant,
        {
            "name": f"{name}, every minute",
            "status": Status.ACTIVE,
            "flow": flow,
            "segment": segment,
            "schedule_cron": EVERY_MINUTE,
            "overlap_policy": Campaign.OverlapPolicy.SKIP,
            "file_columns": COLUMNS,
        },
    )


def begin_schedule(campaigns: list[Campaign]) -> None:
    """Have the scheduler wait for the minute that has just begun, so that even a short drill has
    an instant.
    """
    for campaign in campaigns:
        wait_for(campaign, database_now().replace(second=0, microsecond=0))


def end_schedule(campaigns: list[Campaign]) -> None:
    """Have the scheduler wait for nothing any more."""
    for campaign in campaigns:
        wait_for(campaign, None)
