"""What a flow comes to: for a run as its spec has frozen it, or for one that would start now."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from campaigns.models import Schema
from executor.decide import Decider
from executor.flow.compile import compile_flow
from executor.flow.plan import Plan
from executor.flow.types import Kind
from executor.flow.work import Setting
from executor.opened_models import OpenedModels
from executor.referred import with_referred
from executor.spec import RunSpec, load_catalog
from executor.storage import Storage, open_storage
from kaireon.access.models import Tenant


def decider_of(spec: RunSpec, storage: Storage) -> Decider:
    """Compile the run's flow. Raises Rejected for what cannot be run."""
    now = datetime.fromisoformat(spec.now)
    models = OpenedModels(spec.catalog.models, storage)
    setting = Setting(now, spec.zone, spec.seed, models)
    plan = compile_flow(spec.flow, spec.catalog, spec.kinds, setting, spec.key_column)
    return Decider(
        plan=plan,
        models={one.model: models[one.model] for one in plan.derived},
        seed=spec.seed,
        draw=int(now.timestamp()),
        holdout=spec.holdout,
    )


def plan_now(
    tenant: Tenant, config: Mapping[str, Any], kinds: Mapping[str, Kind], base: Schema
) -> Plan:
    """The plan of a run that would start now, in all batch channels, for customers of `base`.

    Raises Rejected.
    """
    now = timezone.now()
    catalog = with_referred(load_catalog(tenant, now=now), tenant, config, base, now)
    models = OpenedModels(catalog.models, open_storage())
    setting = Setting(now, tenant.timezone, models=models)
    return compile_flow(config, catalog, kinds, setting, base.key_column)
