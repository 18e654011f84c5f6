"""Offers and the categories they belong to."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept


class Category(Configured):
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    color = models.CharField(max_length=20, default="blue")
    icon = models.CharField(max_length=50, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    ordinal = models.PositiveIntegerField(default=0)
    #: Definitions of fields that its offers have: `executor.flow.custom_fields`.
    custom_fields = models.JSONField(default=list, blank=True)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("ordinal", "name")
        verbose_name_plural = "categories"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="category_name_once"),
            status_known("category"),
        )

    def __str__(self) -> str:
        return self.name


class SubCategory(Configured):
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="sub_categories")
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    ordinal = models.PositiveIntegerField(default=0)
    #: Definitions of fields that its offers have: `executor.flow.custom_fields`.
    custom_fields = models.JSONField(default=list, blank=True)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("category", "ordinal", "name")
        verbose_name_plural = "sub-categories"
        constraints = (
            models.UniqueConstraint(fields=("category", "name"), name="sub_category_name_once"),
            status_known("sub_category"),
        )

    def __str__(self) -> str:
        return f"{self.category} / {self.name}"


class Offer(Configured):
    """Something a customer may be given; only active offers are candidates."""

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    short_desc = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    category = models.ForeignKey(
        Category, on_delete=models.PROTECT, null=True, blank=True, related_name="offers"
    )
    sub_category = models.ForeignKey(
        SubCategory, on_delete=models.PROTECT, null=True, blank=True, related_name="offers"
    )
    #: 0 to 100; the lever of a marketer ("emphasis").
    priority = models.PositiveSmallIntegerField(default=50)
    #: 0 to 100; second factor of priority_weighted scoring.
    weight = models.PositiveSmallIntegerField(default=100)
    #: 0 to 100; what a sale is worth ("impact").
    business_value = models.FloatField(default=50)
    margin = models.FloatField(null=True, blank=True)
    revenue_value = models.FloatField(null=True, blank=True)
    product_type = models.CharField(max_length=100, blank=True)
    tags = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    #: How often it is given to all customers together, and from when to when: see
    #: `executor.flow.offer_terms`.
    budget = models.JSONField(default=dict, blank=True)
    schedule = models.JSONField(default=dict, blank=True)
    #: Until it expires, most contact policies do not hold it back; somebody answers for that.
    mandatory = models.BooleanField(default=False)
    mandatory_reason = models.CharField(max_length=500, blank=True)
    mandatory_expires_at = models.DateTimeField(null=True, blank=True)
    #: The name of a user who administers the tenant, or did then.
    mandatory_approved_by = models.CharField(max_length=150, blank=True)
    #: Values of the custom fields of category and sub-category, by key.
    custom_fields = models.JSONField(default=dict, blank=True)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="offer_name_once"),
            models.CheckConstraint(
                condition=Q(priority__range=(0, 100)), name="offer_priority_0_to_100"
            ),
            models.CheckConstraint(
                condition=Q(weight__range=(0, 100)), name="offer_weight_0_to_100"
            ),
            models.CheckConstraint(
                condition=Q(business_value__range=(0, 100)), name="offer_business_value_0_to_100"
            ),
            models.CheckConstraint(
                condition=Q(sub_category__isnull=True) | Q(category__isnull=False),
                name="offer_sub_category_in_category",
            ),
            models.CheckConstraint(
                condition=Q(mandatory=False)
                | (
                    ~Q(mandatory_reason="")
                    & ~Q(mandatory_approved_by="")
                    & Q(mandatory_expires_at__isnull=False)
                ),
                name="offer_mandatory_is_answered_for",
            ),
            status_known("offer"),
        )

    def __str__(self) -> str:
        return self.name
