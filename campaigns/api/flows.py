"""Decision flows: drafts, what is wrong with them, and their published versions."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Model, Prefetch, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.filters import FilterSet, OneOf, TextFilter
from campaigns.api.viewsets import ResourceViewSet, find_row, read_body
from campaigns.models import Flow, FlowVersion, Segment, Status
from campaigns.services.flow_checks import FlowSummary, check_draft, flow_schema, summarize_flow
from campaigns.services.flows import (
    create_flow,
    delete_flow,
    lock_flows,
    publish_flow,
    roll_back_flow,
    update_flow,
)
from kaireon.access.models import Role

MAX_VERSION = 2**31 - 1
NUMBER = {"type": "integer", "minimum": 1, "maximum": MAX_VERSION}


@extend_schema_field(fields.id_schema("Flow"))
class FlowId(fields.Text):
    """A flow that the view looks for: it answers 404, as for an id in the address."""


class PublishedVersion(CamelModelSerializer[FlowVersion]):
    """A version of a flow as the flow tells of it."""

    class Meta:
        model = FlowVersion
        fields = ["version", "published_at", "notes"]


class VersionSummary(StrictSerializer):
    """What a version comes to, without its definition."""

    nodeCount = serializers.IntegerField()
    scoringMethod = serializers.CharField(allow_null=True)


class FlowVersionRow(PublishedVersion):
    """A published version without its definition."""

    summary = serializers.SerializerMethodField()

    class Meta(PublishedVersion.Meta):
        fields = [*PublishedVersion.Meta.fields, "summary"]

    @extend_schema_field(VersionSummary)
    def get_summary(self, version: FlowVersion) -> FlowSummary:
        return summarize_flow(version.config)


class FlowVersionDetail(FlowVersionRow):
    """A published version with its whole definition."""

    flowId = FlowId(source="flow.public_id")
    configSnapshot = fields.JsonObject(source="config")

    class Meta(FlowVersionRow.Meta):
        fields = ["flowId", *FlowVersionRow.Meta.fields, "configSnapshot"]


class FlowVersions(StrictSerializer):
    """All published versions of a flow, newest first."""

    flowId = FlowId(source="public_id")
    versions = FlowVersionRow(many=True)


class DecisionFlowSerializer(CamelModelSerializer[Flow]):
    """A flow; GET /decision-flows/schema describes its draftConfig."""

    id = fields.OwnId()
    key = fields.Key(max_length=255)
    draftConfig = fields.JsonObject(source="draft_config", required=False)
    rowVersion = fields.Integer(source="version", read_only=True)
    publishedVersions = PublishedVersion(source="versions", many=True, read_only=True)

    class Meta:
        model = Flow
        fields = [
            "id",
            "key",
            "name",
            "description",
            "status",
            "draftConfig",
            "publishedVersions",
            "is_default",
            "rowVersion",
            "created_at",
            "updated_at",
        ]


class PublishFlow(StrictSerializer):
    """Which flow to publish, and why."""

    id = FlowId()
    notes = fields.Text(required=False, allow_blank=True, max_length=2000)


class RollBackFlow(PublishFlow):
    """Which version of a flow to publish again, and why."""

    version = fields.Integer(min_value=1, max_value=MAX_VERSION)


class FlowDraft(StrictSerializer):
    """A definition to check, and the segment to check it for."""

    draftConfig = serializers.JSONField()
    segmentId = fields.PublicId(Segment, required=False, allow_null=True)


class FlowFault(StrictSerializer):
    """Where a definition is wrong, and in what."""

    path = serializers.CharField()
    message = serializers.CharField()


class FlowVerdict(StrictSerializer):
    """All that is wrong; a definition that is right has a plan where a segment was named."""

    valid = serializers.BooleanField()
    errors = FlowFault(many=True)  # type: ignore[assignment]  # only describes an answer
    plan = serializers.ListField(child=serializers.CharField(), required=False)


class FlowFilter(FilterSet):
    status = OneOf("status", Status)
    key = TextFilter("key")


class FlowViewSet(ResourceViewSet):
    """Runs use the newest published version; what is changed here is the draft."""

    model = Flow
    serializer_class = DecisionFlowSerializer
    version_field = "rowVersion"
    filterset_class = FlowFilter
    search_fields = ("name", "key")
    orderings = {**ResourceViewSet.orderings, "key": "key", "status": "status"}
    default_ordering = ("status", "-updated_at")
    query_params = {"versions_of": ("id",)}
    roles: Mapping[str, Role] = {"version": Role.EDITOR, "rollback": Role.ADMIN}

    def get_queryset(self) -> QuerySet[Any]:
        versions = FlowVersion.objects.order_by("-version").defer("config")
        return super().get_queryset().prefetch_related(Prefetch("versions", queryset=versions))

    def get_locked_object(self) -> Any:
        lock_flows(self.tenant)
        return super().get_locked_object()

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = dict(serializer.validated_data)
        config = values.pop("draft_config", None)
        serializer.instance = create_flow(self.tenant, config=config, **values)

    def perform_update(self, row: Flow, fields: dict[str, Any], expected: int | None) -> None:
        update_flow(row, fields, expected)

    def perform_destroy(self, row: Flow) -> None:
        delete_flow(row)

    @extend_schema(responses={200: {"type": "object", "additionalProperties": True}})
    def definition(self, request: Request) -> Response:
        """The JSON Schema of draftConfig."""
        return Response(flow_schema())

    @extend_schema(request=FlowDraft, responses={200: FlowVerdict})
    def validate(self, request: Request) -> Response:
        """Tell what is wrong with a definition, or what it comes to for a segment; keep nothing."""
        body = read_body(FlowDraft, request)
        found = check_draft(self.tenant, body["draftConfig"], body.get("segmentId"))
        errors = [{"path": path, "message": text} for path, text in found.errors]
        plan = {} if found.plan is None else {"plan": found.plan}
        return Response({"valid": not errors, "errors": errors, **plan})

    @extend_schema(request=PublishFlow, responses={200: DecisionFlowSerializer})
    def publish(self, request: Request) -> Response:
        """Make the draft the next version and activate the flow."""
        body = read_body(PublishFlow, request)
        flow = find_row(self.get_queryset(), body["id"])
        publish_flow(flow, notes=body.get("notes", ""))
        return Response(self.shown(flow))

    @extend_schema(request=RollBackFlow, responses={200: DecisionFlowSerializer})
    def rollback(self, request: Request) -> Response:
        """Publish an old version again, as the newest one and as the draft."""
        body = read_body(RollBackFlow, request)
        flow = find_row(self.get_queryset(), body["id"])
        roll_back_flow(flow, body["version"], notes=body.get("notes", ""))
        return Response(self.shown(flow))

    @extend_schema(
        parameters=[
            OpenApiParameter("id", fields.id_schema("Flow"), required=True, description="The flow.")
        ],
        responses={200: FlowVersions},
    )
    def versions_of(self, request: Request) -> Response:
        """The published versions of the flow `id`, newest first."""
        if "id" not in request.query_params:
            raise ValidationError({"id": ["This field is required."]})
        return self.show_versions(request.query_params["id"])

    @extend_schema(responses={200: FlowVersions})
    def versions(self, request: Request, id: str) -> Response:
        """The published versions of the flow, newest first."""
        return self.show_versions(id)

    def show_versions(self, public_id: str) -> Response:
        versions = Prefetch("versions", queryset=FlowVersion.objects.order_by("-version"))
        flows = super().get_queryset().prefetch_related(versions)
        return Response(FlowVersions(find_row(flows, public_id)).data)

    @extend_schema(
        parameters=[OpenApiParameter("number", NUMBER, OpenApiParameter.PATH)],
        responses={200: FlowVersionDetail},
    )
    def version(self, request: Request, id: str, number: int) -> Response:
        """One published version with its whole definition."""
        found = self.get_object().versions.filter(version=number).first()
        if found is None:
            raise NotFound("The flow has no version of this number.")
        return Response(FlowVersionDetail(found).data)
