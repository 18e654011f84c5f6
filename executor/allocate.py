"""Volume caps over all chunks: keep the winners if no cap is exceeded, else allocate."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaigns.models import CampaignRun, RunChunk
from executor import contacts, manifest
from executor.allocation import (
    CapReport,
    CapUse,
    FirstCome,
    Winners,
    exceeds,
    uncapped_reports,
)
from executor.allocation_greedy import Greedy
from executor.decide import assess, total
from executor.freeze import HASH, read_chunk
from executor.job import Job
from executor.manifest import Chunk, Phase
from executor.progress import Lease
from executor.ranking import matrix
from executor.spool import spool
from executor.summary import cap_lines

#: What sets the hash used for ties apart from every other use of h(key).
TIE_SALT = 0x7469655F627265AB


def apply_caps(lease: Lease, job: Job) -> None:
    """Make the winners of the decided chunks respect the caps; what others have won counts."""
    chunks = manifest.load(job.run_key)
    todo = [chunk for chunk in chunks if chunk.status == RunChunk.Status.DECIDED]
    done = [chunk for chunk in chunks if chunk.status == RunChunk.Status.WRITTEN]
    lease.event("allocating", f"{sum(chunk.customers for chunk in todo)} customers")
    used = _counted(job, done)
    wanted = used + _counted(job, todo)
    written = sum(chunk.customers for chunk in done)
    then = Phase("write", len(todo), done=written) if todo else Phase("finish")
    contacts.prepare(job)
    if not exceeds(job.spec.caps, job.candidates, wanted):
        reports = uncapped_reports(job.spec.caps, job.candidates, wanted)
        manifest.record_allocation(lease, _report(job, reports, 0), [], then)
        return
    strategy = _strategy(lease, job, todo, used)
    keys = []
    for chunk, winners in _decided(lease, job, strategy, todo):
        keys.append((chunk.number, spool(job, str(lease.token), chunk.number, "capped", winners)))
    report = _report(job, strategy.reports(), strategy.fates().lowered)
    manifest.record_allocation(lease, report, keys, then)
    lease.event("allocated", f"strategy {job.spec.allocation}")


def _counted(job: Job, chunks: list[Chunk]) -> NDArray[np.int64]:
    """Recommendations by candidate."""
    return np.array(total([chunk.counts for chunk in chunks], job.plan)["candidates"])


def _strategy(
    lease: Lease, job: Job, chunks: list[Chunk], used: NDArray[np.int64]
) -> FirstCome | Greedy:
    use = CapUse(job.candidates, job.spec.caps)
    use.count(used)
    if job.spec.allocation == "first_come":
        return FirstCome(use, job.plan.k)
    return Greedy(
        use,
        job.plan.k,
        rows=[chunk.customers for chunk in chunks],
        matrix=lambda number: _matrix(lease, job, chunks[number]),
    )


def _decided(
    lease: Lease, job: Job, strategy: FirstCome | Greedy, chunks: list[Chunk]
) -> Iterator[tuple[Chunk, Winners]]:
    """The winners of each chunk: first come decides in key order, greedy all at once."""
    if isinstance(strategy, Greedy):
        strategy.run()
    for number, chunk in enumerate(chunks):
        if isinstance(strategy, Greedy):
            winners = strategy.winners(number)
        else:
            winners = strategy.take(_matrix(lease, job, chunk)[0])
        lease.done += chunk.customers
        yield chunk, winners


def _matrix(lease: Lease, job: Job, chunk: Chunk) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Recompute a chunk's candidates from its frozen rows: cheaper than spooling the matrix."""
    lease.check()
    frame = read_chunk(job.storage, chunk.input_key)
    assessed = assess(job.plan, frame)
    keys = matrix(job.plan, assessed.scores, assessed.bits)
    if HASH not in frame.columns:
        return keys, np.zeros(frame.height, dtype=np.uint64)
    return keys, tie_hash(frame[HASH].to_numpy(), job.spec.seed)


def tie_hash(h: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """h(key) mixed for breaking ties of one campaign; see splitmix64."""
    salt = splitmix64(np.array([seed ^ TIE_SALT], dtype=np.uint64))
    return splitmix64(h.view(np.uint64) ^ salt)


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def _report(job: Job, reports: list[CapReport], lowered: int) -> dict[str, Any]:
    """What the caps did; one that turned somebody away before the run was opened again still has.

    `lowered` counts the customers of this allocation.
    """
    lines = cap_lines(job.plan, reports)
    before = CampaignRun.unscoped.values_list("allocation_report", flat=True).get(pk=job.run_key)
    if before:
        for line, old in zip(lines, before["caps"], strict=True):
            line["bound"] = line["bound"] or old["bound"]
    return {"strategy": job.spec.allocation, "caps": lines, "lowered": lowered}
