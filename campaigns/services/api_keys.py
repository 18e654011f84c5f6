"""Making API keys for others. Revoking one is `ApiKey.revoke`, as the admin site needs it too."""

from datetime import datetime

from django.utils import timezone

from executor.errors import Rejected
from kaireon.access.models import ApiKey, Role, Tenant


def issue_key(
    tenant: Tenant,
    maker: Role,
    *,
    name: str = "API key",
    role: str = Role.VIEWER,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Store a key and return it with its text, which cannot be read again.

    Raises Rejected for more rights than its maker has, and for one that would be expired already.
    """
    faults = []
    if not maker.covers(Role(role)):
        faults.append(("role", f"Must not be above your own, which is {maker}."))
    if expires_at is not None and expires_at <= timezone.now():
        faults.append(("expiresAt", "Must be in the future."))
    if faults:
        raise Rejected.of(faults)
    return ApiKey.issue(tenant, name=name, role=Role(role), expires_at=expires_at)
