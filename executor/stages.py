"""The stages of a run that walk over its chunks."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg

from campaigns.models import CampaignRun, RunChunk
from executor import manifest
from executor.ahead import DecideAhead
from executor.contacts import History
from executor.decide import decide, won
from executor.errors import Rejected
from executor.flow.compile import compile_flow
from executor.freeze import KEY, freeze, read_chunk
from executor.job import Job
from executor.manifest import Chunk
from executor.progress import Lease
from executor.spec import RunSpec, make_spec
from executor.spool import spool, unspool
from executor.storage import open_storage
from executor.writer import Writer
from kaireon.database.base import dsn

#: Candidates are packed into 16 bits with their rank order.
MAX_CANDIDATES = 32_000


def prepare(lease: Lease) -> Job:
    """Freeze the spec at the first attempt, read it at later ones, and compile the flow."""
    run = CampaignRun.unscoped.select_related("campaign", "tenant").get(pk=lease.run_key)
    if run.spec is None:
        run.spec = make_spec(run, datetime.now(UTC)).to_json()
        run.save(update_fields=["spec"])
        lease.event("started", f"claimed with token {lease.token}")
    else:
        lease.event("resumed", f"taken over with token {lease.token}")
    spec = RunSpec.from_json(run.spec)
    plan = compile_flow(spec.flow, spec.catalog, spec.kinds)
    if not plan.candidates:
        raise Rejected(f"there is nothing to recommend: {plan.why_empty()}")
    if len(plan.candidates) > MAX_CANDIDATES:
        raise Rejected(f"{len(plan.candidates)} candidates are more than {MAX_CANDIDATES}")
    return Job(lease, spec, plan, open_storage())


def freeze_customers(job: Job) -> None:
    """Read the segment once, unless an earlier attempt has; decide what there is time for."""
    runs = CampaignRun.unscoped.select_related("segment", "campaign__segment")
    run = runs.defer("spec").get(pk=job.lease.run_key)
    if run.audience_count is not None:
        return
    expected = (run.segment or run.campaign.segment).customer_count
    with job.stage("freeze", expected or 0):
        with DecideAhead(job) as ahead:
            frozen = freeze(
                job.spec,
                job.plan.columns,
                hashed=breaks_ties(job.spec),
                storage=job.storage,
                lease=job.lease,
                look=ahead.look,
            )
        manifest.commit(job.lease, frozen, ahead.decided)
        customers = sum(chunk.customers for chunk in frozen)
        job.lease.event("frozen", f"{customers} customers in {len(frozen)} chunks")


def breaks_ties(spec: RunSpec) -> bool:
    """Only the global order of the `score` strategy compares customers with each other."""
    caps = spec.caps
    return spec.allocation == "score" and any((caps.total, caps.per_offer, caps.per_channel))


def decide_chunks(job: Job) -> None:
    """A cap may bind: decide every chunk as if there were none, and spool the winners."""
    with _walk(job, "decide", RunChunk.Status.FROZEN) as chunks, _connect() as own:
        for chunk in chunks:
            winners, counts = decide(job.plan, read_chunk(job.storage, chunk.input_key))
            key = spool(job, chunk.number, "winners", winners)
            if not manifest.step(own, job.lease, chunk, "decided", counts=counts, winners_key=key):
                job.lease.lose()
            job.lease.report(job.lease.done + chunk.customers)


def write_chunks(job: Job, history: History) -> None:
    """Store the winners of every chunk; what nobody has decided yet is decided now."""
    todo = (RunChunk.Status.FROZEN, RunChunk.Status.DECIDED)
    with _walk(job, "write", *todo) as chunks, Writer(job, history) as writer:
        for chunk in chunks:
            if chunk.status == RunChunk.Status.FROZEN:
                frame = read_chunk(job.storage, chunk.input_key)
                winners, counts = decide(job.plan, frame)
            else:
                frame = read_chunk(job.storage, chunk.input_key, [KEY])
                winners = unspool(job, chunk.winners_key)
                counts = chunk.counts | won(job.plan, winners)
            writer.store(chunk, frame, winners, counts)


@contextmanager
def _walk(job: Job, phase: str, *todo: str) -> Iterator[Iterator[Chunk]]:
    """Enter a phase and walk its chunks: those with a status of `todo`, while the lease is ours."""
    pending = [chunk for chunk in job.chunks if chunk.status in todo]
    with job.stage(phase, sum(chunk.customers for chunk in pending)):
        yield _while_ours(job.lease, pending)


def _while_ours(lease: Lease, chunks: list[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        lease.check()
        yield chunk


def _connect() -> psycopg.Connection:
    return psycopg.connect(dsn(), autocommit=True)
