"""Campaigns as they are written, and what their fields are said to take."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.errors import flatten
from campaigns.models import Campaign, Channel, Flow, Segment
from campaigns.models.campaign import MAX_GRACE_MINUTES, default_file_columns
from campaigns.services.campaign_checks import (
    DAY_OF_MONTH,
    FILE_COLUMNS,
    MAX_NAME,
    MAX_PRIORITY,
    MAX_S3_PATH,
    MAX_VOLUME,
    PERSONAL_COLUMN,
    TIME,
    Fault,
)
from campaigns.services.campaigns import CampaignFields
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.authentication import access_of

NO_CAPS = {"max_total_per_run": None, "max_per_offer": None, "max_per_channel": None}
RUN_OR_CAMPAIGN = f"^({ids.PREFIXES['Campaign']}|{ids.PREFIXES['CampaignRun']})_[A-Za-z0-9]+$"


class Exact(fields.Text):
    """A text of a fixed form, in which blanks count."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)


@extend_schema_field(
    {"type": "string", "maxLength": MAX_NAME, "description": "Without one: flow · segment."}
)
class Name(fields.Text):
    pass


@extend_schema_field(
    {
        "type": "integer",
        "minimum": 0,
        "maximum": 6,
        "description": "0 (Sunday) to 6 (Saturday), for weekly.",
    }
)
class DayOfWeek(fields.Integer):
    pass


@extend_schema_field(
    {
        "type": "string",
        "pattern": f"^({DAY_OF_MONTH.pattern})$",
        "description": 'For monthly: "1" to "28" or "last_working_day".',
    }
)
class DayOfMonth(Exact):
    pass


@extend_schema_field(
    {"type": "string", "pattern": f"^{TIME.pattern}$", "description": "HH:mm. Default: 09:00."}
)
class TimeOfDay(Exact):
    pass


@extend_schema_field({"type": "string", "description": "IANA time zone. Default: UTC."})
class TimeZone(Exact):
    pass


@extend_schema_field(
    {
        "type": "string",
        "maxLength": 255,
        "description": "Five fields, used in place of scheduleType: 0 9 * * 1.",
    }
)
class Cron(fields.Text):
    pass


@extend_schema_field(
    {
        "type": ["string", "null"],
        "maxLength": 16,
        "description": "Whose holidays are no working days: IT, US-NY, or a market, XECB or XNYS.",
    }
)
class HolidayCalendar(Exact):
    """Shows the empty code as null."""

    def to_representation(self, value: str) -> str | None:  # type: ignore[override]
        return value or None


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 6},
        "maxItems": 6,
        "uniqueItems": True,
        "description": "Days without work, 0 (Sunday) to 6 (Saturday). Default: [6, 0].",
    }
)
class WeekendDays(serializers.ListField):
    child = fields.Integer()


@extend_schema_field(
    {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_GRACE_MINUTES,
        "description": "How late run_once still runs. Default: 60.",
    }
)
class GraceMinutes(fields.Integer):
    pass


@extend_schema_field(
    {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_PRIORITY,
        "description": "Runs of a higher priority are worked on first. Default: 50.",
    }
)
class Priority(fields.Integer):
    pass


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_VOLUME})
class Cap(fields.Integer):
    pass


@extend_schema_field(
    {
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "description": "Percent of the customers who are given nothing, to measure what the"
        " campaign does. Default: 0.",
    }
)
class HoldoutPercent(fields.Number):
    pass


@extend_schema_field({"type": "string", "enum": Campaign.FileFormat.values})
class FileFormat(Exact):
    pass


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "string", "enum": [*FILE_COLUMNS]},
                {"type": "string", "pattern": f"^{PERSONAL_COLUMN.pattern}$"},
            ]
        },
        "minItems": 1,
        "uniqueItems": True,
    }
)
class FileColumns(serializers.ListField):
    child = Exact()


@extend_schema_field({"type": "string", "enum": Campaign.Destination.values})
class Destination(Exact):
    pass


@extend_schema_field(
    {
        "type": "string",
        "maxLength": MAX_S3_PATH,
        "description": 's3://bucket/prefix; required with the destination "s3".',
    }
)
class S3Path(Exact):
    pass


@extend_schema_field(
    {"type": "string", "pattern": "^seg_[0-9a-f]{12}$", "description": "The segment's viewName."}
)
class SegmentView(Exact):
    """The view of a segment of the caller's tenant, never any other relation."""

    default_error_messages = {"unknown": "There is no segment with this viewName."}

    def to_internal_value(self, data: Any) -> Any:
        name = super().to_internal_value(data)
        tenant = access_of(self.context["request"]).tenant
        segment = Segment.objects.of(tenant).filter(view_name=name).first()
        if segment is None:
            self.fail("unknown")
        return segment


