"""Runs: looked at and controlled, never edited.

The page has the summary, the files and the recommendations.
"""

from functools import partial

from django.contrib import admin, messages
from django.db.models import F
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe
from unfold.decorators import display

from campaigns.admin.configuration import ConfigurationAdmin
from campaigns.admin.recommendations import read_page
from campaigns.admin.run_control import CONTROLS, Control, controls_of
from campaigns.admin.run_list import STATUS_LABELS, took
from campaigns.admin.run_page import describe
from campaigns.admin.tables import link, number, size
from campaigns.models import CampaignRun, RunFile
from campaigns.services.files import content_type, open_file
from campaigns.services.waiting import with_waits
from executor.errors import Unavailable
from kaireon.access.admin.scoped import ReadOnly

BULKY = ("spec", "allocation_report")


@admin.register(CampaignRun)
class RunAdmin(ReadOnly, ConfigurationAdmin):
    joined = ("campaign",)
    list_display = (
        "number",
        "campaign",
        "status_label",
        "customers",
        "recommendations",
        "triggered_by",
        "created_at",
        "took",
    )
    list_display_links = ("number",)
    list_filter = ("status", "triggered_by", "dry_run")
    search_fields = ("campaign__name",)
    ordering = ("-created_at", "-id")
    show_full_result_count = False

    def get_urls(self):
        download = self.admin_site.admin_view(require_safe(self.download))
        name = self.url_name("file").partition(":")[2]
        return [
            path("<path:object_id>/files/<int:file_key>/", download, name=name),
            *(
                path(
                    f"<path:object_id>/{control.name}/",
                    self.admin_site.admin_view(partial(self.control, control=control)),
                    name=self.url_name(control.name).partition(":")[2],
                )
                for control in CONTROLS
            ),
            *super().get_urls(),
        ]

    def get_queryset(self, request):
        return with_waits(super().get_queryset(request).defer(*BULKY))

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        changelist.result_list = changelist.result_list.defer("summary", "traceback").annotate(
            total=F("summary__totalRecommendations")
        )
        return changelist

    @display(description="run", ordering="run_number")
    def number(self, run: CampaignRun) -> str:
        return f"{'Dry run ' if run.dry_run else ''}#{run.run_number}"

    @display(description="status", ordering="status", label=STATUS_LABELS)
    def status_label(self, run: CampaignRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description="customers", ordering="audience_count")
    def customers(self, run: CampaignRun) -> str:
        return number(run.audience_count)

    @display(description="recommendations")
    def recommendations(self, run: CampaignRun) -> str:
        return number(run.total)

    @display(description="took")
    def took(self, run: CampaignRun) -> str:
        return took(run)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        run = self.find(request, object_id, "view")
        return TemplateResponse(
            request,
            "admin/campaigns/campaignrun/page.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "original": run,
                "title": str(run),
                "run": run,
                "status_kind": STATUS_LABELS[run.status],
                "files": {"headers": ["File", "Rows", "Size", "SHA-256"], "rows": self.files(run)},
                "page": read_page(run, request.GET),
                "may_run": self.may(request, "change", run),
                "controls": [
                    (reverse(self.url_name(control.name), args=[run.pk]), control.button)
                    for control in controls_of(run)
                    if self.may(request, "change", run)
                ],
                **describe(run),
            },
        )

    def control(self, request, object_id, control: Control):
        """Ask, and when it is posted do it."""
        run = self.find(request, object_id, "change")
        if request.method != "POST":
            return self.confirm(
                request,
                run,
                title=control.button,
                question=control.question,
                lines=[("Run", run), ("Status", run.get_status_display())],
                button=control.button,
            )
        try:
            control.act(run)
        except self.refusals as error:
            return self.refuse(request, error, self.page_of(run.pk))
        self.log_change(request, run, f"{control.button}.")
        messages.success(request, f"Run {run.run_number} {control.done}.")
        return HttpResponseRedirect(self.page_of(run.pk))

    def files(self, run: CampaignRun) -> list[list[str]]:
        return [
            [
                link(self.file_page(file), file.name),
                number(file.row_count),
                size(file.size_bytes),
                file.sha256,
            ]
            for file in run.files.order_by("pk")
        ]

    def file_page(self, file: RunFile) -> str:
        return reverse(self.url_name("file"), args=[file.run_id, file.pk])

    def download(self, request, object_id, file_key):
        run = self.find(request, object_id, "view")
        file = run.files.filter(pk=file_key).first()
        if file is None:
            raise Http404("This run has no such file.")
        try:
            pieces = open_file(file)
        except (FileNotFoundError, Unavailable) as error:
            gone = isinstance(error, FileNotFoundError)
            why = "is no longer stored." if gone else "cannot be reached for now; try again later."
            messages.error(request, f"{file.name} {why}")
            return HttpResponseRedirect(self.page_of(run.pk))
        headers = {
            "Content-Disposition": content_disposition_header(True, file.name),
            "Content-Length": str(file.size_bytes),
        }
        return StreamingHttpResponse(pieces, content_type=content_type(file), headers=headers)
