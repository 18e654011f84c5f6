"""Making flows, editing their drafts and publishing versions of them."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction
from django.db.models import Max

from campaigns.models import Category, Flow, FlowVersion, Offer, Status, SubCategory
from executor.errors import Rejected
from executor.flow.inventory import references
from executor.flow.nodes import Definition, InventoryNode
from executor.flow.parse import parse_flow
from kaireon.access.models import Tenant

MAX_NAME = 255
REFERENCED = {"Category": Category, "SubCategory": SubCategory, "Offer": Offer}


def create_flow(
    tenant: Tenant,
    *,
    key: str,
    name: str,
    config: Mapping[str, Any] | None = None,
    description: str = "",
) -> Flow:
    """Make a flow in draft; the first of a tenant becomes its default.

    Raises Rejected with every fault of key, name and definition; an empty definition is allowed.
    """
    with transaction.atomic():
        # Two first flows at once must not both become the default.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        errors = [*_key_faults(tenant, key), *_name_faults(name), *_config_faults(config)]
        if errors:
            raise Rejected.of(errors)
        flow = Flow(tenant=tenant, key=key, name=name, description=description)
        flow.draft_config = dict(config or {})
        flow.is_default = not Flow.objects.of(tenant).filter(is_default=True).exists()
        flow.save(force_insert=True)
    flow.refresh_from_db(fields=["created_at"])
    return flow


def save_draft(flow: Flow, config: Mapping[str, Any]) -> Flow:
    """Replace the draft and raise the row version; published versions stay as they are.

    Raises Rejected with every fault of the definition; an empty definition is allowed.
    """
    errors = _config_faults(config)
    if errors:
        raise Rejected.of(errors)
    with transaction.atomic():
        _lock(flow)
        flow.draft_config = dict(config)
        flow.version += 1
        flow.save(update_fields=["draft_config", "version", "updated_at"])
    return flow


def publish_flow(flow: Flow, *, notes: str = "") -> FlowVersion:
    """Make the draft the next version, which runs use from now on, and activate the flow.

    Raises Rejected if the draft is not a whole flow or names objects the tenant does not have.
    """
    with transaction.atomic():
        _lock(flow)
        if not flow.draft_config:
            raise Rejected(("draftConfig", "is empty: save a definition before publishing"))
        errors = _unknown_references(flow, parse_flow(flow.draft_config))
        if errors:
            raise Rejected.of(errors)
        newest = flow.versions.aggregate(newest=Max("version"))["newest"] or 0
        version: FlowVersion = flow.versions.create(
            version=newest + 1, config=flow.draft_config, notes=notes
        )
        flow.status = Status.ACTIVE
        flow.save(update_fields=["status", "updated_at"])
    version.refresh_from_db(fields=["published_at"])
    return version


def _lock(flow: Flow) -> None:
    flow.refresh_from_db(from_queryset=Flow.unscoped.select_for_update())


def _key_faults(tenant: Tenant, key: str) -> list[tuple[str, str]]:
    try:
        validate_slug(key)
    except ValidationError:
        return [("key", f'must be letters, digits, - and _ only, got "{key}"')]
    if len(key) > MAX_NAME:
        return [("key", f"has {len(key)} characters, at most {MAX_NAME} are allowed")]
    if Flow.objects.of(tenant).filter(key=key).exists():
        return [("key", f'there is a flow with the key "{key}" already: choose another')]
    return []


def _name_faults(name: str) -> list[tuple[str, str]]:
    if not name.strip():
        return [("name", "is required")]
    if len(name) > MAX_NAME:
        return [("name", f"has {len(name)} characters, at most {MAX_NAME} are allowed")]
    return []


def _config_faults(config: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    try:
        if config:
            parse_flow(config)
    except Rejected as error:
        return error.errors
    return []


def _unknown_references(flow: Flow, definition: Definition) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    for position, node in enumerate(definition.nodes):
        if not isinstance(node, InventoryNode):
            continue
        named = list(references(node.config))
        for model in {reference.model for reference in named}:
            keys = [reference.key for reference in named if reference.model == model]
            rows = REFERENCED[model].objects.of(flow.tenant_id).filter(pk__in=keys)
            known = set(rows.values_list("pk", flat=True))
            errors.extend(
                (
                    f"nodes[{position}].config.{reference.path}",
                    f'node "{node.id}": there is no {model} "{reference.public_id}"',
                )
                for reference in named
                if reference.model == model and reference.key not in known
            )
    return errors
