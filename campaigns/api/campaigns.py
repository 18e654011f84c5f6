"""Campaigns as they are written and read."""

from collections.abc import Mapping
from typing import Any, cast

from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.models import Campaign, CampaignRun, Channel, Flow, Segment
from campaigns.models.campaign import default_file_columns
from campaigns.services.campaigns import CampaignFields
from kaireon.access.models import Tenant

NO_CAPS = {"max_total_per_run": None, "max_per_offer": None, "max_per_channel": None}


class VolumeConstraints(StrictSerializer):
    maxTotalPerRun = fields.Integer(source="max_total_per_run", required=False, allow_null=True)
    maxPerOffer = fields.Integer(source="max_per_offer", required=False, allow_null=True)
    maxPerChannel = fields.Integer(source="max_per_channel", required=False, allow_null=True)


class FileConfig(StrictSerializer):
    format = fields.Text(source="file_format", required=False)
    columns = serializers.ListField(
        source="file_columns", child=fields.Text(), max_length=100, required=False
    )
    includePersonalization = fields.Flag(source="include_personalization", required=False)
    destination = fields.Text(source="file_destination", required=False)
    s3Path = fields.NotYet(source="s3_path", required=False, allow_null=True, write_only=True)


class CampaignInput(StrictSerializer):
    """Types only; what the values must be is decided by `services.campaigns`."""

    decisionFlowId = fields.PublicId(Flow, source="flow")
    segmentId = fields.PublicId(Segment, source="segment")
    name = fields.Text(required=False)
    description = fields.Text(required=False, allow_blank=True)
    status = fields.Choice(Campaign.status.field.choices or (), required=False)
    scheduleType = fields.Choice(
        Campaign.ScheduleType.choices, source="schedule_type", required=False
    )
    scheduleDayOfWeek = fields.Integer(
        source="schedule_day_of_week", required=False, allow_null=True
    )
    scheduleDayOfMonth = fields.Text(
        source="schedule_day_of_month", required=False, allow_null=True
    )
    scheduleTime = fields.Text(source="schedule_time", required=False)
    scheduleTimezone = fields.Text(source="schedule_timezone", required=False)
    scheduleCron = fields.Text(source="schedule_cron", required=False, allow_null=True)
    volumeConstraints = VolumeConstraints(required=False, allow_null=True)
    fileConfig = FileConfig(required=False, allow_null=True)
    channelIds = fields.PublicIds(Channel, source="channels", required=False)
    allocation = fields.Choice(Campaign.Allocation.choices, required=False)

    def read_fields(self, data: Mapping[str, Any]) -> tuple[CampaignFields, dict[str, Any]]:
        """Return the fields by attribute name, and the faults by documented name.

        A given volumeConstraints or fileConfig replaces the whole of it.
        """
        values, faults = self.read(data)
        if "volumeConstraints" in values:
            values |= NO_CAPS | (values.pop("volumeConstraints") or {})
        if "fileConfig" in values:
            values |= default_file() | (values.pop("fileConfig") or {})
        values.pop("s3_path", None)
        return cast(CampaignFields, values), faults


def default_file() -> dict[str, Any]:
    return {
        "file_format": "csv",
        "file_columns": default_file_columns(),
        "include_personalization": False,
        "file_destination": "download",
    }


class LatestRun(CamelModelSerializer[CampaignRun]):
    id = fields.OwnId()

    class Meta:
        model = CampaignRun
        fields = ["id", "status", "run_number"]


class CampaignRow(CamelModelSerializer[Campaign]):
    """A row of the list; needs a queryset of `with_latest_run`."""

    id = fields.OwnId()
    decisionFlowName = serializers.CharField(source="flow.name")
    segmentName = serializers.CharField(source="segment.name")
    segmentCustomerCount = serializers.IntegerField(source="segment.customer_count")
    runCount = serializers.IntegerField(source="run_count")
    lastRunAt = serializers.SerializerMethodField()
    latestRun = serializers.SerializerMethodField()

    class Meta:
        model = Campaign
        fields = [
            "id",
            "name",
            "status",
            "schedule_type",
            "schedule_day_of_week",
            "schedule_time",
            "schedule_timezone",
            "decisionFlowName",
            "segmentName",
            "segmentCustomerCount",
            "runCount",
            "lastRunAt",
            "latestRun",
        ]

    def get_lastRunAt(self, campaign: Any) -> str | None:
        runs = campaign.latest_runs
        at = runs[0].started_at or runs[0].created_at if runs else None
        return fields.UtcDateTime().to_representation(at) if at else None

    def get_latestRun(self, campaign: Any) -> dict[str, Any] | None:
        runs = campaign.latest_runs
        return LatestRun(runs[0]).data if runs else None


class CampaignConfig(CampaignRow):
    """The whole configuration of one campaign."""

    decisionFlowId = fields.PublicId(Flow, source="flow")
    segmentId = fields.PublicId(Segment, source="segment")
    volumeConstraints = serializers.SerializerMethodField()
    fileConfig = FileConfig(source="*")
    channelIds = fields.PublicIds(Channel, source="channels")

    class Meta(CampaignRow.Meta):
        fields = [
            *CampaignRow.Meta.fields,
            "description",
            "decisionFlowId",
            "segmentId",
            "schedule_day_of_month",
            "schedule_cron",
            "volumeConstraints",
            "fileConfig",
            "channelIds",
            "allocation",
            "version",
            "created_at",
            "updated_at",
        ]

    def get_volumeConstraints(self, campaign: Campaign) -> dict[str, int]:
        caps = VolumeConstraints(campaign).data
        return {name: cap for name, cap in caps.items() if cap is not None}


def with_latest_run(tenant: Tenant) -> QuerySet[Campaign]:
    """The tenant's campaigns, newest first, with what every answer shows: two queries in all."""
    runs = CampaignRun.objects.of(tenant)
    shown = runs.only("campaign_id", "status", "run_number", "created_at", "started_at")
    counts = (
        runs.filter(campaign=OuterRef("pk"))
        .order_by()
        .values("campaign")
        .annotate(count=Count("pk"))
        .values("count")
    )
    campaigns: QuerySet[Campaign] = Campaign.objects.of(tenant)
    return (
        campaigns.select_related("flow", "segment")
        .annotate(run_count=Coalesce(Subquery(counts), 0))
        .prefetch_related(
            Prefetch(
                "runs",
                queryset=shown.order_by("campaign_id", "-run_number").distinct("campaign_id"),
                to_attr="latest_runs",
            )
        )
        .order_by("-created_at", "-pk")
    )
