"""A decision flow and its published versions."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class Flow(Configured):
    """The draft of a decision flow; only published versions are ever run."""

    key = models.SlugField(max_length=255)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    draft_config = models.JSONField(default=dict, blank=True)
    is_default = models.BooleanField(default=False)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="flow_key_once"),
            models.UniqueConstraint(
                fields=("tenant",), condition=Q(is_default=True), name="flow_one_default"
            ),
            status_known("flow"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def published(self) -> "FlowVersion | None":
        """The version a run would use now: the newest, or None if the flow may not run."""
        if self.status != Status.ACTIVE:
            return None
        return self.versions.order_by("-version").first()


class FlowVersion(models.Model):
    """An immutable published configuration."""

    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    config = models.JSONField()
    notes = models.TextField(blank=True)
    published_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("flow", "-version")
        constraints = (
            models.UniqueConstraint(fields=("flow", "version"), name="flow_version_once"),
            models.CheckConstraint(condition=Q(version__gte=1), name="flow_version_positive"),
        )

    def __str__(self) -> str:
        return f"{self.flow} v{self.version}"
