"""Impressions and outcomes reported back by channels."""

from django.db import models


class Interaction(models.Model):
    """One impression or outcome. Append-only, partitioned by month of `at`."""

    class Direction(models.TextChoices):
        INBOUND = "inbound"
        OUTBOUND = "outbound"

    pk = models.CompositePrimaryKey("at", "id")
    id = models.BigIntegerField(editable=False)
    tenant_id = models.BigIntegerField()
    customer_key = models.TextField(db_collation="C")
    at = models.DateTimeField()
    interaction_type = models.CharField(max_length=50)
    outcome = models.CharField(max_length=50, blank=True)
    direction = models.CharField(max_length=8, choices=Direction)
    offer_id = models.BigIntegerField()
    channel_id = models.BigIntegerField(null=True)
    creative_id = models.BigIntegerField(null=True)
    campaign_id = models.BigIntegerField(null=True)
    context = models.JSONField(default=dict)

    class Meta:
        ordering = ("at", "id")

    def __str__(self) -> str:
        return f"{self.customer_key} {self.interaction_type} at {self.at}"
