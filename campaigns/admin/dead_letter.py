"""Dead letters: work that was given up. Only admins of the tenant see, retry and purge it."""

from django.contrib import admin, messages
from unfold.decorators import display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.run_list import run_link
from campaigns.admin.tables import NONE
from campaigns.models import DeadLetter
from campaigns.services.dead_letters import purge_letters, retry_letters
from kaireon.access.admin.scoped import ReadOnly
from kaireon.access.models import Role

SHOWN_ERROR = 120


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnly, ConfigurationAdmin):
    needed = dict.fromkeys(("view", "add", "change", "delete"), Role.ADMIN)
    joined = ("run__campaign",)
    list_display = (
        "failed_at",
        "topic",
        "campaign",
        "run_of_it",
        "chunk",
        "customers",
        "attempts",
        "reason",
    )
    list_filter = ("topic",)
    search_fields = ("run__campaign__name", "error")
    ordering = ("-failed_at", "-id")
    actions = ("retry_selected", "purge_selected")
    show_full_result_count = False

    def get_fields(self, request, obj=None):
        shown = ["topic", "run", "chunk", "customers", "attempts", "failed_at", "error"]
        return [*shown, "traceback"] if request.user.is_superuser else shown

    @display(description="campaign", ordering="run__campaign__name")
    def campaign(self, letter: DeadLetter) -> str:
        return str(letter.run.campaign)

    @display(description="run")
    def run_of_it(self, letter: DeadLetter) -> str:
        return run_link(letter.run) if letter.run_id else NONE

    @display(description="error")
    def reason(self, letter: DeadLetter) -> str:
        return letter.error[:SHOWN_ERROR]

    @admin.action(description="Retry selected dead letters", permissions=["view"])
    def retry_selected(self, request, queryset):
        asked = queryset.count()
        done = retry_letters(queryset, strict=False)
        if done:
            messages.success(request, f"{done} dead letters are tried again.")
        if done < asked:
            text = "cannot be retried now: their run is in work, or their campaign is not active."
            messages.warning(request, f"{asked - done} {text}")

    @admin.action(description="Purge selected dead letters", permissions=["view"])
    def purge_selected(self, request, queryset):
        messages.success(request, f"{purge_letters(queryset)} dead letters are purged.")
