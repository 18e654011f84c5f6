"""The life of a configuration row, shared by all of them."""

from django.db import models
from django.db.models import Q


class Status(models.TextChoices):
    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


def status_known(table: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(status__in=Status.values), name=f"{table}_status_known"
    )
