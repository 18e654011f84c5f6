"""People at the admin: real sessions, by role."""

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from kaireon.access.models import Tenant
from tests import factories


def member(tenant: Tenant, role: str) -> Client:
    user = factories.UserFactory()
    factories.MembershipFactory(user=user, tenant=tenant, role=role)
    return signed_in(user)


def superuser() -> Client:
    return signed_in(factories.UserFactory(is_superuser=True))


def signed_in(user: object) -> Client:
    client = Client()
    client.force_login(user)
    return client


def join(client: Client, tenant: Tenant, role: str) -> None:
    """Make the client's user a member of another tenant too."""
    user = get_user_model().objects.get(pk=client.session["_auth_user_id"])
    factories.MembershipFactory(user=user, tenant=tenant, role=role)


def page(model: str, name: str, *args: object) -> str:
    app = "access" if model in ("tenant", "membership", "apikey") else "campaigns"
    return reverse(f"admin:{app}_{model}_{name}", args=args)


def text_of(response) -> str:
    if not response.streaming and hasattr(response, "render"):
        response.render()
    return response.content.decode()


def said(response) -> list[str]:
    """The messages the next page shows."""
    return [str(message) for message in response.context["messages"]]


def errors(response) -> dict[str, list[str]]:
    """The faults of the form, by field."""
    return {name: list(found) for name, found in response.context["adminform"].errors.items()}
