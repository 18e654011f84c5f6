"""Algorithm models: what scores offers, trained elsewhere or written by hand."""

from typing import Any

from django.db.models import Model, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, OneOf, TextFilter
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import AlgorithmModel, Status
from campaigns.services.models import MAX_PREDICTORS, MAX_TEXT, create_model, update_model


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "field": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                "selected": {"type": "boolean"},
                "importance": {"type": "number"},
            },
            "required": ["field"],
            "additionalProperties": False,
        },
        "maxItems": MAX_PREDICTORS,
    }
)
class Predictors(fields.JsonList):
    """The attributes that a model looks at; the service reads them."""


class AlgorithmModelRow(CamelModelSerializer[AlgorithmModel]):
    """A model as lists show it: without modelState, which may be megabytes of trees."""

    id = fields.OwnId()
    key = fields.Key(max_length=255)
    config = fields.JsonObject(required=False)
    predictors = Predictors(required=False)
    metrics = fields.JsonObject(required=False)
    learningConfig = fields.JsonObject(source="learning_config", required=False)

    class Meta:
        model = AlgorithmModel
        fields = [
            "id",
            "key",
            "name",
            "model_type",
            "description",
            "status",
            "config",
            "predictors",
            "metrics",
            "learningConfig",
            "target_field",
            "target_schema_key",
            "artifact_sha256",
            "artifact_size_bytes",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["artifact_sha256", "artifact_size_bytes"]


class AlgorithmModelSerializer(AlgorithmModelRow):
    """A model; its type decides what config and modelState hold."""

    modelState = fields.JsonObject(source="model_state", required=False)

    class Meta(AlgorithmModelRow.Meta):
        fields = [*AlgorithmModelRow.Meta.fields, "modelState"]


class ModelFilter(FilterSet):
    status = OneOf("status", Status)
    key = TextFilter("key")
    modelType = OneOf("model_type", AlgorithmModel.ModelType)


class ModelViewSet(ResourceViewSet):
    """Lists leave out modelState."""

    model = AlgorithmModel
    serializer_class = AlgorithmModelSerializer
    filterset_class = ModelFilter
    search_fields = ("name", "key", "description")
    orderings = {
        **ResourceViewSet.orderings,
        "key": "key",
        "status": "status",
        "modelType": "model_type",
    }

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        return rows.defer("model_state") if self.action == "list" else rows

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return AlgorithmModelRow if self.action == "list" else AlgorithmModelSerializer

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_model(self.tenant, serializer.validated_data)

    def perform_update(
        self, row: AlgorithmModel, fields: dict[str, Any], expected: int | None
    ) -> None:
        update_model(row, fields, expected)
