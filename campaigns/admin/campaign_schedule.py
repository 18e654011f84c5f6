"""When a campaign is due, for its page: in words, the next instants, and what became of others."""

from typing import Any

from django.urls import reverse

from campaigns.admin.run_list import run_link
from campaigns.admin.tables import NONE, label, moment, number
from campaigns.admin.tick import OUTCOME_LABELS
from campaigns.models import Campaign
from campaigns.services.schedules import database_now, timetable

SHOWN_TICKS = 10
AT = "%a %Y-%m-%d %H:%M"
MARKS = {
    "gap": "the clock jumps over the time",
    "repeated, first": "the clock shows the time twice: the first",
    "repeated, second": "the clock shows the time twice: the second",
}


def describe_schedule(campaign: Campaign) -> dict[str, Any]:
    """What the page shows of the stored schedule, with one query and the clock's."""
    table = timetable(campaign, database_now())
    ticks = campaign.ticks.select_related("run").order_by("-scheduled_for")[: SHOWN_TICKS + 1]
    shown = list(ticks)
    address = reverse("admin:campaigns_tick_changelist")
    return {
        "schedule": {
            "words": table.description,
            "next": moment(table.next_run_at) if table.next_run_at else "",
        },
        "instants": {
            "headers": [table.timezone, "UTC", ""],
            "rows": [describe_instant(instant) for instant in table.instants],
        },
        "ticks": {
            "headers": ["Scheduled for", "Outcome", "Run", "Why", "Instants"],
            "rows": [
                [
                    moment(tick.scheduled_for),
                    label(tick.get_outcome_display(), OUTCOME_LABELS[tick.outcome]),
                    run_link(tick.run) if tick.run else NONE,
                    tick.reason,
                    number(tick.instants),
                ]
                for tick in shown[:SHOWN_TICKS]
            ],
        },
        "all_ticks": f"{address}?campaign__id__exact={campaign.pk}"
        if len(shown) > SHOWN_TICKS
        else None,
    }


def describe_instant(instant: Any) -> list[str]:
    """In the zone of the campaign, in UTC, and what the change of a clock does to it."""
    local = f"{instant.local:{AT}} {instant.local:%Z}"
    return [local, f"{instant.at:{AT}}", MARKS.get(instant.mark, instant.mark)]
