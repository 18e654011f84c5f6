"""Results of runs, one partition each, written by COPY and attached whole; and the held out."""

from django.db import models


class Recommendation(models.Model):
    """An offer for a customer. Never query it without a run: that would touch every partition."""

    pk = models.CompositePrimaryKey("run_id", "customer_key", "rank")
    run_id = models.BigIntegerField()
    customer_key = models.TextField(db_collation="C")
    rank = models.SmallIntegerField()
    chunk = models.IntegerField()
    offer_id = models.BigIntegerField()
    channel_id = models.BigIntegerField()
    creative_id = models.BigIntegerField(null=True)
    score = models.FloatField()

    class Meta:
        managed = True
        ordering = ("customer_key", "rank")

    def __str__(self) -> str:
        return f"{self.customer_key}: offer {self.offer_id}"


class HeldOut(models.Model):
    """An offer that a customer in the holdout would have got: never delivered, in no file."""

    run_id = models.BigIntegerField()
    chunk = models.IntegerField()
    customer_key = models.TextField(db_collation="C")
    rank = models.SmallIntegerField()
    offer_id = models.BigIntegerField()
    channel_id = models.BigIntegerField()
    creative_id = models.BigIntegerField(null=True)
    score = models.FloatField()

    class Meta:
        ordering = ("customer_key", "rank")
        constraints = (
            models.UniqueConstraint(
                fields=("run_id", "customer_key", "rank"), name="held_out_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.customer_key}: offer {self.offer_id}"
