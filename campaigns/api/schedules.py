"""When campaigns are due, looked at before it is saved and after, and what became of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import examples, fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.campaign_input import ScheduleInput, refuse
from campaigns.api.filters import FilterSet, OneOf
from campaigns.api.viewsets import TenantViewSet
from campaigns.models import Campaign, CampaignRun, Tick
from campaigns.services.campaign_checks import schedule_faults
from campaigns.services.schedules import database_now, timetable
from executor.errors import Rejected
from kaireon.access.models import Role


@extend_schema_field(
    {"type": "string", "format": "date-time", "description": "`at` in the schedule's zone."}
)
class Local(serializers.Field[Any, Any, str, Any]):
    """ISO-8601 with the offset of the zone: 2026-03-29T03:00:00.000+02:00."""

    def to_representation(self, value: datetime) -> str:
        return value.isoformat(timespec="milliseconds")


@extend_schema_field(
    {
        "type": ["string", "null"],
        "enum": ["gap", "repeated, first", "repeated, second", None],
        "description": "gap: the clock jumps over the time; repeated: it shows the time twice.",
    }
)
class Mark(fields.TextOrNull):
    pass


@extend_schema_serializer(component_name="ScheduleInstant")
class Instant(StrictSerializer):
    """An instant at which the campaign is due."""

    at = fields.UtcDateTime()
    local = Local()
    mark = Mark(allow_null=True)


@extend_schema_serializer(component_name="Schedule")
class ScheduleSerializer(StrictSerializer):
    """A schedule in words, with its next 12 instants."""

    description = serializers.CharField()
    timezone = serializers.CharField()
    nextRunAt = fields.UtcDateTime(source="next_run_at", allow_null=True)
    instants = Instant(many=True)


class TickSerializer(CamelModelSerializer[Tick]):
    """An instant that has come, and what became of it."""

    id = fields.OwnId()
    reason = fields.TextOrNull(allow_null=True, help_text="Why there is no run.")
    runId = fields.PublicId(CampaignRun, source="run", allow_null=True)
    instants = serializers.IntegerField(
        min_value=1, help_text="How many it stands for, scheduledFor being the first of them."
    )

    class Meta:
        model = Tick
        fields = [
            "id",
            "scheduled_for",
            "decided_at",
            "outcome",
            "reason",
            "runId",
            "instants",
        ]


class TickFilter(FilterSet):
    outcome = OneOf("outcome", Tick.Outcome.values)


class ScheduleViewSet(TenantViewSet):
    """When campaigns are due."""

    model = Campaign
    roles = {"preview": Role.VIEWER}

    @extend_schema(responses={200: ScheduleSerializer})
    def retrieve(self, request: Request, id: str) -> Response:
        """The schedule of a campaign in words, and its next 12 instants."""
        return Response(ScheduleSerializer(timetable(self.get_object(), database_now())).data)

    @extend_schema(
        request=ScheduleInput,
        responses={200: ScheduleSerializer},
        examples=[examples.SCHEDULE],
    )
    def preview(self, request: Request) -> Response:
        """What an unsaved schedule would come to, were its campaign active."""
        if not isinstance(request.data, Mapping):
            raise Rejected("The body must be a JSON object.")
        given, mistyped = ScheduleInput().read(request.data)
        campaign = Campaign(tenant=self.tenant, **given)
        refuse(mistyped, schedule_faults(campaign))
        return Response(ScheduleSerializer(timetable(campaign, database_now())).data)


class TickViewSet(TenantViewSet):
    """What became of the instants at which a campaign was due."""

    model = Campaign
    filterset_class = TickFilter
    orderings = {"scheduledFor": "scheduled_for"}
    default_ordering = ("-scheduled_for",)

    def get_queryset(self) -> QuerySet[Campaign]:
        return Campaign.objects.of(self.tenant).only("tenant_id")

    @extend_schema(responses={200: TickSerializer})
    def list(self, request: Request, id: str) -> Response:
        """The scheduled instants that have come, newest first, each with its run or the reason."""
        ticks = Tick.objects.of(self.tenant).filter(campaign=self.get_object())
        page = self.paginate_queryset(self.filter_queryset(ticks))
        return self.get_paginated_response(TickSerializer(page, many=True).data)
