"""The stages of a run up to its results; `executor.finish` has the last one."""

from django.conf import settings
from django.db import connection, transaction

from campaigns.models import CampaignRun, RunChunk
from executor import contacts, heldout, manifest, outfile, reopening, results
from executor.ahead import DecideAhead
from executor.asking import Asking
from executor.chunks import TakenChunk
from executor.decide import decide, won
from executor.deliver import deliver, record_errors
from executor.freeze import KEY, FrozenChunk, freeze, read_chunk
from executor.job import Job
from executor.manifest import Phase
from executor.progress import Lease
from executor.spool import spool, unspool


def begin(lease: Lease, job: Job) -> None:
    """The first step: freeze, or take up the chunks for which the run was opened again."""
    if reopening.times(lease.run_key):
        reopening.take_up(lease, job)
    else:
        freeze_customers(lease, job)


def freeze_customers(lease: Lease, job: Job) -> None:
    """Read the segment once; decide the chunks there is time for meanwhile."""
    manifest.enter(lease, Phase("freeze"))
    asking = Asking(job.decider, settings.KAIREON_ALLOWED_PRIVATE_HOSTS)
    with DecideAhead(job, lease.token) as ahead:
        frozen = freeze(
            job.spec,
            job.columns,
            inputs=job.inputs,
            hashed=breaks_ties(job) or job.decider.is_hashed,
            storage=job.storage,
            lease=lease,
            look=lambda number, frame: ahead.look(number, asking.extend(frame)),
        )
    for model, failures in asking.failures.items():
        if failures:
            lease.event("fallback", f"{failures} customers have the fallback of model {model}")
    customers = sum(chunk.customers for chunk in frozen)
    lease.event("frozen", f"{customers} customers in {len(frozen)} chunks")
    then = _after_freeze(job, frozen, len(ahead.decided))
    if then.name in ("write", "finish"):  # before `allocate` there is nothing to store yet
        contacts.prepare(job)
    manifest.commit(lease, frozen, ahead.decided, then)


def _after_freeze(job: Job, frozen: list[FrozenChunk], decided: int) -> Phase:
    """If a cap may bind, everything is decided first, as if there were none."""
    if not job.may_bind(sum(chunk.customers for chunk in frozen)):
        return Phase("write", len(frozen)) if frozen else Phase("finish")
    left = len(frozen) - decided
    return Phase("decide", left) if left else Phase("allocate")


def breaks_ties(job: Job) -> bool:
    """Only the global order of the `score` strategy compares customers with each other."""
    return job.spec.allocation == "score" and job.caps.is_set


def decide_chunk(job: Job, chunk: TakenChunk) -> None:
    """A cap may bind: decide the chunk as if there were none, and spool the winners."""
    winners, counts = decide(job.decider, read_chunk(job.storage, chunk.input_key))
    key = spool(job, chunk.folder, chunk.number, "winners", winners)
    with transaction.atomic():
        _without_waiting_for_the_disk()
        chunk.done("decided", counts=counts, winners_key=key)


def write_chunk(job: Job, chunk: TakenChunk) -> None:
    """Store the winners of the chunk; if nobody has decided it yet, it is decided now.

    Results, contacts and the chunk's step are one transaction; its part of the file is written
    before, under a key of this attempt.
    """
    if chunk.status == RunChunk.Status.FROZEN:
        frame = read_chunk(job.storage, chunk.input_key)
        winners, counts = decide(job.decider, frame)
    else:
        personal = job.personalizer.columns if job.personalizer else ()
        columns = None if any(job.decider.holdout) else [KEY, *sorted(personal)]
        frame = read_chunk(job.storage, chunk.input_key, columns)
        winners = unspool(job, chunk.winners_key)
        counts = chunk.counts | won(job.plan, winners, before=chunk.counts["served"])
    delivery = deliver(job, frame, winners, counts)
    rows = results.result_rows(job.plan, frame, delivery.winners)
    held = heldout.counterfactual_rows(job, frame)
    part_key = "" if job.is_dry else job.key(chunk.folder, "part", chunk.number)
    if not job.is_dry:
        job.storage.put(part_key, outfile.part(job, rows, delivery))
    with transaction.atomic():
        _without_waiting_for_the_disk()
        results.load(rows, job.run_key, chunk.number, chunk.reopened)
        heldout.load(held, job.run_key, chunk.number)
        if not chunk.reopened and not job.is_dry:
            contacts.load(rows, job, chunk.contacts_at)
        if job.personalizer:
            record_errors(job, frame, chunk.number, delivery)
        chunk.done(
            "written", counts=delivery.counts, winners_key=chunk.winners_key, part_key=part_key
        )


def _without_waiting_for_the_disk() -> None:
    """A chunk that a crashed server forgets is as if never done; the run's last commit waits."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


def phase_of(run_key: int) -> str:
    phase: str = CampaignRun.unscoped.values_list("phase", flat=True).get(pk=run_key)
    return phase
