"""A model that scores offers for customers."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class AlgorithmModel(Configured):
    class ModelType(models.TextChoices):
        SCORECARD = "scorecard"
        BAYESIAN = "bayesian"
        LOGISTIC_REGRESSION = "logistic_regression"
        GRADIENT_BOOSTED = "gradient_boosted"
        EXTERNAL_ENDPOINT = "external_endpoint"
        ONNX_IMPORTED = "onnx_imported"

    key = models.SlugField(max_length=255)
    name = models.CharField(max_length=255)
    model_type = models.CharField(max_length=20, choices=ModelType)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    config = models.JSONField(default=dict, blank=True)
    #: [{"field", "selected", "importance"}]
    predictors = models.JSONField(default=list, blank=True)
    metrics = models.JSONField(default=dict, blank=True)
    #: What training has found: weights, trees, counts.
    model_state = models.JSONField(default=dict, blank=True)
    #: The file of an imported model, which lies in the storage.
    artifact_sha256 = models.CharField(max_length=64, blank=True)
    artifact_size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    learning_config = models.JSONField(default=dict, blank=True)
    target_field = models.CharField(max_length=255, blank=True)
    target_schema_key = models.CharField(max_length=255, blank=True)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="algorithm_model_key_once"),
            models.CheckConstraint(
                condition=Q(
                    model_type__in=(
                        "scorecard",
                        "bayesian",
                        "logistic_regression",
                        "gradient_boosted",
                        "external_endpoint",
                        "onnx_imported",
                    )
                ),
                name="algorithm_model_type_known",
            ),
            status_known("algorithm_model"),
        )

    def __str__(self) -> str:
        return self.name
