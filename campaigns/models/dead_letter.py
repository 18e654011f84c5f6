"""Work that was given up after too many attempts, until somebody retries or purges it."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models.run import CampaignRun
from kaireon.access.models import TenantScoped


class DeadLetter(TenantScoped):
    """A chunk of a run, or a whole run, that ended in an error of ours."""

    class Topic(models.TextChoices):
        CHUNK = "campaign_chunks"
        RUN = "campaign_runs"

    topic = models.CharField(max_length=20, choices=Topic)
    run = models.ForeignKey(CampaignRun, on_delete=models.CASCADE, related_name="dead_letters")
    #: The chunk's number; null for a whole run.
    chunk = models.PositiveIntegerField(null=True)
    #: Customers of the chunk, or of the run as far as they were counted.
    customers = models.BigIntegerField(default=0)
    attempts = models.PositiveIntegerField()
    error = models.TextField()
    traceback = models.TextField(blank=True)
    failed_at = models.DateTimeField(db_default=Now())

    class Meta(TenantScoped.Meta):
        ordering = ("-failed_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("run", "chunk"), nulls_distinct=False, name="dead_letter_once"
            ),
            models.CheckConstraint(
                condition=Q(topic="campaign_chunks", chunk__isnull=False)
                | Q(topic="campaign_runs", chunk__isnull=True),
                name="dead_letter_names_its_chunk",
            ),
        )
        indexes = (models.Index(fields=("tenant", "-failed_at"), name="dead_letter_newest"),)

    def __str__(self) -> str:
        return f"{self.run}{'' if self.chunk is None else f' chunk {self.chunk}'}: {self.error}"
