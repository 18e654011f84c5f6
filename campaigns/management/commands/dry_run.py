"""`manage.py dry_run CAMPAIGN_ID`: try a campaign out, and print its funnel and volumes."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns.management.progress import progress_bar
from campaigns.models import Campaign, CampaignRun, Channel, Offer
from campaigns.services.errors import Conflict
from campaigns.services.runs import request_dry_run
from executor import drain
from kaireon import ids
from kaireon.access.models import Tenant


class Command(BaseCommand):
    help = "Try a campaign out: nothing is delivered. Prints the funnel and the volumes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", metavar="CAMPAIGN_ID", help="its number or id (camp_…)")
        parser.add_argument("--sample", type=int, metavar="N", help="customers; all if left out")

    def handle(self, *_: Any, campaign: str, sample: int | None, **__: Any) -> None:
        if sample is not None and sample < 1:
            raise CommandError("--sample must be at least 1")
        key = int(campaign) if campaign.isdecimal() else ids.decode("Campaign", campaign)
        found = Campaign.unscoped.filter(pk=key).first()
        if found is None:
            raise CommandError(f"there is no campaign {campaign}; give its number or id (camp_…)")
        try:
            run = request_dry_run(found, sample=sample, dispatch=False)
        except Conflict as error:
            raise CommandError(str(error)) from error
        with progress_bar(show=sys.stderr.isatty()) as watch:
            drain.wait_for(run.pk, watch)
        run.refresh_from_db()
        if run.summary is None or run.status != CampaignRun.Status.COMPLETED:
            raise CommandError(f"dry run {run.public_id} ended as {run.status}: {run.error}")
        for line in _report(run, run.summary):
            self.stdout.write(line)


def _report(run: CampaignRun, summary: Mapping[str, Any]) -> Iterator[str]:
    yield f"Dry run {run.run_number} ({run.public_id}) of {run.campaign}"
    estimate = summary.get("estimate")
    whole = f", a sample of {estimate['population']:,}" if estimate else ""
    yield f"{summary['audience']:>12,}  customers{whole}"
    for line in summary["funnel"]:
        what = f"{line['stage']} {line['node']}: {line['label']}"
        yield f"{-line['removedCustomers']:>12,}  {what}"
    yield f"{summary['customersWithRecommendations']:>12,}  customers with recommendations"
    yield f"{summary['totalRecommendations']:>12,}  recommendations"
    yield from _volumes(run.tenant, summary)
    if estimate:
        yield f"Of the whole segment, with {estimate['confidence']:.0%} confidence:"
        for name, label in (
            ("customersWithRecommendations", "customers with recommendations"),
            ("totalRecommendations", "recommendations"),
        ):
            yield f"{_interval(estimate[name])}  {label}"
        yield from _volumes(run.tenant, estimate)


def _volumes(tenant: Tenant, part: Mapping[str, Any]) -> Iterator[str]:
    """Recommendations by offer and by channel."""
    for key, model in (("offers", Offer), ("channels", Channel)):
        kind = model.__name__
        public = f"{kind.lower()}Id"
        names = {
            ids.encode(kind, pk): name
            for pk, name in model.objects.of(tenant).values_list("pk", "name")
        }
        for row in part[key]:
            number = f"{row['count']:>12,}" if "count" in row else _interval(row)
            yield f"{number}  {kind.lower()} {names.get(row[public], row[public])}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['estimate']:>12,}  ({row['low']:,} to {row['high']:,})"
