"""A run in work: its frozen spec, the compiled plan, and where its bytes lie.

None of it changes once the run has begun, so a process keeps the jobs it has worked on lately.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import numpy as np
from django.db import connection

from campaigns.models import CampaignRun
from executor.allocation import Candidates, Caps, may_bind
from executor.decide import Decider
from executor.errors import Rejected, Retryable
from executor.flow.catalog import OfferUsage
from executor.flow.formula_values import Clock
from executor.flow.inputs import Inputs, read_of
from executor.flow.plan import Plan
from executor.personalize import Personalizer, compile_personalization
from executor.planning import decider_of
from executor.progress import Lease
from executor.properties import with_properties
from executor.spec import RunSpec, make_spec
from executor.storage import Storage, open_storage

#: Candidates are packed into 16 bits with their rank order.
MAX_CANDIDATES = 32_000
#: Types of nodes for which a run needs the turn of its tenant, as in campaigns/models/turn.py.
POLICY_NODES = ("contact_policy", "call_flow")
#: Jobs that are kept: chunks of many runs may be worked on in turn.
KEPT = 16


@dataclass(frozen=True, slots=True)
class Job:
    run_key: int
    spec: RunSpec
    decider: Decider
    storage: Storage
    #: Fixed when the run begins: the tenant and campaign of its contacts.
    tenant_key: int
    campaign_key: int
    #: Renders what the winners are sent, if the file is to have any of it.
    personalizer: Personalizer | None = None
    file_columns: tuple[str, ...] = ()
    #: Those of the campaign, and what the budgets of the offers leave.
    whole_caps: Caps = field(default_factory=Caps)
    #: It delivers nothing: no contacts, no file.
    is_dry: bool = False

    @property
    def columns(self) -> frozenset[str]:
        """Columns of customers that are frozen."""
        more = self.personalizer.columns if self.personalizer else frozenset()
        return self.plan.columns | more

    @property
    def inputs(self) -> Inputs:
        """What is frozen beside them."""
        return replace(self.plan.inputs, enrichments=read_of(self.plan.enrichments, self.columns))

    @property
    def caps(self) -> Caps:
        """What the run keeps to: of a sample, in proportion."""
        return self.spec.sample.scale(self.whole_caps) if self.spec.sample else self.whole_caps

    @property
    def plan(self) -> Plan:
        return self.decider.plan

    @property
    def candidates(self) -> Candidates:
        return Candidates(
            offer=np.array([c.offer for c in self.plan.candidates]),
            channel=np.array([c.channel for c in self.plan.candidates]),
        )

    def may_bind(self, customers: int) -> bool:
        """Could any cap turn one of so many away? If not, winners are final as soon as ranked."""
        return may_bind(self.caps, self.candidates, customers, self.plan.k)

    def key(self, folder: str, kind: str, number: int) -> str:
        """A storage key in the folder of one attempt, told by its token: only that writes it."""
        return f"runs/{self.run_key}/{folder}/{kind}/{number:06d}"


def begin(lease: Lease) -> Job:
    """Freeze the spec at the first attempt, read it at later ones, and compile the flow.

    Raises Rejected for what cannot be run.
    """
    run = CampaignRun.unscoped.select_related("campaign", "tenant").get(pk=lease.run_key)
    if run.spec is None:
        spec = make_spec(run, _now())
        if applies_policies(spec.flow) and not run.has_policies:
            raise Retryable(
                "the flow was published with contact policies after the run was claimed"
            )
        run.spec = spec.to_json()
        run.save(update_fields=["spec"])
        lease.event("started", f"claimed with token {lease.token}")
    elif run.phase == CampaignRun.Phase.FREEZE:
        lease.event("resumed", f"taken over with token {lease.token}")
    return _keep(_make(run))


def applies_policies(flow: Mapping[str, Any]) -> bool:
    """Whether a node of the flow, however deep, applies contact policies or may call one."""
    return _has_policy_node(flow.get("nodes"))


def _has_policy_node(part: object) -> bool:
    if isinstance(part, dict):
        return part.get("type") in POLICY_NODES or any(map(_has_policy_node, part.values()))
    return isinstance(part, list) and any(map(_has_policy_node, part))


def _now() -> datetime:
    """By PostgreSQL's clock, as all contacts are: what has become true before is not after it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now.astimezone(UTC)


_jobs: OrderedDict[int, Job] = OrderedDict()
_lock = Lock()


def load(run_key: int) -> Job:
    """The job of a run that has begun."""
    with _lock:
        if run_key in _jobs:
            _jobs.move_to_end(run_key)
            return _jobs[run_key]
    fields = ("spec", "tenant_id", "campaign_id", "dry_run")
    run = CampaignRun.unscoped.only(*fields).get(pk=run_key)
    return _keep(_make(run))


def _keep(job: Job) -> Job:
    with _lock:
        _jobs[job.run_key] = job
        while len(_jobs) > KEPT:
            _jobs.popitem(last=False)
    return job


def _make(run: CampaignRun) -> Job:
    spec = RunSpec.from_json(run.spec or {})
    storage = open_storage()
    decider = decider_of(spec, storage)
    plan = decider.plan
    if not plan.candidates:
        raise Rejected(f"there is nothing to recommend: {plan.why_empty()}")
    if len(plan.candidates) > MAX_CANDIDATES:
        raise Rejected(f"{len(plan.candidates)} candidates are more than {MAX_CANDIDATES}")
    personalizer = _personalizer(spec, plan)
    return Job(
        run.pk,
        spec,
        decider,
        storage,
        run.tenant_id,
        run.campaign_id,
        personalizer,
        _file_columns(spec, personalizer),
        with_budgets(spec, plan),
        run.dry_run,
    )


def with_budgets(spec: RunSpec, plan: Plan) -> Caps:
    """The campaign's caps and, per offer, what its budget leaves at the instant of the run."""
    usage = {one.offer_key: one for one in spec.catalog.usage}
    left = []
    for offer in plan.offers:
        used = usage.get(offer.key, OfferUsage(offer.key))
        rooms = [
            most - given
            for name, given in (("max_per_day", used.contacts_today), ("max_total", used.contacts))
            if (most := offer.budget.get(name)) is not None
        ]
        left.append(max(0, min(rooms)) if rooms else None)
    return replace(spec.caps, of_offers=tuple(left) if any(o.budget for o in plan.offers) else ())


def _personalizer(spec: RunSpec, plan: Plan) -> Personalizer | None:
    if not spec.file.is_personal:
        return None
    clock = Clock(datetime.fromisoformat(spec.now), spec.zone)
    return compile_personalization(with_properties(plan), spec.catalog, plan.kinds, clock)


def _file_columns(spec: RunSpec, personalizer: Personalizer | None) -> tuple[str, ...]:
    """Those listed and, if the file includes personalization, all other variables behind them."""
    names = personalizer.names if personalizer and spec.file.include_personalization else ()
    more = (name for name in names if name.startswith("personalization."))
    return tuple(dict.fromkeys([*spec.file.columns, *more]))
