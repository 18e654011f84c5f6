"""Winners between two stages, as an object in the storage."""

import io

import polars as pl

from executor.allocation import Winners
from executor.job import Job


def spool(job: Job, folder: str, number: int, kind: str, winners: Winners) -> str:
    """Store a chunk's winners in the folder of one attempt; returns their key."""
    buffer = io.BytesIO()
    pl.DataFrame(
        {
            "row": winners.row,
            "rank": winners.rank,
            "candidate": winners.candidate,
            "key": winners.key,
        }
    ).write_ipc(buffer)
    key = job.key(folder, kind, number)
    job.storage.put(key, buffer.getvalue())
    return key


def unspool(job: Job, key: str) -> Winners:
    """Read back what `spool` has stored."""
    frame = pl.read_ipc(job.storage.get(key))
    return Winners(*(frame[name].to_numpy() for name in ("row", "rank", "candidate", "key")))
