"""The processes that work: when each was last seen, and what it did."""

from django.db import models
from django.db.models.functions import Now


class Worker(models.Model):
    """One process; it renews its row while it lives, so an old `seen_at` means it is gone."""

    class Kind(models.TextChoices):
        WORKER = "worker"  # of Celery
        DRAIN = "drain"
        PULSE = "pulse"  # whoever ran the scheduler's pulse

    #: "<kind>@<host>:<pid>".
    name = models.CharField(max_length=255, unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    #: When it last ended a step of a run or a chunk; null before the first.
    worked_at = models.DateTimeField(null=True)
    #: Steps and chunks it has ended.
    done = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("kind", "name")

    def __str__(self) -> str:
        return self.name
