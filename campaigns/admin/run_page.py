"""A run's summary as tables, with the names of offers and channels."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from campaigns.admin.recommendations import names
from campaigns.admin.run_list import took
from campaigns.admin.tables import NONE, duration, label, moment, number, percent
from campaigns.models import CampaignRun, Channel, Offer
from campaigns.services.progress import Progress, measure_progress
from campaigns.services.waiting import is_pausing, waits_for
from kaireon import ids

SHOWN_EVENTS = 100
CAPS = {
    "maxTotalPerRun": "Recommendations of the run",
    "maxPerOffer": "Recommendations of an offer",
    "offerBudget": "The budget of an offer",
    "maxPerChannel": "Recommendations of a channel",
}
#: Key in the summary, title, how it is shown.
NUMBERS = (
    ("audience", "Customers", number),
    ("eligible", "Eligible", number),
    ("customersWithRecommendations", "With recommendations", number),
    ("totalRecommendations", "Recommendations", number),
    ("averagePerCustomer", "Average per customer", number),
    ("durationSeconds", "Duration", duration),
)

STAGES = ("freeze", "decide", "allocate", "write", "finish", "publish")

Table = dict[str, Any]


def describe(run: CampaignRun) -> dict[str, Any]:
    """Everything the page shows of the run itself, with at most three queries."""
    summary = run.summary or {}
    return {
        "facts": facts(run),
        "progress": describe_progress(run),
        "numbers": [(title, show(summary.get(key))) for key, title, show in NUMBERS],
        "tables": summary_tables(run, summary) if summary else [],
        "events": events(run),
    }


def facts(run: CampaignRun) -> list[tuple[str, Any]]:
    return [
        ("Requested", f"{moment(run.created_at)}, {run.triggered_by}"),
        ("Started", moment(run.started_at)),
        ("Ended", moment(run.completed_at)),
        # The bar says how far one is that has not ended.
        ("Took", NONE if run.status in CampaignRun.UNFINISHED else took(run)),
        ("Id in the API", run.public_id),
    ]


def describe_progress(run: CampaignRun) -> dict[str, Any] | None:
    """How far an unfinished run is; None for one that has ended."""
    if run.status not in CampaignRun.UNFINISHED:
        return None
    progress = measure_progress(run, timezone.now())
    return {"percent": progress.percent, "phase": run.phase, "text": progress_text(run, progress)}


def progress_text(run: CampaignRun, progress: Progress) -> str:
    waiting = waits_for(run)
    if run.status == CampaignRun.Status.PENDING:
        return f"waits for {waiting}" if waiting else "waits to be taken up"
    parts = [f"{progress.percent:.0f} %", f"{run.phase}"]
    if is_pausing(run):
        parts.append("its workers end what they have begun")
    if waiting:
        parts.append(f"waits for {waiting}")
    if progress.customers_per_second is not None:
        parts.append(f"{progress.customers_per_second:,.0f} customers/s")
    if progress.eta_seconds is not None:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def summary_tables(run: CampaignRun, summary: Mapping[str, Any]) -> list[tuple[str, Table]]:
    parts = [part for key in ("offers", "channels", "caps") for part in summary.get(key, ())]
    offers = names_by_id(Offer, run, [part.get("offerId") for part in parts])
    channels = names_by_id(Channel, run, [part.get("channelId") for part in parts])
    return [
        ("Offers", breakdown("Offer", "offerId", summary.get("offers", ()), offers)),
        ("Channels", breakdown("Channel", "channelId", summary.get("channels", ()), channels)),
        ("Funnel", funnel(summary)),
        ("Volume limits", caps(summary.get("caps", ()), offers | channels)),
        ("Time", stages(summary.get("stages", {}))),
    ]


def names_by_id(model: type, run: CampaignRun, public_ids: Sequence[str | None]) -> dict[str, str]:
    kind = model.__name__
    keys = {ids.decode(kind, public_id) for public_id in public_ids} - {None}
    return {ids.encode(kind, key): name for key, name in names(model, run, keys).items()}


def breakdown(
    title: str, field: str, parts: Sequence[Mapping[str, Any]], found: Mapping[str, str]
) -> Table:
    return {
        "headers": [title, "Recommendations", "Share"],
        "rows": [
            [found.get(part[field], part[field]), number(part["count"]), percent(part["percent"])]
            for part in parts
        ],
    }


def funnel(summary: Mapping[str, Any]) -> Table:
    """The audience, and what every step took away from it."""
    first = ["", "Customers of the segment", NONE, NONE, number(summary.get("audience"))]
    return {
        "headers": ["Stage", "Step", "Customers removed", "Candidates removed", "Customers left"],
        "rows": [
            first,
            *(
                [
                    line["stage"],
                    line["label"],
                    number(line["removedCustomers"]),
                    number(line["removedCandidates"]),
                    number(line["remainingCustomers"]),
                ]
                for line in summary.get("funnel", ())
            ),
        ],
    }


def caps(parts: Sequence[Mapping[str, Any]], found: Mapping[str, str]) -> Table:
    return {
        "headers": ["Limit", "Of", "Used", "Allowed", ""],
        "rows": [
            [
                CAPS.get(part["cap"], part["cap"]),
                found.get(part.get("offerId") or part.get("channelId"), NONE),
                number(part["used"]),
                number(part["limit"]),
                label("reached", "warning") if part["bound"] else "",
            ]
            for part in parts
        ],
    }


def stages(seconds: Mapping[str, float]) -> Table:
    # PostgreSQL does not keep the order of keys.
    in_order = [name for name in STAGES if name in seconds]
    in_order += sorted(seconds.keys() - set(STAGES))
    return {
        "headers": ["Stage", "Time"],
        "rows": [[name, duration(seconds[name])] for name in in_order],
    }


def events(run: CampaignRun) -> Table:
    latest = run.events.order_by("-id")[:SHOWN_EVENTS]
    return {
        "headers": ["When", "What", ""],
        "rows": [[moment(event.at), event.kind, event.message] for event in latest],
    }
