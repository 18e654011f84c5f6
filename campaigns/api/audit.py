"""The audit log: who changed what, when, from what to what. Nobody writes it."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer, camel
from campaigns.api.pagination import CursorPaged, read_integer
from campaigns.api.viewsets import TenantViewSet
from campaigns.services.audit import (
    ACTIONS,
    Change,
    Place,
    Wanted,
    count_changes,
    kinds,
    list_changes,
)
from kaireon import ids
from kaireon.access.models import Role

MAX_NUMBER = 2**31 - 1


CURSOR = OpenApiParameter("cursor", str, description="The nextCursor of the page before.")
LIMIT = OpenApiParameter(
    "limit",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": CursorPaged.max_limit,
        "default": CursorPaged.default_limit,
    },
    description="Most rows of a page.",
)


class AuditPaged(CursorPaged):
    """Newest first and in no other order: rows of many tables have no field in common."""

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return []  # the view names its own


@extend_schema_field(fields.id_schema(*(model.__name__ for model in kinds().values())))
class LoggedId(fields.Text):
    """The id of a row of any kind that is logged."""


class AuditFilter(StrictSerializer):
    """Which changes to list; `from` is included, `to` is not."""

    entityType = fields.Choice(choices=list(kinds()), required=False)
    entityId = LoggedId(required=False)
    action = fields.Choice(choices=list(ACTIONS.values()), required=False)
    changedBy = fields.Text(source="changed_by", required=False, allow_blank=True)

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word that Python keeps for itself."""
        times = {
            "from": fields.UtcDateTime(source="since", required=False),
            "to": fields.UtcDateTime(source="until", required=False),
        }
        return {**super().get_fields(), **times}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind, public_id = attrs.pop("entityType", None), attrs.pop("entityId", None)
        if public_id is None:
            return {**attrs, "kind": kind}
        named, key = read_id(public_id)
        if key is None:
            raise serializers.ValidationError({"entityId": ["Is not an id of anything logged."]})
        if kind not in (None, named):
            raise serializers.ValidationError({"entityId": [f"Is not an id of this type: {kind}."]})
        return {**attrs, "kind": named, "key": key}


@extend_schema_field({"type": "object", "additionalProperties": True})
class Values(fields.JsonObject):
    """The values of a row's fields by name; null where there was no row."""

    def to_representation(self, value: Any) -> Any:
        time = fields.UtcDateTime()
        return {
            camel(name): time.to_representation(one) if isinstance(one, datetime) else one
            for name, one in value.items()
        }


class AuditEntrySerializer(serializers.Serializer[Any]):
    """A change; of an update only the fields that it changed."""

    id = serializers.SerializerMethodField()
    at = fields.UtcDateTime(source="place.at")
    action = fields.Choice(choices=list(ACTIONS.values()))
    entityType = fields.Choice(choices=list(kinds()), source="place.kind")
    entityId = serializers.SerializerMethodField()
    entityName = serializers.CharField(source="name")
    changedBy = serializers.CharField(source="changed_by")
    reason = serializers.CharField(allow_null=True)
    before = Values(allow_null=True)
    after = Values(allow_null=True)
    version = serializers.IntegerField(allow_null=True)

    def get_id(self, change: Change) -> str:
        model = kinds()[change.place.kind].__name__
        return f"aud_{ids.encode(model, change.place.history_id)}"

    @extend_schema_field(LoggedId())
    def get_entityId(self, change: Change) -> str:
        return ids.encode(kinds()[change.place.kind].__name__, change.key)


class AuditViewSet(TenantViewSet):
    """The changes of configuration, members and keys, newest first."""

    serializer_class = AuditEntrySerializer
    pagination_class = AuditPaged
    filter_backends = ()
    roles = {"list": Role.ADMIN}

    def known_parameters(self) -> list[str]:
        return ["limit", "cursor", *AuditFilter().fields]

    @extend_schema(parameters=[AuditFilter, CURSOR, LIMIT])
    def list(self, request: Request) -> Response:
        page = AuditPaged()
        page.limit = read_integer(request, "limit", page.default_limit, (1, page.max_limit))
        wanted, place = read_filter(request), read_place(request)
        changes = list_changes(self.tenant, wanted, place, page.limit + 1)
        page.total = count_changes(self.tenant, wanted)
        shown, more = changes[: page.limit], changes[page.limit :]
        page.next_cursor = cursor_of(shown[-1].place) if more else None
        return page.get_paginated_response(AuditEntrySerializer(shown, many=True).data)


def read_filter(request: Request) -> Wanted:
    given = request.query_params.dict()
    read = AuditFilter(data={k: v for k, v in given.items() if k not in ("limit", "cursor")})
    read.is_valid(raise_exception=True)
    return Wanted(**read.validated_data)


def read_id(public_id: str) -> tuple[str | None, int | None]:
    """Return the kind and the key that a public id stands for."""
    for kind, model in kinds().items():
        key = ids.decode(model.__name__, public_id)
        if key is not None:
            return kind, key
    return None, None


def cursor_of(place: Place) -> str:
    text = json.dumps([place.at.isoformat(), place.kind, place.history_id])
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_place(request: Request) -> Place | None:
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        at, kind, number = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = Place(datetime.fromisoformat(at), kind, number)
        if kind not in kinds() or type(number) is not int or not 0 < number <= MAX_NUMBER:
            raise ValueError("of no change")
        if place.at.tzinfo is None:
            raise ValueError("at no time")
    except (ValueError, TypeError, RecursionError) as error:
        message = "Must be the nextCursor of a page of this list."
        raise ValidationError({"cursor": [message]}) from error
    return place
