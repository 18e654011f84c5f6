"""What a signed-in user reaches: which tenants, and how far in each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from kaireon.access.models import Membership, Role, Tenant

RowT = TypeVar("RowT", bound=Model)
CACHED = "kaireon_scope"


@dataclass(frozen=True, slots=True)
class Scope:
    #: Role by tenant key; None for a superuser, who may do everything everywhere.
    roles: Mapping[int, Role] | None
    #: The only tenant there is, if a superuser has no choice among them.
    single: int | None = None

    def may(self, role: Role, tenant: int | None = None) -> bool:
        """Whether the user is at least a `role` of the tenant, or of any if none is named."""
        if self.roles is None:
            return True
        held = self.roles.values() if tenant is None else [self.roles.get(tenant)]
        return any(one is not None and one.covers(role) for one in held)

    def limit(self, rows: QuerySet[RowT], path: str, role: Role) -> QuerySet[RowT]:
        """Keep the rows whose tenant, at the lookup `path`, the user reaches as `role`."""
        if self.roles is None:
            return rows
        return rows.filter(**{f"{path}__in": self._tenants(role)})

    def only(self, role: Role) -> int | None:
        """The tenant that the user reaches as `role`, unless there are several or none."""
        if self.roles is None:
            return self.single
        tenants = self._tenants(role)
        return tenants[0] if len(tenants) == 1 else None

    def _tenants(self, role: Role) -> list[int]:
        return [key for key, held in (self.roles or {}).items() if held.covers(role)]


def scope_of(request: HttpRequest) -> Scope:
    """Return the scope of the request's user, read with one query per request."""
    scope = getattr(request, CACHED, None)
    if not isinstance(scope, Scope):
        scope = read_scope(request)
        setattr(request, CACHED, scope)
    return scope


def read_scope(request: HttpRequest) -> Scope:
    user = request.user
    if not user.is_active or not user.is_staff:
        return Scope({})
    if user.is_superuser:
        tenants = list(Tenant.objects.values_list("pk", flat=True)[:2])
        return Scope(None, tenants[0] if len(tenants) == 1 else None)
    held = Membership.objects.filter(user_id=user.pk).values_list("tenant_id", "role")
    return Scope({tenant: Role(role) for tenant, role in held})
