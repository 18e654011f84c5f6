"""What was sent to customers and how they answered; both outlive campaigns and runs."""

from django.db import models


class ContactHold(models.Model):
    """A run whose contacts are not true (yet): it has not ended, or it ended without them."""

    run_id = models.BigIntegerField(primary_key=True)
    #: The instant of its contacts: in which partition they are.
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"contacts of run {self.run_id}"


class ContactManager(models.Manager["Contact"]):
    """Only contacts that are true."""

    def get_queryset(self) -> models.QuerySet["Contact"]:
        held = ContactHold.objects.filter(run_id=models.OuterRef("run_id"))
        return super().get_queryset().filter(~models.Exists(held))


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

    objects = ContactManager()

    class Meta:
        ordering = ("at", "customer_key")

    def __str__(self) -> str:
        return f"{self.customer_key} at {self.at}"
