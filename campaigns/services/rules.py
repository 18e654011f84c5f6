"""Making qualification rules that the flow engine can read."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from django.db import transaction
from django.utils import timezone

from campaigns.models import QualificationRule
from campaigns.services.references import place_in_scopes
from campaigns.services.resources import check_version, create_row, update_row
from executor.errors import Rejected
from executor.flow.catalog import RuleFacts, read_places
from executor.flow.operators import quoted
from executor.flow.rule_configs import DEFAULT_STAGE
from executor.flow.rules import Facts, compile_rule
from executor.flow.types import Kind
from kaireon.access.models import Tenant

Fault = tuple[str, str]


def create_rule(tenant: Tenant, fields: Mapping[str, Any]) -> QualificationRule:
    """Insert a rule. Raises Rejected for what no run could evaluate, Conflict for a name it has.

    Which columns there are, and of what type, is only known once a flow runs for a segment.
    """
    stage = DEFAULT_STAGE.get(fields.get("rule_type", ""), QualificationRule.Stage.ELIGIBILITY)
    with transaction.atomic():
        values = checked(QualificationRule(tenant=tenant), {"stage": stage, **fields})
        return create_row(QualificationRule, tenant, values)


def update_rule(
    rule: QualificationRule, fields: Mapping[str, Any], expected: int | None
) -> QualificationRule:
    """Change any subset of the fields of a rule that the caller has locked."""
    check_version(rule, expected)
    return update_row(rule, checked(rule, fields))


def checked(rule: QualificationRule, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values to store. Raises Rejected with all that is wrong with the outcome."""
    values, faults = place_in_scopes(rule, fields)
    for name, value in values.items():
        setattr(rule, name, value)
    faults = faults or rule_faults(rule)
    if faults:
        raise Rejected.of(faults)
    return values


def rule_faults(rule: QualificationRule) -> list[Fault]:
    """Return what is wrong whatever type the columns have, under the documented field names."""
    facts = RuleFacts(
        key=0,
        name=rule.name,
        rule_type=rule.rule_type,
        scope=rule.scope,
        scope_key=rule.scope_key,
        config=rule.config,
        priority=rule.priority,
        stage=rule.stage,
        on_missing=rule.on_missing,
        scopes=read_places(rule.scopes),
    )
    by_kind = [faults_with(facts, kind) for kind in Kind]
    wrong = set.intersection(*({place(path) for path, _ in faults} for faults in by_kind))
    told: dict[str, Fault] = {}
    for path, text in sorted(chain(*by_kind), key=is_about_type):
        if place(path) in wrong:
            told.setdefault(place(path), (path, text))
    return list(told.values())


def place(path: str) -> str:
    """The comparison that a path such as `config.conditions[0].value` is about."""
    return path.rpartition(".")[0] or path


def is_about_type(fault: Fault) -> bool:
    """Whether another type of column might do: an operator fits some types only."""
    return fault[0].endswith(".operator")


class EveryColumn(dict[str, Kind]):
    """Customers that have any column one asks for, all of one kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Kind:
        return self.kind


def faults_with(facts: RuleFacts, kind: Kind) -> list[Fault]:
    prefix = f"rules[{quoted(facts.name)}]."
    try:
        compile_rule(facts, Facts(kinds=EveryColumn(kind), now=timezone.now()))
    except Rejected as error:
        return [(path.removeprefix(prefix), text) for path, text in error.errors]
    return []
