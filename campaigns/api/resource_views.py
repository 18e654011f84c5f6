"""The endpoints of what a campaign refers to: thin, one pattern."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Model, Prefetch, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from campaigns.api import resources
from campaigns.api.viewsets import ResourceViewSet, find_row, read_body
from campaigns.models import (
    Category,
    Channel,
    Creative,
    Flow,
    FlowVersion,
    Offer,
    QualificationRule,
    Schema,
    Segment,
)
from campaigns.services.flows import create_flow, publish_flow
from campaigns.services.rules import create_rule
from campaigns.services.segments import create_segment
from executor.errors import Rejected


class SchemaViewSet(ResourceViewSet):
    model = Schema
    serializer_class = resources.SchemaSerializer


class CategoryViewSet(ResourceViewSet):
    model = Category
    serializer_class = resources.CategorySerializer


class OfferViewSet(ResourceViewSet):
    model = Offer
    serializer_class = resources.OfferSerializer


class ChannelViewSet(ResourceViewSet):
    model = Channel
    serializer_class = resources.ChannelSerializer


class CreativeViewSet(ResourceViewSet):
    model = Creative
    serializer_class = resources.CreativeSerializer


class RuleViewSet(ResourceViewSet):
    model = QualificationRule
    serializer_class = resources.RuleSerializer

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_rule(self.tenant, serializer.validated_data)


class SegmentViewSet(ResourceViewSet):
    model = Segment
    serializer_class = resources.SegmentSerializer

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = {"filters": [], **serializer.validated_data}
        serializer.instance = create_segment(self.tenant, **values)


class FlowViewSet(ResourceViewSet):
    model = Flow
    serializer_class = resources.FlowSerializer

    def get_queryset(self) -> QuerySet[Any]:
        versions = FlowVersion.objects.order_by("-version").defer("config")
        return super().get_queryset().prefetch_related(Prefetch("versions", queryset=versions))

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        values = dict(serializer.validated_data)
        config = values.pop("draft_config", None)
        with faults_in_draft():
            serializer.instance = create_flow(self.tenant, config=config, **values)

    def publish(self, request: Request) -> Response:
        body = read_body(resources.Publish, request)
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
