"""What is wrong with a flow, each fault under the documented name of its field."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction

from campaigns.models import (
    AlgorithmModel,
    Category,
    Channel,
    Flow,
    Offer,
    Placement,
    RankingProfile,
    Schema,
    Segment,
    Status,
    SubCategory,
)
from campaigns.services.references import find_keys
from executor.errors import Rejected
from executor.flow.configs import ScoreConfig
from executor.flow.named import Named, named_in
from executor.flow.nodes import Definition, definition_schema
from executor.flow.parse import parse_flow
from executor.flow.printed import plan_text
from executor.planning import plan_now
from executor.spec import segment_kinds
from kaireon.access.models import Tenant, TenantScoped

Fault = tuple[str, str]
MAX_NAME = 255
REFERENCED: Mapping[str, type[TenantScoped]] = {
    "Category": Category,
    "SubCategory": SubCategory,
    "Offer": Offer,
    "Channel": Channel,
    "Placement": Placement,
    "RankingProfile": RankingProfile,
    "Schema": Schema,
}


@dataclass(frozen=True, slots=True)
class DraftCheck:
    """What is wrong with a definition; the plan, line by line, if it was compiled."""

    errors: list[Fault]
    plan: list[str] | None = None


def check_draft(tenant: Tenant, config: Any, segment: Segment | None = None) -> DraftCheck:
    """Check a definition as publishing would and, for a segment's columns, as a run would."""
    with transaction.atomic():
        errors = draft_faults(tenant.pk, config)
    if errors or segment is None:
        return DraftCheck(errors)
    try:
        kinds = segment_kinds(segment)
    except Rejected as error:
        return DraftCheck([("segmentId", text) for _, text in error.errors])
    try:
        plan = plan_now(tenant, config, kinds, segment.base_schema)
    except Rejected as error:
        return DraftCheck(list(below_draft(error)))
    return DraftCheck([], plan_text(plan).splitlines())


class FlowSummary(TypedDict):
    nodeCount: int
    scoringMethod: str | None


def summarize_flow(config: Mapping[str, Any]) -> FlowSummary:
    """Return what a list of versions says about one of them."""
    nodes = config.get("nodes", [])
    scores = [node.get("config", {}) for node in nodes if node["type"] == "score"]
    default = ScoreConfig.model_fields["method"].default
    method = scores[0].get("method", default) if scores else None
    return {"nodeCount": len(nodes), "scoringMethod": method}


def flow_schema() -> dict[str, Any]:
    """The JSON Schema of definitions."""
    return definition_schema()


def key_faults(key: str) -> Iterator[Fault]:
    try:
        validate_slug(key)
    except ValidationError:
        yield "key", f'must be letters, digits, - and _ only, got "{key}"'
    if len(key) > MAX_NAME:
        yield "key", f"has {len(key)} characters, at most {MAX_NAME} are allowed"


def name_faults(name: str) -> Iterator[Fault]:
    if not name.strip():
        yield "name", "is required"
    elif len(name) > MAX_NAME:
        yield "name", f"has {len(name)} characters, at most {MAX_NAME} are allowed"


def status_faults(flow: Flow, status: str) -> Iterator[Fault]:
    is_published = flow.pk is not None and flow.versions.exists()
    if status == Status.ACTIVE and not is_published:
        yield "status", "Cannot be active before the flow is published; publishing activates it."


def config_faults(config: Mapping[str, Any] | None) -> list[Fault]:
    try:
        if config:
            parse_flow(config)
    except Rejected as error:
        return list(below_draft(error))
    return []


def below_draft(error: Rejected) -> Iterator[Fault]:
    """The faults of a definition under the field that holds it; those of rules as they are."""
    for path, text in error.errors:
        own = path if path.startswith("rules[") else f"draftConfig.{path}".rstrip(".")
        yield own, text


def draft_faults(tenant: int, config: object) -> list[Fault]:
    try:
        definition = parse_flow(config)
        errors = unknown_references(tenant, definition)
        if errors:
            raise Rejected.of(errors)
    except Rejected as error:
        return list(below_draft(error))
    return []


def unknown_references(tenant: int, definition: Definition) -> list[Fault]:
    """Faults for what the tenant does not have; what it has stays until the transaction ends."""
    named = list(named_in(definition))
    errors: list[Fault] = []
    for model in dict.fromkeys(one.model for one in named):
        ours = [one for one in named if one.model == model]
        known = find_named(tenant, model, {one.name for one in ours})
        errors.extend((one.path, missing(one)) for one in ours if one.name not in known)
    return errors


def find_named(tenant: int, model: str, names: set[str]) -> Collection[str]:
    """Which of the ids, or keys, are of rows that a flow can use."""
    if model == "AlgorithmModel":
        rows = AlgorithmModel.objects.of(tenant).filter(key__in=names, status=Status.ACTIVE)
        return set(rows.select_for_update(no_key=True).values_list("key", flat=True))
    if model == "Flow":
        flows = Flow.objects.of(tenant).filter(key__in=names).select_for_update(no_key=True)
        return {flow.key for flow in flows if flow.published is not None}
    return find_keys(REFERENCED[model], tenant, names)


def missing(named: Named) -> str:
    words = {"AlgorithmModel": "active model with the key", "Flow": "published flow with the key"}
    return f'node "{named.node}": there is no {words.get(named.model, named.model)} "{named.name}"'
