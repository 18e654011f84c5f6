"""Members of the tenant: who signs in, and with which role."""

from typing import Any

from django.core.validators import EmailValidator
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.filters import FilterSet, OneOf
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.services.members import add_member, change_role, members_of, remove_member
from kaireon.access.models import Membership, Role

#: As long as the name that a user signs in with may be, which an e-mail address becomes.
MAX_NAME = 150


class MemberSerializer(CamelModelSerializer[Membership]):
    """A user of the tenant, and how far they may go."""

    id = fields.OwnId()
    username = serializers.CharField(source="user.username", read_only=True)
    email = serializers.SerializerMethodField()
    createdAt = fields.UtcDateTime(source="created_at", read_only=True, allow_null=True)

    class Meta:
        model = Membership
        fields = ["id", "username", "email", "role", "createdAt"]

    def get_email(self, member: Any) -> str | None:
        """Not told of users whom another tenant knows, unless they sign in with it."""
        name: str = member.user.username
        if "@" in name:
            return name
        hidden = member.known_elsewhere or member.user.is_superuser
        return None if hidden else member.user.email or None


class Invitation(StrictSerializer):
    """Either of the two, not both."""

    username = fields.Text(max_length=MAX_NAME, required=False)
    email = fields.Text(
        max_length=MAX_NAME,
        required=False,
        validators=[EmailValidator("Must be an e-mail address.")],
    )
    role = fields.Choice(choices=Role.choices, required=False)


class RoleChange(StrictSerializer):
    """The only thing of a member that changes."""

    role = fields.Choice(choices=Role.choices, required=False)


class MemberFilter(FilterSet):
    role = OneOf("role", Role.values)


class MemberViewSet(TenantViewSet):
    """Only administrators see them; one administrator must remain."""

    model = Membership  # type: ignore[assignment]
    serializer_class = MemberSerializer
    filterset_class = MemberFilter
    orderings = {"role": "role"}
    default_ordering = ()
    search_fields = ("user__username",)
    roles = dict.fromkeys(("list", "retrieve", "create", "update", "destroy"), Role.ADMIN)

    def get_queryset(self) -> QuerySet[Any]:
        return members_of(self.tenant)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=Invitation, responses={201: MemberSerializer})
    def create(self, request: Request) -> Response:
        """Answers the same whether the user was there before or not."""
        values = read_body(Invitation, request)
        member = self.get_queryset().get(pk=add_member(self.tenant, **values).pk)
        name = member.user.username
        email = name if "@" in name else None
        return Response({**self.get_serializer(member).data, "email": email}, status=201)

    @extend_schema(request=RoleChange)
    def update(self, request: Request, id: str) -> Response:
        with transaction.atomic():
            member = self.get_locked_object()
            change_role(member, read_body(RoleChange, request).get("role", member.role))
        return self.retrieve(request, id)

    def destroy(self, request: Request, id: str) -> Response:
        with transaction.atomic():
            remove_member(self.get_locked_object())
        return Response(status=204)
