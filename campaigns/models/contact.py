"""What was sent to customers and how they answered; both outlive campaigns and runs."""

from django.db import models


class Contact(models.Model):
    """One delivered recommendation. Append-only, partitioned by month of `at`."""

    pk = models.CompositePrimaryKey("at", "run_id", "customer_key", "offer_id", "channel_id")
    tenant_id = models.BigIntegerField()
    customer_key = models.TextField(db_collation="C")
    at = models.DateTimeField()
    offer_id = models.BigIntegerField()
    channel_id = models.BigIntegerField()
    creative_id = models.BigIntegerField(null=True)
    campaign_id = models.BigIntegerField()
    run_id = models.BigIntegerField()

    class Meta:
        ordering = ("at", "customer_key")

    def __str__(self) -> str:
        return f"{self.customer_key} at {self.at}"
