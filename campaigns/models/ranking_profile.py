"""A ranking profile: how much each objective counts when offers are ranked."""

from django.db import models

from campaigns.models.configured import Configured
from kaireon.access.history import kept


class RankingProfile(Configured):
    name = models.CharField(max_length=200)
    key = models.SlugField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    #: Objective -> 0 to 1; they need not add up to 1.
    weights = models.JSONField(default=dict)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="ranking_profile_name_once"),
            models.UniqueConstraint(fields=("tenant", "key"), name="ranking_profile_key_once"),
        )

    def __str__(self) -> str:
        return self.name
