"""A schema join: columns of another table's row that customers of a schema have by themselves."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from campaigns.models.configured import Configured
from campaigns.models.schema import Schema
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept

NAME_FORM = r"^[a-z][a-z0-9_]{0,30}$"
NAME_TOLD = "Must be a lower-case letter and at most 30 more, or digits or underscores."


class SchemaJoin(Configured):
    """Column `c` of the foreign row is the customer's `<name>.c`; null where there is no row."""

    class JoinType(models.TextChoices):
        LEFT = "left"

    #: Begins the names of the columns.
    name = models.CharField(max_length=31, validators=[RegexValidator(NAME_FORM, NAME_TOLD)])
    primary_schema = models.ForeignKey(Schema, models.PROTECT, related_name="joins")
    primary_key = models.CharField(max_length=63)
    foreign_schema = models.ForeignKey(Schema, models.PROTECT, related_name="joins_into")
    #: Unique, so that nothing multiplies customers.
    foreign_key = models.CharField(max_length=63)
    join_type = models.CharField(max_length=10, choices=JoinType, default=JoinType.LEFT)
    #: Whether flows over the primary schema have the columns without asking for them.
    auto_enrich = models.BooleanField(default=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)

    history = kept()

    class Meta(Configured.Meta):
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="schema_join_name_once"),
            models.CheckConstraint(
                condition=Q(name__regex=NAME_FORM), name="schema_join_name_form"
            ),
            models.CheckConstraint(condition=Q(join_type="left"), name="schema_join_type_known"),
            status_known("schema_join"),
        )

    def __str__(self) -> str:
        return self.name
