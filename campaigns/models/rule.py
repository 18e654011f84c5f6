"""Qualification rules and contact policies: what a candidate must survive."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class QualificationRule(Configured):
    """A condition on the customer that every candidate in its scope must meet."""

    class RuleType(models.TextChoices):
        SEGMENT_REQUIRED = "segment_required"
        ATTRIBUTE_CONDITION = "attribute_condition"
        PROPENSITY_THRESHOLD = "propensity_threshold"
        RECENCY_CHECK = "recency_check"
        METRIC_CONDITION = "metric_condition"
        OFFER_ATTRIBUTE = "offer_attribute"

    class Scope(models.TextChoices):
        GLOBAL = "global"
        SEGMENT = "segment"
        CHANNEL = "channel"
        CATEGORY = "category"
        SUBCATEGORY = "subcategory"
        OFFER = "offer"
        CREATIVE = "creative"
        PLACEMENT = "placement"

    class Stage(models.TextChoices):
        ELIGIBILITY = "eligibility"
        FIT = "fit"
        MATCH = "match"

    class OnMissing(models.TextChoices):
        FAIL = "fail"
        PASS = "pass"  # noqa: S105

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    rule_type = models.CharField(max_length=24, choices=RuleType)
    scope = models.CharField(max_length=12, choices=Scope, default=Scope.GLOBAL)
    #: Key of the offer, category, channel, … that `scope` names; empty for a global rule.
    scope_key = models.BigIntegerField(null=True, blank=True)
    #: Several places to act, as [{"scope", "scopeId"}]; if any, the two above are the first.
    scopes = models.JSONField(default=list, blank=True)
    config = models.JSONField(default=dict)
    priority = models.IntegerField(default=50)
    stage = models.CharField(max_length=12, choices=Stage, default=Stage.ELIGIBILITY)
    on_missing = models.CharField(max_length=4, choices=OnMissing, default=OnMissing.FAIL)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("-priority", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="qualification_rule_name_once"),
            models.CheckConstraint(
                condition=Q(scope="global", scope_key__isnull=True)
                | (~Q(scope="global") & Q(scope_key__isnull=False)),
                name="qualification_rule_scope_has_key",
            ),
            models.CheckConstraint(
                condition=Q(
                    rule_type__in=(
                        "segment_required",
                        "attribute_condition",
                        "propensity_threshold",
                        "recency_check",
                        "metric_condition",
                        "offer_attribute",
                    )
                ),
                name="qualification_rule_type_known",
            ),
            models.CheckConstraint(
                condition=Q(stage__in=("eligibility", "fit", "match")),
                name="qualification_rule_stage_known",
            ),
            models.CheckConstraint(
                condition=Q(on_missing__in=("fail", "pass")),
                name="qualification_rule_on_missing_known",
            ),
            status_known("qualification_rule"),
        )

    def __str__(self) -> str:
        return self.name
