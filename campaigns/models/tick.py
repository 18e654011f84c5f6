"""What became of each scheduled instant of a campaign."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models.campaign import Campaign
from campaigns.models.run import CampaignRun
from kaireon.access.models import TenantScoped


class Tick(TenantScoped):
    """One scheduled instant that has come, and whether a run was made of it; never changed."""

    class Outcome(models.TextChoices):
        RUN = "run"  # a run was asked for
        SKIPPED = "skipped"  # another run of the campaign was unfinished
        MISSED = "missed"  # the scheduler came to it too late
        REFUSED = "refused"  # the campaign could not be run

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="ticks")
    scheduled_for = models.DateTimeField()
    decided_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=8, choices=Outcome)
    #: Why there is no run, in words for the reader.
    reason = models.TextField(blank=True)
    run = models.ForeignKey(CampaignRun, on_delete=models.SET_NULL, null=True, related_name="+")
    #: How many instants the row stands for: more than 1 only where very many were missed at once,
    #: `scheduled_for` being the first of them.
    instants = models.PositiveIntegerField(default=1)

    class Meta(TenantScoped.Meta):
        ordering = ("-scheduled_for", "-id")
        constraints = (
            models.UniqueConstraint(fields=("campaign", "scheduled_for"), name="tick_once"),
            models.CheckConstraint(
                condition=Q(outcome__in=("run", "skipped", "missed", "refused")),
                name="tick_outcome_known",
            ),
            models.CheckConstraint(
                condition=Q(outcome="run") | ~Q(reason=""), name="tick_without_run_says_why"
            ),
        )

    def __str__(self) -> str:
        return f"{self.campaign} at {self.scheduled_for:%Y-%m-%d %H:%M}: {self.outcome}"
