"""Tenants, their members and their API keys."""

import hashlib
import hmac
import secrets
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from kaireon import ids
from kaireon.access.history import kept


class Role(models.TextChoices):
    """Each role may do what the ones before it may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


def new_salt() -> str:
    return secrets.token_hex(16)


class Tenant(models.Model):
    """One organisation; nothing of it is visible to another."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=255)
    timezone = models.CharField(max_length=63, default="UTC")
    #: What campaigns may write to, as "bucket" or "bucket/prefix"; nothing means no S3 at all.
    s3_locations = ArrayField(models.CharField(max_length=255), default=list, blank=True)
    #: Percent of the customers that every campaign holds out.
    holdout_percent = models.FloatField(default=0)
    # Mixed into every customer hash. Changing it would change tie-breaks and holdouts of all runs.
    salt = models.CharField(max_length=32, default=new_salt, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    history = kept(excluded_fields=["salt"])

    class Meta:
        ordering = ("slug",)
        constraints = (
            models.CheckConstraint(
                condition=Q(holdout_percent__range=(0, 100)), name="tenant_holdout_0_to_100"
            ),
        )

    def __str__(self) -> str:
        return self.name


RowT = TypeVar("RowT", bound=models.Model)


class TenantManager(models.Manager[RowT]):
    """The only door to tenant-scoped rows for requests: it opens with a tenant."""

    def of(self, tenant: Tenant | int) -> models.QuerySet[RowT]:
        key = tenant if isinstance(tenant, int) else tenant.pk
        return super().get_queryset().filter(tenant_id=key)

    def get_queryset(self) -> models.QuerySet[RowT]:
        raise RuntimeError(f"{self.model.__name__}.objects needs a tenant: use objects.of(tenant)")


class TenantScoped(models.Model):
    """A row of one tenant, with an opaque public id.

    `unscoped` serves Django's own machinery (foreign keys, the admin) and work that already
    holds a row's key, such as the executor.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")

    unscoped: ClassVar[models.Manager[Any]] = models.Manager()
    objects: ClassVar[TenantManager[Any]] = TenantManager()

    class Meta:
        abstract = True
        default_manager_name = "unscoped"
        base_manager_name = "unscoped"

    @property
    def public_id(self) -> str:
        return ids.encode(type(self).__name__, self.pk)


class Membership(models.Model):
    """The role of a user in a tenant."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.VIEWER)

    history = kept()

    class Meta:
        ordering = ("tenant", "user")
        constraints = (
            models.UniqueConstraint(fields=("user", "tenant"), name="membership_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        )

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.tenant}"

    @property
    def public_id(self) -> str:
        return ids.encode("Membership", self.pk)


def keyed_hash(secret: str) -> str:
    """HMAC-SHA256 with the server's pepper: a stolen table alone cannot test guesses."""
    pepper = settings.API_KEY_PEPPER.encode()
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


class ApiKey(TenantScoped):
    """A credential `krn_<public part>_<secret>`; only a keyed hash of the secret is kept."""

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=10, choices=Role, default=Role.VIEWER)
    public_part = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    history = kept(excluded_fields=["secret_hash", "last_used_at"])

    class Meta(TenantScoped.Meta):
        ordering = ("tenant", "name", "id")
        constraints = (
            models.CheckConstraint(condition=Q(role__in=Role.values), name="api_key_role_known"),
        )

    def __str__(self) -> str:
        return f"{self.name} (krn_{self.public_part}_…)"

    @classmethod
    def issue(cls, tenant: Tenant, *, name: str, role: Role, **fields: Any) -> tuple["ApiKey", str]:
        """Store a new key and return it with its text, which cannot be read again."""
        public_part, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = cls.unscoped.create(
            tenant=tenant,
            name=name,
            role=role,
            public_part=public_part,
            secret_hash=keyed_hash(secret),
            **fields,
        )
        return key, f"krn_{public_part}_{secret}"

    def revoke(self, reason: str = "") -> None:
        """Refuse the key from now on, for good; revoking it again changes nothing."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self._change_reason = reason or None  # where the history looks for it
            self.save(update_fields=["revoked_at"])

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.secret_hash, keyed_hash(secret))
