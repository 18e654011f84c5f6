"""Campaigns as they are read."""

from typing import Any

from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.campaign_input import (
    DayOfMonth,
    DayOfWeek,
    Destination,
    FileColumns,
    FileFormat,
    GraceMinutes,
    HoldoutPercent,
    HolidayCalendar,
    Priority,
    TimeOfDay,
    WeekendDays,
)
from campaigns.api.results import RecommendationSerializer
from campaigns.api.runs import RunSerializer
from campaigns.models import Campaign, CampaignRun, Channel, Flow, Segment
from campaigns.services.schedules import in_words
from kaireon.access.models import Tenant


@extend_schema_serializer(component_name="VolumeConstraints")
class Caps(StrictSerializer):
    """The most recommendations of one run: in all, of an offer, and in a channel."""

    maxTotalPerRun = serializers.IntegerField(source="max_total_per_run", required=False)
    maxPerOffer = serializers.IntegerField(source="max_per_offer", required=False)
    maxPerChannel = serializers.IntegerField(source="max_per_channel", required=False)

    def to_representation(self, campaign: Campaign) -> dict[str, Any]:
        """Where there is no cap, none is shown."""
        shown = super().to_representation(campaign)
        return {name: cap for name, cap in shown.items() if cap is not None}


@extend_schema_serializer(component_name="FileConfig")
class File(StrictSerializer):
    """The file of each run."""

    format = FileFormat(source="file_format")
    columns = FileColumns(source="file_columns")
    includePersonalization = serializers.BooleanField(source="include_personalization")
    destination = Destination(source="file_destination")
    s3Path = serializers.CharField(source="s3_path", required=False)

    def to_representation(self, campaign: Campaign) -> dict[str, Any]:
        """A download has no s3Path."""
        shown: dict[str, Any] = super().to_representation(campaign)
        return shown if campaign.s3_path else {k: v for k, v in shown.items() if k != "s3Path"}


class LatestRun(CamelModelSerializer[CampaignRun]):
    id = fields.OwnId()

    class Meta:
        model = CampaignRun
        fields = ["id", "status", "run_number"]


class CampaignRow(CamelModelSerializer[Campaign]):
    """A campaign with its latest run."""

    # Needs a queryset of `with_latest_run`.
    id = fields.OwnId()
    scheduleDayOfWeek = DayOfWeek(source="schedule_day_of_week", allow_null=True)
    scheduleTime = TimeOfDay(source="schedule_time")
    decisionFlowName = serializers.CharField(source="flow.name")
    segmentName = serializers.CharField(source="segment.name")
    segmentCustomerCount = serializers.IntegerField(
        source="segment.customer_count", allow_null=True
    )
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
            "scheduleDayOfWeek",
            "scheduleTime",
            "schedule_timezone",
            "decisionFlowName",
            "segmentName",
            "segmentCustomerCount",
            "runCount",
            "lastRunAt",
            "latestRun",
        ]

    @extend_schema_field({"type": ["string", "null"], "format": "date-time"})
    def get_lastRunAt(self, campaign: Any) -> str | None:
        runs = campaign.latest_runs
        at = runs[0].started_at or runs[0].created_at if runs else None
        return fields.UtcDateTime().to_representation(at) if at else None

    @extend_schema_field(LatestRun(allow_null=True))
    def get_latestRun(self, campaign: Any) -> dict[str, Any] | None:
        runs = campaign.latest_runs
        return LatestRun(runs[0]).data if runs else None


@extend_schema_serializer(component_name="Campaign")
class CampaignConfig(CampaignRow):
    """The whole configuration of one campaign."""

    decisionFlowId = fields.PublicId(Flow, source="flow")
    segmentId = fields.PublicId(Segment, source="segment")
    scheduleDayOfMonth = DayOfMonth(source="schedule_day_of_month", allow_null=True)
    holidayCalendar = HolidayCalendar(source="holiday_calendar", allow_null=True)
    weekendDays = WeekendDays(source="weekend_days")
    scheduleDescription = serializers.SerializerMethodField()
    misfireGraceMinutes = GraceMinutes(source="misfire_grace_minutes")
    priority = Priority()
    volumeConstraints = Caps(source="*")
    holdoutPercent = HoldoutPercent(source="holdout_percent")
    fileConfig = File(source="*")
    channelIds = fields.PublicIds(Channel, source="channels")

    class Meta(CampaignRow.Meta):
        fields = [
            *CampaignRow.Meta.fields,
            "description",
            "decisionFlowId",
            "segmentId",
            "scheduleDayOfMonth",
            "schedule_cron",
            "holidayCalendar",
            "weekendDays",
            "scheduleDescription",
            "next_run_at",
            "misfire_policy",
            "misfireGraceMinutes",
            "overlap_policy",
            "priority",
            "volumeConstraints",
            "holdoutPercent",
            "fileConfig",
            "channelIds",
            "allocation",
            "version",
            "created_at",
            "updated_at",
        ]

    def get_scheduleDescription(self, campaign: Campaign) -> str:
        return in_words(campaign)


@extend_schema_serializer(component_name="CampaignDetail")
class CampaignDetail(CampaignConfig):
    """A campaign with its last runs, and what the last one gave to its first customers."""

    runs = RunSerializer(many=True)
    recommendations = RecommendationSerializer(many=True)
    resultsUrl = serializers.CharField(allow_null=True)

    class Meta(CampaignConfig.Meta):
        fields = [*CampaignConfig.Meta.fields, "runs", "recommendations", "resultsUrl"]


def with_latest_run(tenant: Tenant) -> QuerySet[Campaign]:
    """The tenant's campaigns, newest first, with what every answer shows: two queries in all."""
    runs = CampaignRun.objects.of(tenant).filter(dry_run=False)
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
