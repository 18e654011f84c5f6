"""Which tenant a command is for."""

from django.core.management.base import CommandError

from kaireon.access.models import Tenant


def chosen_tenant(slug: str | None) -> Tenant:
    """The tenant of this slug, or the only one there is. Raises CommandError naming the choices."""
    if slug:
        tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            raise CommandError(
                f"There is no tenant {slug!r}. Make it with: manage.py create_tenant {slug}"
            )
        return tenant
    tenants = list(Tenant.objects.order_by("slug")[:10])
    if not tenants:
        raise CommandError("There is no tenant. Make one with: manage.py create_tenant SLUG")
    if len(tenants) > 1:
        slugs = ", ".join(tenant.slug for tenant in tenants)
        raise CommandError(f"There is more than one tenant: add --tenant SLUG, one of {slugs}")
    return tenants[0]
