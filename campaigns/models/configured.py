"""What all configuration has: a tenant, a version for whoever changes it, and its times."""

from django.db import models
from django.db.models.functions import Now

from kaireon.access.models import TenantScoped


class Configured(TenantScoped):
    #: Raised by every change; a change may say which version it was made from.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta(TenantScoped.Meta):
        abstract = True
