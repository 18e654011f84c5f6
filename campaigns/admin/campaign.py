"""Campaigns: configured with the API's own checks, run with one click and a confirmation."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import escape
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns.admin.campaign_schedule import describe_schedule
from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.run_list import RUN_COLUMNS, describe_runs, last_run
from campaigns.admin.tables import NONE, moment, number
from campaigns.models import Campaign, CampaignRun
from campaigns.models.channel import BATCH_DELIVERY_MODES
from campaigns.services.campaign_checks import FILE_COLUMNS, PERSONAL, known_timezones
from campaigns.services.campaigns import create_campaign, update_campaign
from campaigns.services.runs import request_run
from kaireon.access.admin.form import ScopedForm
from kaireon.access.admin.scoped import become

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHOWN_RUNS = 10
PLACES = {
    "decisionFlowId": "flow",
    "segmentId": "segment",
    "channelIds": "channels",
    "volumeConstraints.maxTotalPerRun": "max_total_per_run",
    "volumeConstraints.maxPerOffer": "max_per_offer",
    "volumeConstraints.maxPerChannel": "max_per_channel",
    "holdoutPercent": "holdout_percent",
    "fileConfig.columns": "file_columns",
}


HELP = {
    "holiday_calendar": 'A country such as "IT" or "US-NY", or a market such as "XECB", whose'
    " holidays are no working days.",
    "misfire_policy": "What becomes of an instant that the scheduler comes to late.",
    "misfire_grace_minutes": 'How late "run once" still runs, in minutes.',
    "overlap_policy": "What becomes of an instant at which a run of the campaign is unfinished.",
    "holdout_percent": "Percent of the customers who are given nothing, always the same ones, to"
    " measure what the campaign does.",
    "priority": "Runs of a higher priority are worked on first, 0 to 100.",
}


def no_choice(text: str) -> list[tuple[str, str]]:
    return [("", text)]


class CampaignForm(ScopedForm):
    schedule_day_of_week = forms.TypedChoiceField(
        choices=[*no_choice("-"), *((str(n), day) for n, day in enumerate(DAYS))],
        coerce=int,
        empty_value=None,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="For a weekly schedule.",
    )
    schedule_day_of_month = forms.TypedChoiceField(
        choices=[
            *no_choice("-"),
            *((str(n), str(n)) for n in range(1, 29)),
            ("last_working_day", "Last working day"),
        ],
        empty_value=None,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="For a monthly schedule.",
    )
    schedule_timezone = forms.ChoiceField(
        choices=lambda: [(zone, zone) for zone in sorted(known_timezones())],
        initial="UTC",
        widget=UnfoldAdminSelectWidget,
    )
    weekend_days = forms.TypedMultipleChoiceField(
        choices=[(str(n), day) for n, day in enumerate(DAYS)],
        coerce=int,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Days that are no working days.",
    )
    file_columns = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        help_text="In order, separated by commas, out of: "
        f"{', '.join(FILE_COLUMNS)}, {escape(PERSONAL)}.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "file_columns" in self.fields:
            self.initial["file_columns"] = ", ".join(self.instance.file_columns)
        for name, text in HELP.items():
            if name in self.fields:
                self.fields[name].help_text = text
        if "name" in self.fields and self.instance._state.adding:
            self.fields["name"].required = False
            self.fields["name"].help_text = 'Left empty, it becomes "flow · segment".'

    def clean_file_columns(self) -> list[str]:
        columns = [part.strip() for part in self.cleaned_data["file_columns"].split(",")]
        if len(columns) > 100:
            raise ValidationError("Names more than 100 columns.")
        return [column for column in columns if column]

    def add_constraint_fault(self, fault: ValidationError) -> None:
        """Nothing: the service knows all of them, and the fields they are about."""


@admin.register(Campaign)
class CampaignAdmin(ConfigurationAdmin):
    form = CampaignForm
    places = PLACES
    joined = ("flow", "segment")
    list_display = ("name", "status_label", "flow", "segment", "segment_size", "last_run")
    list_filter = ("status", "schedule_type")
    search_fields = ("name", "description", "flow__name", "segment__name")
    autocomplete_fields = ("flow", "segment")
    fieldsets = (
        (None, {"fields": ("name", "description", "status")}),
        ("What and for whom", {"fields": ("flow", "segment", "channels")}),
        (
            "Schedule",
            {
                "fields": (
                    ("schedule_type", "schedule_cron"),
                    ("schedule_day_of_week", "schedule_day_of_month"),
                    ("schedule_time", "schedule_timezone"),
                    ("holiday_calendar", "weekend_days"),
                    ("misfire_policy", "misfire_grace_minutes"),
                    ("overlap_policy", "priority"),
                )
            },
        ),
        (
            "Volume",
            {
                "fields": (
                    ("max_total_per_run", "max_per_offer", "max_per_channel"),
                    ("allocation", "holdout_percent"),
                ),
                "description": "Each limit counts the recommendations of one run; "
                "an empty one limits nothing.",
            },
        ),
        ("File", {"fields": ("file_columns", "include_personalization")}),
    )
    facts = ("api_id", "segment_size", "version", "created_at", "updated_at")
    actions_row = ("run_now",)
    actions_detail = ("run_now",)
    change_form_outer_after_template = "admin/campaigns/campaign/runs.html"

    def get_queryset(self, request):
        runs = CampaignRun.unscoped.filter(campaign=OuterRef("pk"), dry_run=False)
        runs = runs.order_by("-run_number")
        return super().get_queryset(request).annotate(last_run_key=Subquery(runs.values("pk")[:1]))

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        runs = CampaignRun.unscoped.only("status", "run_number", "created_at", "campaign")
        latest = runs.in_bulk([row.last_run_key for row in changelist.result_list])
        for campaign in changelist.result_list:
            campaign.latest_run = latest.get(campaign.last_run_key)
        return changelist

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        kwargs.setdefault("widget", UnfoldAdminCheckboxSelectMultipleWidget)
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.queryset = field.queryset.filter(delivery_mode__in=BATCH_DELIVERY_MODES)
        field.help_text = "None means every active batch channel."
        return field

    @display(description="customers", ordering="segment__customer_count")
    def segment_size(self, campaign: Campaign) -> str:
        return number(campaign.segment.customer_count) if campaign.segment_id else NONE

    @display(description="last run", ordering="last_run_key")
    def last_run(self, campaign: Campaign) -> str:
        return last_run(campaign.latest_run) if campaign.latest_run else "never"

    def save_model(self, request, obj, form, change):
        if change:
            changed = {name: form.cleaned_data[name] for name in form.changed_data}
            become(obj, update_campaign(obj, changed))
            return
        given = {name: value for name, value in form.cleaned_data.items() if name != "tenant"}
        if not given["name"]:
            del given["name"]
        become(obj, create_campaign(obj.tenant, given))

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        if obj is not None:
            # A form that was refused has left its values on the row.
            stored = Campaign.objects.of(obj.tenant_id).get(pk=obj.pk)
            context.update(describe_schedule(stored), **recent_runs(stored))
        return super().render_change_form(request, context, add, change, form_url, obj)

    @action(description="Run now", icon="play_arrow", permissions=["change"])
    def run_now(self, request, object_id):
        campaign = self.find(request, object_id, "change")
        if request.method != "POST":
            return self.ask_to_run(request, campaign)
        try:
            run = request_run(campaign)
        except self.refusals as error:
            return self.refuse(request, error, self.page_of(campaign.pk))
        self.log_change(request, campaign, f"Requested run {run.run_number}.")
        messages.success(request, f"Run {run.run_number} of {campaign} is requested.")
        return HttpResponseRedirect(reverse("admin:campaigns_campaignrun_change", args=[run.pk]))

    def ask_to_run(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        segment, version = campaign.segment, campaign.flow.published
        published = f"version {version.version}" if version else "not published"
        refreshed = segment.last_refreshed_at
        counted = f", counted {moment(refreshed)}" if refreshed else ""
        return self.confirm(
            request,
            campaign,
            title="Run now",
            question=f'Run "{campaign}" now? It decides for every customer of the segment.',
            lines=[
                ("Segment", segment),
                ("Customers", f"{number(segment.customer_count)}{counted}"),
                ("Flow", f"{campaign.flow}, {published}"),
                ("At most", limits(campaign)),
            ],
            button="Run now",
        )


def limits(campaign: Campaign) -> str:
    caps = {
        "in all": campaign.max_total_per_run,
        "of each offer": campaign.max_per_offer,
        "through each channel": campaign.max_per_channel,
    }
    texts = [f"{number(cap)} {where}" for where, cap in caps.items() if cap is not None]
    return ", ".join(texts) or "no limit"


def recent_runs(campaign: Campaign) -> dict[str, Any]:
    """The latest runs of a campaign for its page, and where the others are."""
    runs = campaign.runs.filter(dry_run=False).order_by("-run_number")
    runs = runs.defer("spec", "traceback", "allocation_report")
    shown = list(runs[: SHOWN_RUNS + 1])
    address = reverse("admin:campaigns_campaignrun_changelist")
    return {
        "runs": {"headers": RUN_COLUMNS, "rows": describe_runs(shown[:SHOWN_RUNS])},
        "all_runs": f"{address}?campaign__id__exact={campaign.pk}"
        if len(shown) > SHOWN_RUNS
        else None,
    }
