"""Who belongs to a tenant, and how far each may go."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from campaigns.services.errors import Conflict
from executor.errors import Rejected
from kaireon.access.models import Membership, Role, Tenant


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    """The memberships of the tenant, each with `created_at` and `known_elsewhere`.

    The latter tells users whom another tenant has or had: their addresses are not ours to show.
    """
    history: QuerySet[Any] = getattr(Membership, "history").all()  # noqa: B009 - untyped
    made = history.filter(id=OuterRef("pk"), history_type="+").values("history_date")[:1]
    others = Membership.objects.filter(user=OuterRef("user")).exclude(tenant=tenant)
    former = history.filter(user=OuterRef("user")).exclude(tenant=tenant)
    return (
        Membership.objects.filter(tenant=tenant)
        .select_related("user")
        .annotate(created_at=Subquery(made), known_elsewhere=Exists(others) | Exists(former))
    )


def add_member(
    tenant: Tenant, *, username: str = "", email: str = "", role: str = Role.VIEWER
) -> Membership:
    """Bring in the user of this name, made without a password if there is none.

    An e-mail address is taken as the name to sign in with: addresses of existing users are not
    searched, so nobody learns who has which. Raises Rejected, and Conflict for a member.
    """
    if bool(username) == bool(email):
        raise Rejected.of([("username", "Give either username or email.")])
    name = read_name("email", email.lower()) if email else read_name("username", username)
    with transaction.atomic():
        lock_members(tenant)
        if is_member(tenant, name, email):
            field = "e-mail address" if email else "username"
            raise Conflict(f"There is a member with this {field} already.")
        user = find_user(name) or make_user(name, name if email else "")
        return Membership.objects.create(user=user, tenant=tenant, role=role)


def is_member(tenant: Tenant, name: str, email: str) -> bool:
    named = Q(user__username=name)
    if email:
        shown = Q(known_elsewhere=False, user__is_superuser=False)
        named |= shown & Q(user__email__iexact=email)
    return members_of(tenant).filter(named).exists()


def change_role(member: Membership, role: str) -> None:
    """Raises Conflict when nobody would be left to administer the tenant."""
    with transaction.atomic():
        lock_members(member.tenant)
        if role != Role.ADMIN:
            keep_an_admin(member)
        if role != member.role:
            member.role = role
            member.save(update_fields=["role"])


def remove_member(member: Membership) -> None:
    """Raises Conflict when nobody would be left to administer the tenant."""
    with transaction.atomic():
        lock_members(member.tenant)
        keep_an_admin(member)
        member.delete()


def lock_members(tenant: Tenant) -> None:
    """One change of members at a time, so that two admins cannot remove each other."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)


def keep_an_admin(member: Membership) -> None:
    admins = Membership.objects.filter(
        tenant=member.tenant, role=Role.ADMIN, user__is_active=True
    ).values_list("pk", flat=True)
    if list(admins) == [member.pk]:
        raise Conflict(
            f"{member.user} is the last administrator: make somebody else an administrator first."
        )


def read_name(field: str, text: str) -> str:
    """Return the text as users are named. Raises Rejected when it cannot be a name."""
    users = get_user_model()
    name = users.normalize_username(text)
    try:
        users._meta.get_field("username").run_validators(name)
    except ValidationError as error:
        raise Rejected.of([(field, message) for message in error.messages]) from error
    return name


def find_user(name: str) -> Any:
    return get_user_model().objects.filter(username=name).first()


def make_user(name: str, email: str) -> Any:
    """Staff, as the admin site is the only place to sign in; what they may do is their role."""
    return get_user_model().objects.create_user(name, email, password=None, is_staff=True)
