"""API keys: made, shown once, listed without their secret, revoked."""

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer, StrictSerializer
from campaigns.api.errors import body
from campaigns.api.filters import FilterSet, Flag, OneOf
from campaigns.api.idempotency import ShownOnce
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.services.api_keys import issue_key
from kaireon.access.authentication import access_of
from kaireon.access.models import ApiKey, Role

MAX_REASON = 100
WARNING = "Keep this key now: it is stored as a hash only and cannot be shown again."
REASON = OpenApiParameter(
    "reason", {"type": "string", "maxLength": MAX_REASON}, description="Why, for the audit log."
)
OLD_ID = OpenApiParameter(
    "id", fields.id_schema("ApiKey"), required=True, description="Which key to revoke."
)


class ApiKeySerializer(CamelModelSerializer[ApiKey]):
    """A key without its secret."""

    id = fields.OwnId()
    prefix = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "role",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ]
        read_only_fields = ["revoked_at"]

    def get_prefix(self, key: ApiKey) -> str:
        return f"krn_{key.public_part}"


class NewApiKeySerializer(ApiKeySerializer):
    """A key as it is shown once."""

    key = serializers.CharField(read_only=True)
    warning = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key", "warning"]


class ApiKeyInput(StrictSerializer):
    """A key to be made: its role says what it may do, there are no scopes."""

    name = fields.Text(max_length=100, required=False)
    role = fields.Choice(choices=Role.choices, required=False)
    expiresAt = fields.UtcDateTime(source="expires_at", required=False, allow_null=True)


class Revocation(StrictSerializer):
    reason = fields.Text(max_length=MAX_REASON, required=False, allow_blank=True)


class Active(Flag):
    """Keys that are accepted, or those that are not any more."""

    def filter(self, qs: QuerySet[ApiKey], value: str) -> QuerySet[ApiKey]:
        active = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))
        return {"true": qs.filter(active), "false": qs.exclude(active)}.get(value, qs)


class ApiKeyFilter(FilterSet):
    active = Active("revoked_at")
    role = OneOf("role", Role.values)


class ApiKeyViewSet(TenantViewSet):
    """Only administrators see them; the text of a key is shown once, when it is made."""

    model = ApiKey
    serializer_class = ApiKeySerializer
    filterset_class = ApiKeyFilter
    orderings = {"name": "name", "createdAt": "created_at"}
    search_fields = ("name",)
    query_params = {"destroy": ("reason",), "revoke": ("id", "reason")}
    roles = dict.fromkeys(("list", "retrieve", "create", "destroy", "revoke"), Role.ADMIN)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=ApiKeyInput, responses={201: NewApiKeySerializer})
    def create(self, request: Request) -> Response:
        values = read_body(ApiKeyInput, request)
        key, text = issue_key(self.tenant, access_of(request).role, **values)
        shown = {**self.get_serializer(key).data, "key": text, "warning": WARNING}
        again = f"This request has made the key {key.public_id}, which is not shown again."
        return ShownOnce(shown, status=201, later=body(409, again))

    @extend_schema(summary="Revoke an API key", parameters=[REASON])
    def destroy(self, request: Request, id: str) -> Response:
        """Revoke the key; it stays in the list."""
        reason = read_reason(request)
        with transaction.atomic():
            self.get_locked_object().revoke(reason)
        return Response(status=204)

    @extend_schema(summary="Revoke an API key", parameters=[OLD_ID, REASON], responses={204: None})
    def revoke(self, request: Request) -> Response:
        """Revoke the key that `id` names, as documented."""
        if "id" not in request.query_params:
            raise ValidationError({"id": ["This parameter is required."]})
        self.kwargs["id"] = request.query_params["id"]
        return self.destroy(request, self.kwargs["id"])


def read_reason(request: Request) -> str:
    """Why the key is revoked, out of the body or the query."""
    named = {"reason": request.query_params.get("reason", "")}
    read = Revocation(data=request.data or named)
    read.is_valid(raise_exception=True)
    return str(read.validated_data.get("reason", ""))
