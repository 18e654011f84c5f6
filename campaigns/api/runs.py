"""Runs of a campaign as they are read: progress, summary, files, and what happened."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.campaign_input import FileFormat
from campaigns.api.summaries import (
    Names,
    RunSummary,
    named_summary,
    names_in,
    summary_parts,
)
from campaigns.models import Campaign, CampaignRun, Flow, RunEvent, RunFile, Segment
from campaigns.services.progress import measure_progress
from campaigns.services.waiting import is_pausing, waits_for, with_waits
from kaireon import ids
from kaireon.access.models import Tenant

SHOWN_EVENTS = 200
OWN = "What execute-inline was given; null: the campaign's own."


@extend_schema_serializer(component_name="TriggeredRun")
class Triggered(CamelModelSerializer[CampaignRun]):
    """The answer to a trigger."""

    id = fields.OwnId()
    campaignId = fields.PublicId(Campaign, source="campaign")

    class Meta:
        model = CampaignRun
        fields = ["id", "campaignId", "run_number", "triggered_by", "status", "created_at"]


class Executing(StrictSerializer):
    """The answer to execute-inline. Only describes it."""

    status = serializers.ChoiceField(["executing"])
    runId = serializers.CharField()


@extend_schema_serializer(component_name="RunFile")
class File(CamelModelSerializer[RunFile]):
    id = fields.OwnId()
    format = FileFormat()
    sizeBytes = serializers.IntegerField(source="size_bytes", min_value=0)
    rowCount = serializers.IntegerField(source="row_count", min_value=0)
    downloadUrl = serializers.SerializerMethodField()

    class Meta:
        model = RunFile
        fields = [
            "id",
            "name",
            "format",
            "sizeBytes",
            "rowCount",
            "sha256",
            "created_at",
            "downloadUrl",
        ]

    def get_downloadUrl(self, file: RunFile) -> str:
        run = ids.encode("CampaignRun", file.run_id)
        return reverse("run-file-download", args=[run, file.public_id])


class ProgressOfRun(StrictSerializer):
    percent = serializers.FloatField(min_value=0, max_value=100)
    customersDone = serializers.IntegerField(min_value=0, help_text="Of the present phase.")
    audienceCount = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Null until the customers are frozen."
    )
    customersPerSecond = serializers.FloatField(allow_null=True)
    etaSeconds = serializers.FloatField(allow_null=True)


@extend_schema_serializer(component_name="Run")
class RunSerializer(Triggered):
    """One run: how far it is, what it came to, and its files."""

    # Needs `names` in the context, and the rows of `readable_runs`.
    decisionFlowId = fields.PublicId(Flow, source="flow", allow_null=True, help_text=OWN)
    segmentId = fields.PublicId(Segment, source="segment", allow_null=True, help_text=OWN)
    waitsFor = serializers.SerializerMethodField()
    pausing = serializers.SerializerMethodField()
    error = fields.TextOrNull(allow_null=True)
    progress = serializers.SerializerMethodField()
    summary = serializers.SerializerMethodField()
    files = File(many=True)

    class Meta(Triggered.Meta):
        fields = [
            *Triggered.Meta.fields,
            "decisionFlowId",
            "segmentId",
            "phase",
            "waitsFor",
            "pausing",
            "error",
            "scheduled_for",
            "started_at",
            "completed_at",
            "progress",
            "summary",
            "files",
        ]

    @extend_schema_field(
        {"type": ["string", "null"], "description": "What the run waits for, in words."}
    )
    def get_waitsFor(self, run: CampaignRun) -> str | None:
        return waits_for(run) or None

    @extend_schema_field(
        {"type": "boolean", "description": "It is paused, and a worker still ends what it does."}
    )
    def get_pausing(self, run: CampaignRun) -> bool:
        return is_pausing(run)

    @extend_schema_field(ProgressOfRun)
    def get_progress(self, run: CampaignRun) -> dict[str, float | None]:
        progress = measure_progress(run, timezone.now())
        return {
            "percent": progress.percent,
            "customersDone": run.customers_done,
            "audienceCount": run.audience_count,
            "customersPerSecond": progress.customers_per_second,
            "etaSeconds": progress.eta_seconds,
        }

    @extend_schema_field(RunSummary(allow_null=True))
    def get_summary(self, run: CampaignRun) -> dict[str, Any] | None:
        names: Names = self.context["names"]
        return None if run.summary is None else named_summary(run.summary, names)


@extend_schema_serializer(component_name="RunEvent")
class Event(CamelModelSerializer[RunEvent]):
    """Something that happened to a run."""

    data = fields.JsonObject()  # type: ignore[assignment]  # of the event, not the serializer

    class Meta:
        model = RunEvent
        fields = ["at", "kind", "message", "data"]


@extend_schema_serializer(component_name="RunDetail")
class RunDetail(RunSerializer):
    """One run with its latest events, oldest first."""

    deadLetters = serializers.IntegerField(
        min_value=0, help_text="How much of it was given up, and is to be retried or purged."
    )
    events = Event(many=True)

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "deadLetters", "events"]


def readable_runs(tenant: Tenant) -> QuerySet[CampaignRun]:
    """Runs of the tenant with their files and what they wait for, without their bulky insides."""
    runs: QuerySet[CampaignRun] = with_waits(CampaignRun.objects.of(tenant))
    return runs.defer("spec", "traceback", "allocation_report").prefetch_related("files")


def present_runs(tenant: Tenant, runs: Iterable[CampaignRun]) -> list[dict[str, Any]]:
    """Show the runs with names resolved, in two queries whatever their number."""
    runs = list(runs)
    names = names_in(tenant, (part for run in runs for part in summary_parts(run.summary)))
    return [dict(row) for row in RunSerializer(runs, many=True, context={"names": names}).data]


def present_run(tenant: Tenant, run: CampaignRun) -> dict[str, Any]:
    """Show one run with its latest events, oldest first."""
    (data,) = present_runs(tenant, [run])
    latest = RunEvent.objects.filter(run=run).order_by("-id")[:SHOWN_EVENTS]
    events = Event(list(latest)[::-1], many=True).data
    return {**data, "deadLetters": run.dead_letters.count(), "events": events}
