"""How runs appear in lists: a linked number, a coloured status, what came out."""

from collections.abc import Iterable
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.admin.tables import NONE, duration, label, link, moment, number
from campaigns.models import CampaignRun
from campaigns.services.progress import measure_progress

STATUS_LABELS = {
    "pending": "info",
    "running": "primary",
    "completed": "success",
    "completed_with_errors": "warning",
    "failed": "danger",
    "paused": "warning",
    "cancelling": "warning",
    "cancelled": "default",
}
RUN_COLUMNS = ("Run", "Status", "Requested", "Took", "Customers", "Recommendations")


def run_page(run: CampaignRun) -> str:
    return reverse("admin:campaigns_campaignrun_change", args=[run.pk])


def status_label(run: CampaignRun) -> str:
    return label(run.get_status_display(), STATUS_LABELS[run.status])


def run_link(run: CampaignRun) -> SafeString:
    """The number of a run, leading to its page."""
    return link(run_page(run), f"#{run.run_number}")


def last_run(run: CampaignRun) -> SafeString:
    """Status, number and time of a run."""
    return format_html("{} {}, {}", status_label(run), run_link(run), moment(run.created_at))


def describe_runs(runs: Iterable[CampaignRun]) -> list[list[Any]]:
    """A row of RUN_COLUMNS for every run."""
    return [
        [
            run_link(run),
            status_label(run),
            moment(run.created_at),
            took(run),
            number(run.audience_count),
            number((run.summary or {}).get("totalRecommendations")),
        ]
        for run in runs
    ]


def took(run: CampaignRun) -> str:
    """How long the run has worked, or how far it is."""
    if run.status in (CampaignRun.Status.RUNNING, CampaignRun.Status.PAUSED):
        return f"{measure_progress(run, timezone.now()).percent:.0f} %"
    if run.started_at is None or run.completed_at is None:
        return NONE
    return duration((run.completed_at - run.started_at).total_seconds())
