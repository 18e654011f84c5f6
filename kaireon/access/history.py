"""Every change of configuration, kept by django-simple-history in a table beside the row's own.

A change says who made it: a signed-in user, an API key, or nobody (the command line).
"""

from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords


class Change(models.Model):
    """What a historical row knows besides the row's values and the signed-in user."""

    #: "user <name>" or "API key <name>"; empty for a change from the command line.
    changed_by = models.CharField(max_length=200, blank=True)

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        self.changed_by = caller()[:200]
        super().save(*args, **options)


def caller() -> str:
    """Who makes the present request, as far as it has been found out."""
    request = getattr(HistoricalRecords.context, "request", None)
    api_key = getattr(getattr(request, "auth", None), "api_key", None)
    if api_key is not None:
        return f"API key {api_key.name}"
    user = getattr(request, "user", None)
    return f"user {user.get_username()}" if user is not None and user.is_authenticated else ""


def kept(**options: Any) -> HistoricalRecords:
    """The history of a model; outlives the row, its tenant's other rows and the user."""
    return HistoricalRecords(bases=[Change], user_db_constraint=False, **options)
