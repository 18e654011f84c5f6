"""Recommendations that could not be delivered, and why."""

from django.db import models

from campaigns.models.run import CampaignRun


class DeliveryError(models.Model):
    """A winner whose creative could not be rendered. Of each chunk only so many are stored."""

    run = models.ForeignKey(CampaignRun, on_delete=models.CASCADE, related_name="delivery_errors")
    chunk = models.PositiveIntegerField()
    customer_key = models.TextField(db_collation="C")
    #: As in the results, without a foreign key.
    offer_id = models.BigIntegerField()
    channel_id = models.BigIntegerField()
    creative_id = models.BigIntegerField(null=True)
    reason = models.TextField()

    class Meta:
        ordering = ("customer_key", "id")
        indexes = (
            models.Index(fields=("run", "customer_key", "id"), name="delivery_error_by_customer"),
        )

    def __str__(self) -> str:
        return f"{self.customer_key}: {self.reason}"
