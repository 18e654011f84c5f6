"""What unfinished runs wait for, looked up when it is asked: so it is never out of date."""

from datetime import timedelta
from typing import Any

from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from campaigns.models import CampaignRun, RunChunk, Worker
from campaigns.models.turn import ahead_of
from kaireon import ids

Status = CampaignRun.Status
#: A process that has not been seen for so long takes nothing.
SEEN = timedelta(seconds=60)


def with_waits(runs: QuerySet[CampaignRun]) -> QuerySet[CampaignRun]:
    """The runs with what `waits_for` and `is_pausing` go by, in the same query."""
    chunks = RunChunk.objects.filter(run=OuterRef("pk"))
    to_do = chunks.filter(status__in=(RunChunk.Status.FROZEN, RunChunk.Status.DECIDED))
    later = to_do.filter(not_before__gt=Now()).order_by("not_before", "number")
    earlier = CampaignRun.unscoped.filter(
        campaign=OuterRef("campaign"),
        run_number__lt=OuterRef("run_number"),
        dry_run=False,
        status__in=CampaignRun.UNFINISHED,
    )
    workers = Worker.objects.exclude(kind=Worker.Kind.PULSE).filter(seen_at__gt=Now() - SEEN)
    held = Q(lease_until__gt=Now()) | Q(Exists(chunks.filter(lease_until__gt=Now())))
    ahead = RawSQL(ahead_of(CampaignRun._meta.db_table), (), BigIntegerField())  # noqa: S611 - ours
    first = CampaignRun.unscoped.filter(pk=OuterRef("run_ahead"))
    return runs.annotate(run_ahead=ahead).annotate(
        ahead_status=Subquery(first.values("status")),
        earlier_run=Case(
            When(
                status=Status.PENDING,
                in_turn=True,
                then=Subquery(earlier.order_by("run_number").values("run_number")[:1]),
            )
        ),
        later_chunk=Case(
            When(status=Status.RUNNING, then=Subquery(later.values("number")[:1])),
        ),
        is_held=Case(
            When(Q(status__in=(Status.RUNNING, Status.PAUSED)) & held, then=True),
            default=False,
            output_field=BooleanField(),
        ),
        is_manned=Exists(workers),
    )


def waits_for(run: Any) -> str:
    """What a run that was read `with_waits` waits for, in words; empty if for nothing."""
    if run.status == Status.PAUSED:
        return "somebody to resume it"
    if run.status not in (Status.PENDING, Status.RUNNING):
        return ""
    if run.earlier_run is not None:
        return f"run {run.earlier_run} of the campaign to end"
    if run.run_ahead is not None:
        paused = ", which is paused" if run.ahead_status == Status.PAUSED else ""
        name = ids.encode("CampaignRun", run.run_ahead)
        return f"run {name} with contact policies to end{paused}"
    if run.later_chunk is not None:
        return str(run.waits_for) or f"another attempt at chunk {run.later_chunk}"
    if not run.is_held and not run.is_manned:
        return "worker"
    return "" if run.status == Status.PENDING else str(run.waits_for)


def is_pausing(run: Any) -> bool:
    """Whether a run that was read `with_waits` is paused while a worker still ends what it does."""
    return bool(run.status == Status.PAUSED and run.is_held)
