"""Contact policies: how often and when a customer may be contacted."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class ContactPolicy(Configured):
    class RuleType(models.TextChoices):
        FREQUENCY_CAP = "frequency_cap"
        COOLDOWN = "cooldown"
        BUDGET_EXHAUSTED = "budget_exhausted"
        OUTCOME_BASED = "outcome_based"
        SEGMENT_EXCLUSION = "segment_exclusion"
        TIME_WINDOW = "time_window"
        MUTUAL_EXCLUSION = "mutual_exclusion"
        CROSS_CHANNEL_CAP = "cross_channel_cap"
        CUSTOMER_TOTAL_CAP = "customer_total_cap"
        ALLOW_OVERRIDE = "allow_override"
        CATEGORY_SUPPRESSION = "category_suppression"
        METRIC_CONDITION = "metric_condition"

    class Scope(models.TextChoices):
        GLOBAL = "global"
        OFFER = "offer"
        CREATIVE = "creative"
        CHANNEL = "channel"
        CATEGORY = "category"
        SUBCATEGORY = "subcategory"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    rule_type = models.CharField(max_length=24, choices=RuleType)
    scope = models.CharField(max_length=12, choices=Scope, default=Scope.OFFER)
    #: Required unless global: a scope without a key would silently act on everything.
    scope_key = models.BigIntegerField(null=True, blank=True)
    #: Several places to act, as [{"scope", "scopeId"}]; if any, the two above are the first.
    scopes = models.JSONField(default=list, blank=True)
    config = models.JSONField(default=dict)
    priority = models.IntegerField(default=50)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("-priority", "id")
        verbose_name_plural = "contact policies"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="contact_policy_name_once"),
            models.CheckConstraint(
                condition=Q(scope="global", scope_key__isnull=True)
                | (
                    Q(scope__in=("offer", "creative", "channel", "category", "subcategory"))
                    & Q(scope_key__isnull=False)
                ),
                name="contact_policy_scope_has_key",
            ),
            models.CheckConstraint(
                condition=Q(
                    rule_type__in=(
                        "frequency_cap",
                        "cooldown",
                        "budget_exhausted",
                        "outcome_based",
                        "segment_exclusion",
                        "time_window",
                        "mutual_exclusion",
                        "cross_channel_cap",
                        "customer_total_cap",
                        "allow_override",
                        "category_suppression",
                        "metric_condition",
                    )
                ),
                name="contact_policy_type_known",
            ),
            status_known("contact_policy"),
        )

    def __str__(self) -> str:
        return self.name
