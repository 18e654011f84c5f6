"""Decision flows: drafts, what is wrong with them, and their published versions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Model, Prefetch, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.viewsets import ResourceViewSet, find_row, read_body
from campaigns.models import Flow, FlowVersion
from campaigns.services.flows import create_flow, publish_flow
from executor.errors import Rejected


class Version(CamelModelSerializer[FlowVersion]):
    class Meta:
        model = FlowVersion
        fields = ["version", "published_at", "notes"]


class FlowSerializer(CamelModelSerializer[Flow]):
    id = fields.OwnId()
    key = fields.Key(max_length=255)
    draftConfig = fields.JsonObject(source="draft_config", required=False)
    rowVersion = fields.Integer(source="version", read_only=True)
    publishedVersions = Version(source="versions", many=True, read_only=True)

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
        read_only_fields = ["status", "is_default"]


class Publish(StrictSerializer):
    id = fields.Text()
    notes = fields.Text(required=False, allow_blank=True)


class FlowViewSet(ResourceViewSet):
    model = Flow
    serializer_class = FlowSerializer

    def get_queryset(self) -> QuerySet[Any]:
        versions = FlowVersion.objects.order_by("-version").defer("config")
        return super().get_queryset().prefetch_related(Prefetch("versions", queryset=versions))

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = dict(serializer.validated_data)
        config = values.pop("draft_config", None)
        with faults_in_draft():
            serializer.instance = create_flow(self.tenant, config=config, **values)

    def publish(self, request: Request) -> Response:
        body = read_body(Publish, request)
        flow = find_row(self.get_queryset(), body["id"])
        with faults_in_draft():
            publish_flow(flow, notes=body.get("notes", ""))
        return Response(self.get_serializer(find_row(self.get_queryset(), body["id"])).data)


@contextmanager
def faults_in_draft() -> Iterator[None]:
    """Say of faults inside the definition that they are in draftConfig."""
    try:
        yield
    except Rejected as error:
        own = ("key", "name", "draftConfig")
        raise Rejected.of(
            (path if path in own else f"draftConfig.{path}".rstrip("."), text)
            for path, text in error.errors
        ) from error
