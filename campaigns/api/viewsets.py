"""What all endpoints share: rows of the caller's tenant, found by public id or a 404."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet
from rest_framework import viewsets
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from campaigns.api.camel import StrictSerializer
from campaigns.api.idempotency import HEADER, answer_once
from campaigns.api.pagination import CursorPaged
from campaigns.services.resources import create_row, delete_row, update_row
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.authentication import access_of
from kaireon.access.models import Tenant, TenantScoped


class TenantViewSet(viewsets.GenericViewSet[Any]):
    """Rows of one model; `get_queryset` is the only door to them."""

    model: type[TenantScoped]
    pagination_class: type[BasePagination] = CursorPaged
    #: What `?ordering=` may say, and the field it stands for; fields must not be null.
    orderings: Mapping[str, str] = {
        "name": "name",
        "createdAt": "created_at",
        "updatedAt": "updated_at",
    }
    default_ordering: tuple[str, ...] = ("-created_at",)
    #: What tells rows apart that are equal in the ordering.
    cursor_key = "pk"
    search_fields: tuple[str, ...] = ()
    #: Query parameters of actions other than `list`, by action.
    query_params: Mapping[str, tuple[str, ...]] = {}

    @property
    def tenant(self) -> Tenant:
        if getattr(self, "swagger_fake_view", False):  # nobody calls: the API describes itself
            return Tenant(pk=0)
        return access_of(self.request).tenant

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action is not None:  # else the method is not allowed, whatever it says
            self.refuse_unknown_parameters(request)
        if request.method == "POST" and HEADER in request.headers and hasattr(self, "post"):
            # Where the dispatcher looks for what answers a POST, after this method.
            self.post = partial(answer_once, work=self.post)  # type: ignore[has-type]

    def options(  # type: ignore[override]
        self, request: Request, *args: Any, **kwargs: Any
    ) -> Response:
        """Only which methods there are, in the header `Allow`; openapi.json tells the rest."""
        return Response(status=204)

    def refuse_unknown_parameters(self, request: Request) -> None:
        known = self.known_parameters()
        faults = {
            name: [f"Unknown parameter; known are: {', '.join(known) or 'none'}."]
            for name in request.query_params
            if name not in known
        }
        if faults:
            raise ValidationError(faults)

    def known_parameters(self) -> list[str]:
        """The query parameters that the present action reads."""
        if self.action != "list":
            return list(self.query_params.get(str(self.action), ()))
        known = ["limit", "cursor", "ordering"]
        if not isinstance(self.paginator, CursorPaged):
            known = ["limit", "offset"]
        filterset = getattr(self, "filterset_class", None)
        known += filterset.base_filters if filterset else ()
        return [*known, *(["search"] if self.search_fields else [])]

    def get_queryset(self) -> QuerySet[Any]:
        return self.model.objects.of(self.tenant)

    def get_object(self) -> Any:
        return find_row(self.get_queryset(), self.kwargs["id"])

    def get_locked_object(self) -> Any:
        """The row, which nobody else changes until the transaction ends."""
        rows = self.get_queryset().select_for_update(of=("self",), no_key=True)
        return find_row(rows, self.kwargs["id"])


class ResourceViewSet(TenantViewSet):
    """List, create, detail, change and delete of a resource."""

    #: What the API calls the version that a change may say it was made from.
    version_field = "version"

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, id: str) -> Response:
        return Response(self.get_serializer(self.get_object()).data)

    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        self.perform_create(serializer)
        return Response(self.shown(serializer.instance), status=201)

    def update(self, request: Request, id: str) -> Response:
        """Change any subset of the fields, by PUT and PATCH alike."""
        with transaction.atomic():
            row = self.get_locked_object()
            expected, data = self.read_version(request)
            serializer = self.get_serializer(row, data=data, partial=True)
            serializer.is_valid(raise_exception=True)
            self.perform_update(row, dict(serializer.validated_data), expected)
        return Response(self.shown(row))

    def destroy(self, request: Request, id: str) -> Response:
        with transaction.atomic():
            self.perform_destroy(self.get_locked_object())
        return Response(status=204)

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_row(self.model, self.tenant, serializer.validated_data)  # type: ignore[type-var]

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_row(row, fields, expected)

    def perform_destroy(self, row: Any) -> None:
        delete_row(row)

    def shown(self, row: Any) -> Any:
        """The row as every answer shows it, read anew."""
        return self.get_serializer(self.get_queryset().get(pk=row.pk)).data

    def read_version(self, request: Request) -> tuple[int | None, dict[str, Any]]:
        """Take the expected version out of the body; None if the caller does not care."""
        if not isinstance(request.data, dict):
            raise Rejected("The body must be a JSON object.")
        data = dict(request.data)
        expected = data.pop(self.version_field, None)
        if expected is not None and (type(expected) is not int or expected < 1):
            raise ValidationError({self.version_field: ["Must be an integer from 1 on."]})
        return expected, data


def find_row(rows: QuerySet[Any], public_id: object) -> Any:
    """Return the row; a malformed, unknown or foreign id raises NotFound alike."""
    key = ids.decode(rows.model.__name__, public_id)
    row = None if key is None else rows.filter(pk=key).first()
    if row is None:
        raise NotFound(f"There is no {rows.model._meta.verbose_name} with this id.")
    return row


def read_body(serializer: type[StrictSerializer], request: Request) -> dict[str, Any]:
    """Return the values of the body. Raises ValidationError with every fault."""
    read = serializer(data=request.data, context={"request": request})
    read.is_valid(raise_exception=True)
    values: dict[str, Any] = read.validated_data
    return values
