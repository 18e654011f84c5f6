"""A run from claim to file. The only place that knows the order of the stages.

A run has a next step of its own (freeze, allocate, finish) or chunks to do (decide, write). Any
process may do either at any time: what is done is skipped, what is not is done once.
"""

import logging
import traceback
from collections.abc import Callable
from functools import partial

import psycopg
from django.db import InterfaceError, OperationalError, connection

from executor import allocate, chunks, ending, finish, job, queue, stages
from executor.chunks import TakenChunk
from executor.errors import Rejected, Retryable, Unavailable
from executor.heartbeat import Cancelled, LeaseLost, Paused, Stopped
from executor.memory import keep_freed_memory
from executor.progress import Lease, claim
from kaireon import ids, logs

logger = logging.getLogger(__name__)

CONNECTION_LOST = (OperationalError, InterfaceError, psycopg.OperationalError)

#: By the phase a run is in; the chunks' phases are between them.
STEPS = {
    "claim": stages.begin,
    "freeze": stages.freeze_customers,
    "allocate": allocate.apply_caps,
    "finish": finish.publish,
}
CHUNK_STEPS = {"decide": stages.decide_chunk, "write": stages.write_chunk}


def execute(run_key: int) -> bool:
    """Work on one run for as long as there is something to do; False if there was nothing."""
    worked = False
    while step(run_key) is not None:
        worked = True
    return worked


def step(run_key: int | None = None) -> int | None:
    """Do what is most urgent (of one run, or of all); return whose it was, None if there is none.

    Steps of runs come first: they are few, and what they open gives all workers something to do.
    """
    keep_freed_memory()
    for key in queue.claimable(limit=8) if run_key is None else [run_key]:
        if advance(key):
            return key
    return work(run_key)


def advance(run_key: int) -> bool:
    """Do the run's next steps up to where its chunks come; False if they are not ours to do."""
    lease = claim(run_key)
    if lease is None:
        return False
    with logs.bound(run=ids.encode("CampaignRun", run_key)), lease:
        _do_steps(lease)
    return True


def _do_steps(lease: Lease) -> None:
    """Do them, and see to the run if one of them ends early."""
    run_key = lease.run_key
    try:
        lease.check()
        _advance(lease)
    except LeaseLost as error:
        logger.warning("%s", error)
    except Cancelled:
        ending.cancel(lease)
    except (Paused, Stopped):
        lease.release()
    except Rejected as error:
        ending.fail(run_key, str(error), lease=lease)
    except (Retryable, *CONNECTION_LOST) as error:
        _put_back(lease, error)
    except Exception as error:
        logger.exception("run %s failed", run_key)
        ending.fail(run_key, f"internal error: {error}", traceback.format_exc(), lease)


def _advance(lease: Lease) -> None:
    present = job.begin(lease)
    while do := STEPS.get(stages.phase_of(lease.run_key)):
        do(lease, present)


def _put_back(lease: Lease, error: Exception) -> None:
    """Leave the run to the next claim; if even that cannot be written, the lease runs out."""
    logger.warning("run %s is put back: %s", lease.run_key, error)
    connection.close()
    try:
        if isinstance(error, Unavailable):
            ending.wait(lease, str(error))
        else:
            ending.put_back(lease, str(error))
    except CONNECTION_LOST:
        logger.exception("run %s is left to the end of its lease", lease.run_key)


def work(run_key: int | None = None) -> int | None:
    """Do the most urgent chunk (of one run, or of all); return whose it was, None if none is."""
    chunk = chunks.take(run_key)
    if chunk is None:
        return None
    name = ids.encode("CampaignRun", chunk.run_key)
    with logs.bound(run=name, chunk=chunk.number), chunk.kept():
        _do_chunk(chunk)
    return chunk.run_key


def _do_chunk(chunk: TakenChunk) -> None:
    """Do it, and see to the chunk if that ends early."""
    try:
        if chunk.attempts > chunks.MAX_ATTEMPTS:
            chunk.give_up()
        else:
            CHUNK_STEPS[chunk.phase](job.load(chunk.run_key), chunk)
    except LeaseLost as error:
        logger.warning("%s", error)
        chunk.release()
    except Rejected as error:
        ending.fail(chunk.run_key, str(error))
    except CONNECTION_LOST as error:
        # It may be the server that is gone: the chunk is left to the end of its lease.
        logger.warning("chunk %s of run %s is left: %s", chunk.number, chunk.run_key, error)
        connection.close()
    except Unavailable as error:
        logger.warning("chunk %s of run %s waits: %s", chunk.number, chunk.run_key, error)
        _give_back(chunk, partial(chunk.postpone, str(error)))
    except Exception as error:
        logger.exception("chunk %s of run %s failed", chunk.number, chunk.run_key)
        trace = traceback.format_exc()
        _give_back(chunk, partial(chunk.fail, f"{type(error).__name__}: {error}", trace))


def _give_back(chunk: TakenChunk, how: Callable[[], None]) -> None:
    try:
        how()
    except LeaseLost:
        chunk.release()
