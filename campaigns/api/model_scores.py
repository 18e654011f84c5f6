"""What a model says of one customer, and the upload of an imported model's file."""

from collections.abc import Mapping
from typing import IO, Any

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.models import AlgorithmModelSerializer
from campaigns.api.parser import TooLarge
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.models import AlgorithmModel
from campaigns.services.model_scores import (
    MAX_ARTIFACT_BYTES,
    Scored,
    finite,
    replace_artifact,
    score_attributes,
)
from executor.errors import Rejected
from kaireon.access.models import Role


class Attributes(StrictSerializer):
    """The model's inputs by name; null is a missing value. Others are not looked at."""

    attributes = fields.JsonObject()


class Explanation(StrictSerializer):
    field = serializers.CharField()
    value = serializers.JSONField(allow_null=True)
    contribution = serializers.FloatField(
        allow_null=True, help_text="To the raw score; null if the value is missing."
    )
    label = serializers.CharField(help_text="Tells rules of one field apart.")  # type: ignore[assignment]


class ScoredCustomer(StrictSerializer):
    score = serializers.FloatField(allow_null=True, help_text="Null if the model cannot tell.")
    rawScore = serializers.FloatField(
        allow_null=True, help_text="Before it is brought into 0 to 1, for types that are a sum."
    )
    confidence = serializers.FloatField(allow_null=True, help_text="Of a bayesian model.")
    explanations = Explanation(many=True)


class ScoreViewSet(TenantViewSet):
    model = AlgorithmModel
    serializer_class = ScoredCustomer
    roles = {"score": Role.VIEWER}

    @extend_schema(request=Attributes, responses={200: ScoredCustomer})
    def score(self, request: Request, id: str) -> Response:
        """Score one customer by a model of any status, and say what each input adds."""
        model = self.get_object()
        attributes = read_body(Attributes, request)["attributes"]
        return Response(shown(score_attributes(model, attributes)))


def shown(scored: Scored) -> dict[str, Any]:
    return {
        "score": scored.score,
        "rawScore": scored.raw_score,
        "confidence": scored.confidence,
        "explanations": [
            {
                "field": each.field,
                "value": each.value,
                "contribution": finite(each.contribution),
                "label": each.label,
            }
            for each in scored.explanations
        ],
    }


class FileParser(BaseParser):
    """The body as it is."""

    media_type = "application/octet-stream"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        data = stream.read(MAX_ARTIFACT_BYTES + 1)
        if len(data) > MAX_ARTIFACT_BYTES:
            raise TooLarge(f"The file is larger than {MAX_ARTIFACT_BYTES:,} bytes.")
        return data


class ArtifactViewSet(TenantViewSet):
    model = AlgorithmModel
    serializer_class = AlgorithmModelSerializer
    parser_classes = (FileParser,)

    @extend_schema(
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: AlgorithmModelSerializer},
    )
    def upload(self, request: Request, id: str) -> Response:
        """Give an imported model its ONNX file; the one it had is replaced."""
        with transaction.atomic():
            model = self.get_locked_object()
            if not isinstance(request.data, bytes) or not request.data:
                raise Rejected("The body must be the ONNX file.")
            row = replace_artifact(model, request.data)
        return Response(self.get_serializer(row).data)
