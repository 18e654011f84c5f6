"""A segment: the customers of a schema that satisfy filters, as a real view."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.schema import Schema
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class Segment(Configured):
    """Base schema + joins + filters, compiled to the view `segments.<view_name>`."""

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    base_schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="segments")
    joins = models.JSONField(default=list, blank=True)
    filters = models.JSONField(default=list, blank=True)
    view_name = models.CharField(max_length=16, unique=True, editable=False)
    customer_count = models.BigIntegerField(null=True, editable=False)
    last_refreshed_at = models.DateTimeField(null=True, editable=False)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="segment_name_once"),
            models.CheckConstraint(
                condition=Q(view_name__regex=r"^seg_[0-9a-f]{12}$"), name="segment_view_name_form"
            ),
            status_known("segment"),
        )

    def __str__(self) -> str:
        return self.name
