"""A creative: the treatment of one offer in one channel."""

from django.db import models
from django.db.models import Q

from campaigns.models.channel import Channel, Placement
from campaigns.models.configured import Configured
from campaigns.models.offer import Offer
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class Creative(Configured):
    name = models.CharField(max_length=255)
    offer = models.ForeignKey(Offer, on_delete=models.CASCADE, related_name="creatives")
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="creatives")
    placement = models.ForeignKey(
        Placement, on_delete=models.SET_NULL, null=True, blank=True, related_name="creatives"
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    template_type = models.CharField(max_length=50, default="email_html")
    content = models.JSONField(default=dict, blank=True)
    personalization = models.JSONField(default=list, blank=True)
    ab_test_variant = models.CharField(max_length=50, blank=True)
    #: 0 to 100; share of the traffic among the variants of one offer and channel.
    weight = models.PositiveSmallIntegerField(default=100)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="creative_name_once"),
            models.CheckConstraint(
                condition=Q(weight__range=(0, 100)), name="creative_weight_0_to_100"
            ),
            status_known("creative"),
        )

    def __str__(self) -> str:
        return self.name
