"""Volume caps over all chunks: keep the winners if no cap is exceeded, else allocate."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from campaigns.models import CampaignRun, RunChunk
from executor import contacts, manifest
from executor.allocation import (
    NONE,
    CapReport,
    CapUse,
    FirstCome,
    Winners,
    exceeds,
    uncapped_reports,
)
from executor.allocation_greedy import Greedy
from executor.decide import Decider, assess, choose, total
from executor.flow.inputs import HASH
from executor.freeze import read_chunk
from executor.hashing import tie_hash
from executor.job import Job
from executor.manifest import Chunk, Phase
from executor.progress import Lease
from executor.ranking import matrix
from executor.spool import spool
from executor.summary import cap_lines


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
    if not exceeds(job.caps, job.candidates, wanted):
        reports = uncapped_reports(job.caps, job.candidates, wanted)
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
    use = CapUse(job.candidates, job.caps)
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
    keys = _keys(job.decider, frame)
    if HASH not in frame.columns:
        return keys, np.zeros(frame.height, dtype=np.uint64)
    return keys, tie_hash(frame[HASH].to_numpy(), job.spec.seed)


def _keys(decider: Decider, frame: pl.DataFrame) -> NDArray[np.int32]:
    """The score of each candidate that a customer may be given.

    Where the best k are not simply the answer, a customer may only be given what was picked: any
    part of a pick keeps to the limits of categories and placements.
    """
    assessed = assess(decider, frame)
    keys = matrix(decider.plan, assessed.scores, assessed.bits)
    if not decider.plan.ranking.is_plain:
        picked = choose(decider, frame, assessed)
        others = np.ones(keys.shape, dtype=np.bool_)
        others[picked.row, picked.candidate] = False
        keys[others] = NONE
    held = decider.held(frame)
    if held is not None:
        keys[held] = NONE
    return keys


def _report(job: Job, reports: list[CapReport], lowered: int) -> dict[str, Any]:
    """What the caps did; one that turned somebody away before the run was opened again still has.

    `lowered` counts the customers of this allocation.
    """
    lines = cap_lines(job.plan, reports, job.caps.per_offer)
    before = CampaignRun.unscoped.values_list("allocation_report", flat=True).get(pk=job.run_key)
    if before:
        for line, old in zip(lines, before["caps"], strict=True):
            line["bound"] = line["bound"] or old["bound"]
    return {"strategy": job.spec.allocation, "caps": lines, "lowered": lowered}
