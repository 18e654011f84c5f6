"""`manage.py explain RUN_ID CUSTOMER_ID`: why a customer got each offer of a run, or did not."""

import json
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from campaigns.models import CampaignRun
from campaigns.services.errors import Conflict, Gone, Missing
from campaigns.services.explanations import explain_customer
from kaireon import ids


class Command(BaseCommand):
    help = "Explain, for one customer of a run, why they got each offer or did not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", metavar="RUN_ID", help="its number or public id (crun_…)")
        parser.add_argument("customer", metavar="CUSTOMER_ID")
        parser.add_argument("--json", action="store_true", help="as the API answers")

    def handle(self, *_: Any, run: str, customer: str, **options: Any) -> None:
        key = int(run) if run.isdecimal() else ids.decode("CampaignRun", run)
        found = CampaignRun.unscoped.filter(pk=key).first()
        if found is None:
            raise CommandError(f"there is no run {run}; give its number or its id (crun_…)")
        try:
            told = explain_customer(found, customer)
        except (Conflict, Gone, Missing) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2, ensure_ascii=False))
            return
        text = StringIO()
        console = Console(file=text, width=120, highlight=False, markup=False)
        console.print(_headline(told))
        console.print(_table(told))
        self.stdout.write(text.getvalue())


def _headline(told: Mapping[str, Any]) -> str:
    counts = {name: number for name, number in told["summary"].items() if number}
    total = counts.pop("totalOffers", 0)
    listed = ", ".join(f"{number} {name}" for name, number in counts.items())
    held = "; held out" if told["heldOut"] else ""
    given_up = "; the chunk was given up" if told["chunkGivenUp"] else ""
    return (
        f"Customer {told['customerId']} in run {told['runId']} ({told['runStatus']}):"
        f" {total} offers, {listed}{held}{given_up}"
    )


def _table(told: Mapping[str, Any]) -> Table:
    table = Table(show_lines=True)
    for heading in ("Offer", "Channel", "Outcome", "Score", "Why"):
        table.add_column(heading, overflow="fold", ratio=4 if heading == "Why" else None)
    for offer in told["offers"]:
        if not offer["candidates"]:
            table.add_row(offer["offerName"], "", offer["outcome"], "", offer["primaryReason"])
        for one in offer["candidates"]:
            score = one["score"]
            table.add_row(
                offer["offerName"],
                one["channel"],
                one["outcome"],
                f"{score['value']:g}" if score else "",
                "\n".join(_reasons(one)),
            )
    return table


def _reasons(one: Mapping[str, Any]) -> Iterator[str]:
    yield one["reason"]
    yield from (f"also fails {step['label']}" for step in one["failed"][1:])
    if one["nearestChange"]:
        yield f"nearest change: {one['nearestChange']['text']}"
    score = one["score"]
    if score:
        parts = [f"{score['constant']:.5g}"]
        parts += [f"{each['share']:.5g}^{each['weight']:g}" for each in score["factors"]]
        parts += [f"{each['multiplier']:g}" for each in score["penalties"] if each["applied"]]
        yield f"score = {' x '.join(parts)}" + (
            ", before all that are not mandatory" if score["mandatoryLift"] else ""
        )
