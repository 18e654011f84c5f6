"""What all endpoints share: rows of the caller's tenant, found by public id or a 404."""

from typing import Any

from django.db.models import Model, QuerySet
from rest_framework import mixins, viewsets
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from campaigns.api.camel import StrictSerializer
from campaigns.api.pagination import Paged
from campaigns.services.resources import create_row
from kaireon import ids
from kaireon.access.authentication import access_of
from kaireon.access.models import Tenant, TenantScoped


class TenantViewSet(viewsets.GenericViewSet[Any]):
    """Rows of one model; `get_queryset` is the only door to them."""

    model: type[TenantScoped]
    pagination_class = Paged

    @property
    def tenant(self) -> Tenant:
        return access_of(self.request).tenant

    def get_queryset(self) -> QuerySet[Any]:
        ordering = self.model._meta.ordering or ()
        return self.model.objects.of(self.tenant).order_by(*ordering, "pk")

    def get_object(self) -> Any:
        return find_row(self.get_queryset(), self.kwargs["id"])


class ResourceViewSet(
    mixins.CreateModelMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    TenantViewSet,
):
    """List, create and detail of a resource that is a row and nothing more."""

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_row(self.model, self.tenant, serializer.validated_data)


def find_row(rows: QuerySet[Any], public_id: object) -> Any:
    """Return the row; a malformed, unknown or foreign id raises NotFound alike."""
    key = ids.decode(rows.model.__name__, public_id)
    row = None if key is None else rows.filter(pk=key).first()
    if row is None:
        raise NotFound(f"There is no {rows.model._meta.verbose_name} with this id.")
    return row


def read_body(serializer: type[StrictSerializer], request: Request) -> dict[str, Any]:
    """Return the values of the body. Raises ValidationError with every fault."""
    read = serializer(data=request.data)
    read.is_valid(raise_exception=True)
    values: dict[str, Any] = read.validated_data
    return values
