"""A schema: a table of customers (or of rows about them) that kaireon may read."""

from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from kaireon.access.history import kept


class Schema(Configured):
    """A registered relation of PostgreSQL with a key column."""

    class Origin(models.TextChoices):
        IMPORTED = "imported"
        REGISTERED = "registered"

    class EntityType(models.TextChoices):
        CUSTOMER = "customer"
        ACCOUNT = "account"
        CUSTOM = "custom"

    name = models.CharField(max_length=255)
    entity_type = models.CharField(max_length=10, choices=EntityType, default=EntityType.CUSTOMER)
    origin = models.CharField(max_length=10, choices=Origin)
    relation_schema = models.CharField(max_length=63)
    relation_name = models.CharField(max_length=63)
    key_column = models.CharField(max_length=63)
    #: Column names and PostgreSQL types in table order: [{"name", "type", "kind"}].
    columns = models.JSONField(default=list)
    row_count = models.BigIntegerField(null=True)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="schema_name_once"),
            models.UniqueConstraint(
                fields=("relation_schema", "relation_name"), name="schema_relation_one_tenant"
            ),
            models.CheckConstraint(
                condition=Q(origin__in=("imported", "registered")), name="schema_origin_known"
            ),
            models.CheckConstraint(
                condition=Q(entity_type__in=("customer", "account", "custom")),
                name="schema_entity_type_known",
            ),
            models.CheckConstraint(
                condition=Q(row_count__isnull=True) | Q(row_count__gte=0),
                name="schema_row_count_natural",
            ),
        )

    def __str__(self) -> str:
        return self.name
