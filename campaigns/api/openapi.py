"""How the API describes itself: OpenAPI 3.1 out of the code, kept in openapi.json beside this file.

`manage.py spectacular` writes it; a test says when the code has moved on.
"""

import copy
from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiFilterExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import force_instance
from drf_spectacular.utils import OpenApiExample

from campaigns.api import fields
from campaigns.api.errors import CODES
from campaigns.api.idempotency import HEADER, MAX_LENGTH
from campaigns.api.samples import REQUESTS
from kaireon import ids

API = "/api/v1/"
ERROR: Mapping[str, Any] = {
    "type": "object",
    "description": "What every failure answers.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "enum": [*CODES.values(), "error"]},
                "message": {"type": "string"},
                "status": {"type": "integer"},
                "fields": {
                    "type": "object",
                    "description": "What is wrong, by field.",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
            "required": ["code", "message", "status"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
    "example": {
        "error": {
            "code": "invalid_request",
            "message": 'scheduleTime: Must be a time of day as HH:mm, such as "09:00".',
            "status": 400,
            "fields": {"scheduleTime": ['Must be a time of day as HH:mm, such as "09:00".']},
        }
    },
}
#: Which failures an operation may answer with, besides those of every operation.
EVERY = (400, 401, 403, 405, 406, 429)
WITH_ID = (404,)
WRITING = (409, 413, 415)
IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": "The same key and body again within 24 hours get the first answer.",
    "schema": {"type": "string", "pattern": f"^[ -~]{{1,{MAX_LENGTH}}}$"},
}
SUMMARIES = {
    "list": "List {names}",
    "create": "Create {name}",
    "retrieve": "Show {name}",
    "update": "Change {name}",
    "destroy": "Delete {name}",
}
EXPECTED_VERSION = {
    "type": ["integer", "null"],
    "minimum": 1,
    "description": "The version that was read; a 409 when it has changed since.",
}


class ApiSchema(AutoSchema):
    """Describes PUT as what it is here: any subset of the fields, like PATCH."""

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix(API).partition("/")[0]]

    def get_summary(self) -> str | None:
        """List offers, Create an offer, and so forth; other actions speak for themselves."""
        text = SUMMARIES.get(str(getattr(self.view, "action", "")))
        model = getattr(self.view, "model", None)
        is_below = "/" in self.path.removeprefix(API).removesuffix("/{id}")
        if text is None or model is None or is_below:
            return None
        name, names = str(model._meta.verbose_name), str(model._meta.verbose_name_plural)
        return text.format(name=f"{'an' if name[0] in 'aeiou' else 'a'} {name}", names=names)

    def get_description(self) -> str:  # type: ignore[override]
        """What the action says of itself, or its view, but no base class of that."""
        action = getattr(self.view, str(getattr(self.view, "action", "")), None)
        return cleandoc(getattr(action, "__doc__", None) or type(self.view).__doc__ or "")

    def get_operation_id(self) -> str:
        """The path's words and what is done there: runs_campaign_runs_trigger."""
        words = [word for word in self.path.removeprefix(API).split("/") if "{" not in word]
        action = str(getattr(self.view, "action", self.method))
        if self.method == "PATCH":
            action = f"partial_{action}"
        if action != words[-1].replace("-", "_"):
            words.append(action)
        return "_".join(words).replace("-", "_")

    def get_paginated_name(self, serializer_name: str) -> str:
        name = f"{serializer_name.removesuffix('Row')}List"
        return str(getattr(self.view, "list_component", name))

    def get_examples(self) -> list[OpenApiExample]:
        value = REQUESTS.get(self.path.removeprefix(API)) if self.method == "POST" else None
        return [OpenApiExample("Example", value, request_only=True)] if value else []

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        if direction == "request" and field.read_only:
            return None  # before anything nested in it becomes a component
        return super()._map_serializer_field(field, direction, bypass_extensions)

    def _map_serializer(
        self, serializer: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        """A change may say of which version it is made."""
        schema = super()._map_serializer(serializer, direction, bypass_extensions)
        version = getattr(self.view, "version_field", None)
        if direction == "request" and getattr(serializer, "partial", False) and version:
            schema["properties"].setdefault(version, EXPECTED_VERSION)
        return schema

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        """An answer shows all fields of a row."""
        schema = super()._map_basic_serializer(serializer, direction)
        if not type(serializer).__doc__:
            schema.pop("description", None)  # that of a base class
        if direction == "response":
            schema["additionalProperties"] = False
            if hasattr(getattr(serializer, "Meta", None), "model"):
                schema["required"] = sorted(schema["properties"])
        return schema

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        return [path_parameter(name, getattr(self.view, "model", None)) for name in variables]

    def _get_request_for_media_type(self, serializer: Any, direction: Any = "request") -> Any:
        """A resource's PUT takes any subset of the fields, even none."""
        if self.method != "PUT" or not hasattr(self.view, "version_field"):
            return super()._get_request_for_media_type(serializer, direction)
        serializer = copy.copy(force_instance(serializer))
        serializer.partial = True
        schema, _ = super()._get_request_for_media_type(serializer, direction)
        return schema, False


def path_parameter(name: str, model: type[Any] | None) -> dict[str, Any]:
    known = name == "id" and model is not None and model.__name__ in ids.PREFIXES
    schema = fields.id_schema(model.__name__) if known and model else {"type": "string"}
    return {"in": "path", "name": name, "required": True, "schema": schema}


def add_failures(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Tell of every operation which failures it may answer with."""
    result["components"].setdefault("schemas", {})["Error"] = ERROR
    for operations in result["paths"].values():
        for method, operation in operations.items():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            statuses = [*EVERY, *(WITH_ID if "id" in names else ())]
            if method in ("post", "put", "patch", "delete"):
                statuses += [*WITH_ID, *WRITING]
            if method == "post":
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            for status in sorted(set(statuses)):
                operation["responses"].setdefault(str(status), failure(status))
            # By the web server, before it is a request to the API: this one has no body of ours.
            operation["responses"].setdefault("414", {"description": "Address too long"})
    return result


def failure(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    described: dict[str, Any] = {
        "description": CODES[status].replace("_", " ").capitalize(),
        "content": {"application/json": {"schema": schema}},
    }
    if status == 429:
        seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        described["headers"] = {"Retry-After": seconds}
    return described


def close_requests(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Unknown fields are refused, so say so of every object that a request is made of."""
    schemas = result["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return result


class KeyScheme(OpenApiAuthenticationExtension):
    target_class = "kaireon.access.authentication.ApiKeyAuthentication"
    name = ["apiKey", "apiKeyHeader"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "krn_…"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return [{"apiKey": []}, {"apiKeyHeader": []}]


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "kaireon.access.authentication.MemberAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class OwnIdSchema(OpenApiSerializerFieldExtension):
    target_class = fields.OwnId

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        model = getattr(getattr(self.target.parent, "Meta", None), "model", None)
        return fields.id_schema(model.__name__) if model else {"type": "string"}


class PublicIdSchema(OpenApiSerializerFieldExtension):
    target_class = fields.PublicId
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return fields.id_schema(self.target.model.__name__)


class PublicIdsSchema(OpenApiSerializerFieldExtension):
    target_class = fields.PublicIds

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        items = fields.id_schema(self.target.model.__name__)
        limits = {"maxItems": self.target.limit, "uniqueItems": True}
        return {"type": "array", "items": items, **(limits if direction == "request" else {})}


class KeySchema(OpenApiSerializerFieldExtension):
    target_class = fields.Key

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[-_]*[A-Za-z0-9][A-Za-z0-9_-]*$"}


class JsonObjectSchema(OpenApiSerializerFieldExtension):
    target_class = fields.JsonObject

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": True}


class JsonListSchema(OpenApiSerializerFieldExtension):
    target_class = fields.JsonList

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {"type": "array", "items": {}}


class SearchParameter(OpenApiFilterExtension):
    target_class = "rest_framework.filters.SearchFilter"

    def get_schema_operation_parameters(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        view: Any = auto_schema.view
        if not view.search_fields:
            return []
        return [query("search", {"type": "string"}, "Words that the row's texts contain.")]


class PageParameters(OpenApiFilterExtension):
    target_class = "campaigns.api.pagination.CursorPaged"

    def get_schema_operation_parameters(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        view: Any = auto_schema.view
        signed = [f"{sign}{name}" for name in view.orderings for sign in ("", "-")]
        return [
            limit(self.target),
            query("cursor", {"type": "string"}, "The nextCursor of the page before."),
            query("ordering", {"type": "string", "enum": signed}, "What to order by."),
        ]


class OffsetParameters(OpenApiFilterExtension):
    target_class = "campaigns.api.pagination.RunsPaged"
    match_subclasses = True

    def get_schema_operation_parameters(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        offset = {"type": "integer", "minimum": 0, "default": 0, "maximum": 2**31 - 1}
        return [limit(self.target), query("offset", offset, "Rows to skip.")]


def limit(paginator: Any) -> dict[str, Any]:
    bounds = {"minimum": 1, "maximum": paginator.max_limit, "default": paginator.default_limit}
    return query("limit", {"type": "integer", **bounds}, "Most rows of a page.")


def query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