@extend_schema_field(
    {
        "type": "string",
        "pattern": RUN_OR_CAMPAIGN,
        "description": "A campaign, which gets a new run, or a pending run.",
    }
)
class RunOrCampaign(Exact):
    pass


class VolumeConstraints(StrictSerializer):
    """The most recommendations of one run: in all, of an offer, and in a channel."""

    maxTotalPerRun = Cap(source="max_total_per_run", required=False, allow_null=True)
    maxPerOffer = Cap(source="max_per_offer", required=False, allow_null=True)
    maxPerChannel = Cap(source="max_per_channel", required=False, allow_null=True)


class FileConfig(StrictSerializer):
    """The file of each run."""

    format = FileFormat(source="file_format", required=False, allow_blank=True)
    columns = FileColumns(source="file_columns", max_length=100, required=False)
    includePersonalization = fields.Flag(source="include_personalization", required=False)
    destination = Destination(source="file_destination", required=False, allow_blank=True)
    s3Path = S3Path(source="s3_path", required=False, allow_null=True, allow_blank=True)


class ExecuteInline(StrictSerializer):
    """What to execute, by which flow, for the customers of which segment view."""

    runId = RunOrCampaign(source="run_id")
    decisionFlowId = fields.PublicId(Flow, source="flow")
    segmentViewName = SegmentView(source="segment")


class ScheduleInput(StrictSerializer):
    """When a campaign is due. What is left out has the default of a campaign."""

    scheduleType = fields.Choice(
        Campaign.ScheduleType.choices, source="schedule_type", required=False
    )
    scheduleDayOfWeek = DayOfWeek(source="schedule_day_of_week", required=False, allow_null=True)
    scheduleDayOfMonth = DayOfMonth(source="schedule_day_of_month", required=False, allow_null=True)
    scheduleTime = TimeOfDay(source="schedule_time", required=False)
    scheduleTimezone = TimeZone(source="schedule_timezone", required=False)
    scheduleCron = Cron(source="schedule_cron", required=False, allow_null=True)
    holidayCalendar = HolidayCalendar(
        source="holiday_calendar", required=False, allow_null=True, allow_blank=True
    )
    weekendDays = WeekendDays(source="weekend_days", required=False, max_length=100)

    def read(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        values, faults = super().read(data)
        if "holiday_calendar" in values:
            values["holiday_calendar"] = values["holiday_calendar"] or ""
        return values, faults


class CampaignInput(ScheduleInput):
    """What a campaign is made of; a change gives any subset of it."""

    # Types only; what the values must be is decided by `services.campaigns`.
    decisionFlowId = fields.PublicId(Flow, source="flow")
    segmentId = fields.PublicId(Segment, source="segment")
    name = Name(required=False)
    description = fields.Text(required=False, allow_blank=True)
    status = fields.Choice(Campaign.status.field.choices or (), required=False)
    misfirePolicy = fields.Choice(
        Campaign.MisfirePolicy.choices, source="misfire_policy", required=False
    )
    misfireGraceMinutes = GraceMinutes(source="misfire_grace_minutes", required=False)
    overlapPolicy = fields.Choice(
        Campaign.OverlapPolicy.choices, source="overlap_policy", required=False
    )
    priority = Priority(required=False)
    volumeConstraints = VolumeConstraints(required=False, allow_null=True)
    fileConfig = FileConfig(required=False, allow_null=True)
    channelIds = fields.PublicIds(
        Channel, source="channels", required=False, help_text="None: all batch channels."
    )
    holdoutPercent = HoldoutPercent(source="holdout_percent", required=False)
    allocation = fields.Choice(Campaign.Allocation.choices, required=False)

    def read_fields(self, data: Mapping[str, Any]) -> tuple[CampaignFields, dict[str, Any]]:
        """Return the fields by attribute name, and the faults by documented name.

        A given volumeConstraints or fileConfig replaces the whole of it.
        """
        values, faults = self.read(data)
        if "volumeConstraints" in values:
            values |= NO_CAPS | (values.pop("volumeConstraints") or {})
        if "fileConfig" in values:
            given = values.pop("fileConfig") or {}
            values |= default_file() | given | {"s3_path": given.get("s3_path") or ""}
        return cast(CampaignFields, values), faults


def refuse(mistyped: Mapping[str, Any], others: Iterable[Fault]) -> None:
    """Raise Rejected with the faults of type, and those of value of all other fields, if any."""
    faults = [*flatten(mistyped)]
    faults += [fault for fault in others if fault[0].partition(".")[0] not in mistyped]
    if faults:
        raise Rejected.of(faults)


def default_file() -> dict[str, Any]:
    return {
        "file_format": "csv",
        "file_columns": default_file_columns(),
        "include_personalization": False,
        "file_destination": "download",
    }
