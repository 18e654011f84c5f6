"""Making flows, editing their drafts and publishing versions of them."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max

from campaigns.models import CampaignRun, Flow, FlowVersion, Status
from campaigns.services.errors import Conflict
from campaigns.services.flow_checks import (
    config_faults,
    draft_faults,
    key_faults,
    name_faults,
    status_faults,
)
from campaigns.services.keys import changed_key_faults
from campaigns.services.resources import check_version, delete_row, save_row, update_row
from executor.errors import Rejected
from executor.flow.parse import parse_flow
from kaireon.access.models import Tenant


def create_flow(
    tenant: Tenant,
    *,
    key: str,
    name: str,
    config: Mapping[str, Any] | None = None,
    description: str = "",
    status: str = Status.DRAFT,
    is_default: bool = False,
) -> Flow:
    """Make a flow; the first of a tenant becomes its default.

    Raises Rejected with every fault of key, name and definition, Conflict for a key the tenant has;
    an empty definition is allowed.
    """
    with transaction.atomic():
        lock_flows(tenant)
        flow = Flow(tenant=tenant, key=key, name=name, description=description)
        errors = [*key_faults(key), *name_faults(name), *config_faults(config)]
        errors += status_faults(flow, status)
        if errors:
            raise Rejected.of(errors)
        flow.status, flow.draft_config = status, dict(config or {})
        flow.is_default = is_default or not Flow.objects.of(tenant).filter(is_default=True).exists()
        if flow.is_default:
            _clear_default(flow)
        save_row(flow, force_insert=True)
    return flow


def lock_flows(tenant: Tenant) -> None:
    """Let nobody else choose the tenant's default flow until the transaction ends.

    Comes before the lock of any single flow, so that two callers never wait for each other.
    """
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)


def update_flow(flow: Flow, fields: Mapping[str, Any], expected: int | None = None) -> Flow:
    """Set fields of a flow that the caller has locked, and raise its version.

    Raises Rejected with every fault, Conflict when the flow no longer has the version `expected`.
    """
    check_version(flow, expected)
    errors = [
        *changed_key_faults(flow, fields),
        *config_faults(fields.get("draft_config")),
        *(status_faults(flow, fields["status"]) if "status" in fields else ()),
    ]
    if errors:
        raise Rejected.of(errors)
    if fields.get("is_default"):
        _clear_default(flow)
    return update_row(flow, dict(fields))


def save_draft(flow: Flow, config: Mapping[str, Any]) -> Flow:
    """Replace the draft and raise the row version; published versions stay as they are.

    Raises Rejected with every fault of the definition; an empty definition is allowed.
    """
    errors = config_faults(config)
    if errors:
        raise Rejected.of(errors)
    with transaction.atomic():
        _lock(flow)
        flow.draft_config = dict(config)
        flow.version += 1
        flow.save(update_fields=["draft_config", "version", "updated_at"])
    return flow


def delete_flow(flow: Flow) -> None:
    """Delete the flow with its versions.

    Raises Conflict naming the campaigns or the run that use it, and for a published flow that is
    not archived.
    """
    runs = CampaignRun.objects.of(flow.tenant_id).select_related("campaign")
    run = runs.filter(flow=flow, status__in=CampaignRun.UNFINISHED).first()
    if run is not None:
        raise Conflict(f'The flow is used by the run "{run}", which has not finished.')
    is_protected = flow.status != Status.ARCHIVED and flow.versions.exists()
    with transaction.atomic():
        # Who uses the flow is told first: archiving it, as the other refusal asks, stops them.
        delete_row(flow)
        if is_protected:
            raise Conflict("The flow is published and thereby protected; archive it first.")


def publish_flow(flow: Flow, *, notes: str = "") -> FlowVersion:
    """Make the draft the next version, which runs use from now on, and activate the flow.

    Raises Rejected if the draft is not a whole flow or names objects the tenant does not have.
    """
    with transaction.atomic():
        _lock(flow)
        if not flow.draft_config:
            raise Rejected(("draftConfig", "is empty: save a definition before publishing"))
        errors = draft_faults(flow.tenant_id, flow.draft_config)
        if errors:
            raise Rejected.of(errors)
        return _append_version(flow, flow.draft_config, notes)


def roll_back_flow(flow: Flow, number: int, *, notes: str = "") -> FlowVersion:
    """Publish a copy of the version `number` as the newest; it also becomes the draft.

    What it refers to is not looked up again: a run leaves out what is gone, and a way back that
    somebody needs in a hurry must be open. Raises Rejected if there is no such version.
    """
    with transaction.atomic():
        _lock(flow)
        old = flow.versions.filter(version=number).first()
        if old is None:
            known = ", ".join(map(str, flow.versions.values_list("version", flat=True))) or "none"
            raise Rejected(("version", f"Is not a version of the flow; there are: {known}."))
        try:
            parse_flow(old.config)
        except Rejected as error:
            raise Conflict(f"Version {number} is of a format no longer read: {error}") from error
        flow.draft_config = old.config
        return _append_version(flow, old.config, f"Rollback to v{number}: {notes}")


def _lock(flow: Flow) -> None:
    try:
        flow.refresh_from_db(from_queryset=Flow.unscoped.select_for_update())
    except Flow.DoesNotExist as error:
        raise Conflict("The flow was deleted meanwhile.") from error


def _append_version(flow: Flow, config: dict[str, Any], notes: str) -> FlowVersion:
    newest = flow.versions.aggregate(newest=Max("version"))["newest"] or 0
    version: FlowVersion = flow.versions.create(version=newest + 1, config=config, notes=notes)
    flow.status = Status.ACTIVE
    flow.version += 1
    flow.save(update_fields=["draft_config", "status", "version", "updated_at"])
    version.refresh_from_db(fields=["published_at"])
    return version


def _clear_default(flow: Flow) -> None:
    others = Flow.objects.of(flow.tenant_id).filter(is_default=True).exclude(pk=flow.pk)
    for other in others.select_for_update(no_key=True):
        other.is_default = False
        other.version += 1
        other.save(update_fields=["is_default", "version", "updated_at"])
