"""A request that may be sent again: its answer, kept under the caller's Idempotency-Key."""

from django.db import models
from django.db.models.functions import Now

from kaireon.access.models import TenantScoped


class IdempotentRequest(TenantScoped):
    key = models.CharField(max_length=255)
    #: SHA-256 of caller, method, path and body: the same key with another request is refused.
    digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta(TenantScoped.Meta):
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="idempotency_key_once"),
        )
        indexes = (models.Index(fields=("created_at",), name="idempotent_request_age"),)

    def __str__(self) -> str:
        return self.key
