"""Channels and the placements inside them."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept

BATCH_DELIVERY_MODES = ("file", "integration", "manual")


class Channel(Configured):
    """A way to reach a customer. A batch channel is delivered by file, integration or hand."""

    class DeliveryMode(models.TextChoices):
        API = "api"
        FILE = "file"
        INTEGRATION = "integration"
        MANUAL = "manual"

    class ImpressionMode(models.TextChoices):
        EXPLICIT = "explicit"
        IMPLICIT = "implicit"

    name = models.CharField(max_length=255)
    channel_type = models.CharField(max_length=50, default="email")
    delivery_mode = models.CharField(max_length=12, choices=DeliveryMode, default=DeliveryMode.API)
    impression_mode = models.CharField(
        max_length=10, choices=ImpressionMode, default=ImpressionMode.EXPLICIT
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="channel_name_once"),
            models.CheckConstraint(
                condition=Q(delivery_mode__in=("api", *BATCH_DELIVERY_MODES)),
                name="channel_delivery_mode_known",
            ),
            models.CheckConstraint(
                condition=Q(impression_mode__in=("explicit", "implicit")),
                name="channel_impression_mode_known",
            ),
            status_known("channel"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_batch(self) -> bool:
        return self.delivery_mode in BATCH_DELIVERY_MODES


class Placement(Configured):
    """A slot of a channel that holds up to `max_slots` offers."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="placements")
    key = models.SlugField(max_length=100)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    slot_type = models.CharField(max_length=50, default="banner")
    max_slots = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("channel", "key")
        constraints = (
            models.UniqueConstraint(fields=("channel", "key"), name="placement_key_once"),
            models.CheckConstraint(condition=Q(max_slots__gte=1), name="placement_max_slots_min_1"),
            status_known("placement"),
        )

    def __str__(self) -> str:
        return f"{self.channel} / {self.name}"
