"""Contact policies: how often and when a customer may be contacted. Administrators write them."""

from typing import Any

from django.db.models import Model
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, OneOf, ScopeIdFilter
from campaigns.api.scopes import ScopeId, Scopes
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import ContactPolicy, Status
from campaigns.services.policies import create_policy, update_policy
from kaireon.access.models import Role


class ContactPolicySerializer(CamelModelSerializer[ContactPolicy]):
    """A contact policy; docs/api-policies.md tells what each type's config may say."""

    id = fields.OwnId()
    scopeId = ScopeId(ContactPolicy.Scope, required=False, allow_null=True)
    scopes = Scopes(ContactPolicy.Scope, required=False)
    config = fields.JsonObject(required=False)

    class Meta:
        model = ContactPolicy
        fields = [
            "id",
            "name",
            "description",
            "status",
            "rule_type",
            "scope",
            "scopeId",
            "scopes",
            "config",
            "priority",
            "version",
            "created_at",
            "updated_at",
        ]


class PolicyFilter(FilterSet):
    status = OneOf("status", Status)
    ruleType = OneOf("rule_type", ContactPolicy.RuleType)
    scope = OneOf("scope", ContactPolicy.Scope)
    scopeId = ScopeIdFilter(ContactPolicy.Scope)


class PolicyViewSet(ResourceViewSet):
    """Policies come in the order they are applied: by priority, the oldest first among equals."""

    model = ContactPolicy
    serializer_class = ContactPolicySerializer
    filterset_class = PolicyFilter
    search_fields = ("name", "description")
    orderings = {**ResourceViewSet.orderings, "priority": "priority"}
    default_ordering = ("-priority",)
    roles = {"create": Role.ADMIN, "update": Role.ADMIN, "destroy": Role.ADMIN}

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_policy(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_policy(row, fields, expected)
