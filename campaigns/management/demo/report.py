"""The summary of a run as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from campaigns.models import CampaignRun, Channel, Offer


def print_summary(console: Console, run: CampaignRun) -> None:
    summary = run.summary or {}
    console.print(_numbers(run, summary))
    offers = {row.public_id: row.name for row in Offer.objects.of(run.tenant_id)}
    channels = {row.public_id: row.name for row in Channel.objects.of(run.tenant_id)}
    console.print(_shares("Offer", summary["offers"], "offerId", offers))
    console.print(_shares("Channel", summary["channels"], "channelId", channels))
    console.print(_funnel(summary["funnel"]))


def _numbers(run: CampaignRun, summary: dict[str, Any]) -> Table:
    table = Table(title=f"Run {run.run_number}: {run.status}", show_header=False)
    for label, name in (
        ("Audience", "audience"),
        ("Eligible", "eligible"),
        ("With recommendations", "customersWithRecommendations"),
        ("Recommendations", "totalRecommendations"),
        ("Average per customer", "averagePerCustomer"),
        ("Seconds", "durationSeconds"),
    ):
        value = summary[name]
        table.add_row(label, f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
    bound = [cap for cap in summary["caps"] if cap["bound"]]
    table.add_row("Caps that bound", f"{len(bound)} of {len(summary['caps'])}")
    return table


def _shares(title: str, rows: list[dict[str, Any]], field: str, names: dict[str, str]) -> Table:
    table = Table(title, "Recommendations", "%")
    for row in rows:
        table.add_row(names[row[field]], f"{row['count']:,}", f"{row['percent']:.1f}")
    return table


def _funnel(lines: list[dict[str, Any]]) -> Table:
    table = Table("Stage", "Rule", "Candidates removed", "Customers removed", "Left")
    for line in lines:
        table.add_row(
            line["stage"],
            line["label"],
            "" if line["removedCandidates"] is None else f"{line['removedCandidates']:,}",
            f"{line['removedCustomers']:,}",
            f"{line['remainingCustomers']:,}",
        )
    return table
