"""Ticks: what became of the instants at which campaigns were due. Looked at, never edited."""

from django.contrib import admin
from unfold.decorators import display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.run_list import run_link
from campaigns.admin.tables import NONE
from campaigns.models import Tick
from kaireon.access.admin.scoped import ReadOnly, ScopedRelatedFilter

OUTCOME_LABELS = {"run": "success", "skipped": "warning", "missed": "danger", "refused": "danger"}


@admin.register(Tick)
class TickAdmin(ReadOnly, ConfigurationAdmin):
    joined = ("campaign", "run")
    list_display = (
        "scheduled_for",
        "campaign",
        "outcome_label",
        "run_of_it",
        "reason",
        "instants",
        "decided_at",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "campaign",
                    "scheduled_for",
                    "decided_at",
                    "outcome",
                    "run",
                    "reason",
                    "instants",
                )
            },
        ),
    )
    list_filter = ("outcome", ("campaign", ScopedRelatedFilter))
    search_fields = ("campaign__name", "reason")
    ordering = ("-scheduled_for", "-id")
    show_full_result_count = False

    @display(description="outcome", ordering="outcome", label=OUTCOME_LABELS)
    def outcome_label(self, tick: Tick) -> tuple[str, str]:
        return tick.outcome, tick.get_outcome_display()

    @display(description="run")
    def run_of_it(self, tick: Tick) -> str:
        return run_link(tick.run) if tick.run else NONE
