"""A system-wide limit on how often something may be shown in a period, by all campaigns."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from kaireon.access.history import kept


class VolumeConstraint(Configured):
    class Scope(models.TextChoices):
        OFFER = "offer"
        CATEGORY = "category"
        CHANNEL = "channel"

    class Period(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    name = models.CharField(max_length=255)
    scope = models.CharField(max_length=12, choices=Scope)
    #: Key of the offer, category or channel.
    scope_key = models.BigIntegerField()
    max_volume = models.BigIntegerField()
    period = models.CharField(max_length=8, choices=Period)
    enabled = models.BooleanField(default=True)
    #: Impressions in the period that ends at `reset_at`.
    current_count = models.BigIntegerField(default=0, editable=False)
    reset_at = models.DateTimeField(editable=False)

    history = kept(excluded_fields=["current_count", "reset_at"])

    class Meta(Configured.Meta):
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "scope", "scope_key", "period"),
                name="volume_constraint_scope_once",
            ),
            models.CheckConstraint(
                condition=Q(scope__in=("offer", "category", "channel")),
                name="volume_constraint_scope_known",
            ),
            models.CheckConstraint(
                condition=Q(period__in=("daily", "weekly", "monthly")),
                name="volume_constraint_period_known",
            ),
            models.CheckConstraint(
                condition=Q(max_volume__gte=1), name="volume_constraint_max_volume_min_1"
            ),
            models.CheckConstraint(
                condition=Q(current_count__gte=0), name="volume_constraint_count_natural"
            ),
        )

    def __str__(self) -> str:
        return self.name
