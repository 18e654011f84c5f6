"""The one place that says which role a request needs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from kaireon.access.authentication import Access
from kaireon.access.models import Role

if TYPE_CHECKING:
    # The view module reads the settings, and they name this one.
    from rest_framework.views import APIView

ROLE_OF_METHOD: Mapping[str, Role] = {
    "GET": Role.VIEWER,
    "HEAD": Role.VIEWER,
    "OPTIONS": Role.VIEWER,
    "POST": Role.EDITOR,
    "PUT": Role.EDITOR,
    "PATCH": Role.EDITOR,
    "DELETE": Role.ADMIN,
}


def needed_role(request: Request, view: "APIView") -> Role:
    """Return the role for the view's action: its `roles` table first, then the method's."""
    by_action: Mapping[str, Role] = getattr(view, "roles", {})
    action = str(getattr(view, "action", None))
    if action in by_action:
        return by_action[action]
    return ROLE_OF_METHOD.get(request.method or "", Role.ADMIN)


class HasRole(BasePermission):
    """Refuses callers without an access, or with a role below the needed one."""

    message = ""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        access = request.auth
        if not isinstance(access, Access):
            return False
        needed = needed_role(request, view)
        self.message = f"The role {access.role} may not do this; it needs {needed}."
        return access.role.covers(needed)
