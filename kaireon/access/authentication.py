"""Who is calling: an API key, or a signed-in member of a tenant.

Either way `request.auth` is an `Access`, the only thing views and permissions look at.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.utils import timezone
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from kaireon import ids
from kaireon.access.models import ApiKey, Membership, Role, Tenant

KEY_TEXT = re.compile(r"krn_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LAST_USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Access:
    """What the caller may touch (one tenant) and how far (a role)."""

    tenant: Tenant
    role: Role
    api_key: ApiKey | None = None


def access_of(request: Request) -> Access:
    """Return the caller's access, which every view behind `HasRole` has."""
    access = request.auth
    if not isinstance(access, Access):
        raise PermissionDenied
    return access


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer krn_…` or `X-API-Key`; stands first, so no credentials is a 401."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Access] | None:
        text = given_key(request)
        if text is None:
            return None
        key, now = find_key(text), timezone.now()
        if key.revoked_at is not None:
            raise AuthenticationFailed("This API key has been revoked.")
        if key.expires_at is not None and key.expires_at <= now:
            raise AuthenticationFailed("This API key has expired.")
        note_use(key, now)
        return AnonymousUser(), Access(key.tenant, Role(key.role), key)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="kaireon"'


def given_key(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.headers.get("X-API-Key")


def find_key(text: str) -> ApiKey:
    parts = KEY_TEXT.fullmatch(text)
    if parts is not None:
        public_part, secret = parts.groups()
        keys = ApiKey.unscoped.select_related("tenant")
        key: ApiKey | None = keys.filter(public_part=public_part).first()
        if key is not None and key.matches(secret):
            return key
    raise AuthenticationFailed("Unknown API key.")


def note_use(key: ApiKey, now: datetime) -> None:
    """Write the time of use, but not for every request of a busy key."""
    before = now - LAST_USED_PRECISION
    if key.last_used_at is None or key.last_used_at < before:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=before)
        ApiKey.unscoped.filter(stale, pk=key.pk).update(last_used_at=now)


class MemberAuthentication(authentication.SessionAuthentication):
    """The session cookie with CSRF; `X-Tenant-Id` (id or slug) chooses among memberships."""

    def authenticate(self, request: Request) -> tuple[Any, Access] | None:
        signed_in: tuple[Any, None] | None = super().authenticate(request)
        if signed_in is None:
            return None
        user = signed_in[0]
        memberships = list(Membership.objects.filter(user=user).select_related("tenant"))
        membership = choose(memberships, request.headers.get("X-Tenant-Id"))
        return user, Access(membership.tenant, Role(membership.role))


def choose(memberships: list[Membership], wanted: str | None) -> Membership:
    """Return the one membership meant; an unclear or foreign tenant is refused, never guessed."""
    if not memberships:
        raise PermissionDenied("You are not a member of any tenant.")
    if wanted is not None:
        key = ids.decode("Tenant", wanted)
        memberships = [m for m in memberships if m.tenant_id == key or m.tenant.slug == wanted]
        if not memberships:
            raise PermissionDenied("You are not a member of the tenant that X-Tenant-Id names.")
    if len(memberships) > 1:
        raise PermissionDenied("You are a member of several tenants: name one in X-Tenant-Id.")
    return memberships[0]
