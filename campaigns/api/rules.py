"""Qualification rules: what a candidate must survive."""

from typing import Any

from django.db.models import Model
from rest_framework.serializers import BaseSerializer

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.api.filters import FilterSet, OneOf, ScopeIdFilter
from campaigns.api.scopes import ScopeId, Scopes
from campaigns.api.viewsets import ResourceViewSet
from campaigns.models import QualificationRule, Status
from campaigns.services.rules import create_rule, update_rule


class QualificationRuleSerializer(CamelModelSerializer[QualificationRule]):
    """A condition that every candidate in its scope must meet."""

    id = fields.OwnId()
    scopeId = ScopeId(QualificationRule.Scope, required=False, allow_null=True)
    scopes = Scopes(QualificationRule.Scope, required=False)
    config = fields.JsonObject()

    class Meta:
        model = QualificationRule
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
            "stage",
            "on_missing",
            "version",
            "created_at",
            "updated_at",
        ]


class RuleFilter(FilterSet):
    status = OneOf("status", Status)
    ruleType = OneOf("rule_type", QualificationRule.RuleType)
    scope = OneOf("scope", QualificationRule.Scope)
    scopeId = ScopeIdFilter(QualificationRule.Scope)
    stage = OneOf("stage", QualificationRule.Stage)
    onMissing = OneOf("on_missing", QualificationRule.OnMissing)


class RuleViewSet(ResourceViewSet):
    """Rules come in the order a run applies them: by priority, the oldest first among equals."""

    model = QualificationRule
    serializer_class = QualificationRuleSerializer
    filterset_class = RuleFilter
    search_fields = ("name", "description")
    orderings = {**ResourceViewSet.orderings, "priority": "priority"}
    default_ordering = ("-priority",)

    def perform_create(self, serializer: BaseSerializer[Model]) -> None:
        serializer.instance = create_rule(self.tenant, serializer.validated_data)

    def perform_update(self, row: Any, fields: dict[str, Any], expected: int | None) -> None:
        update_rule(row, fields, expected)
