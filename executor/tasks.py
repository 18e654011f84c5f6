"""What Celery carries: "look at the database". Load by id, call, record; nothing else.

kaireon/celery.py says which queue each task takes.
"""

import logging
from functools import partial

from celery.app.task import Task
from django.conf import settings

from campaigns.models import CampaignRun
from executor import drain, ending, messages, queue, runner, workers
from executor.heartbeat import stopping
from executor.idle import IdleLook
from executor.queue import CHUNK_PHASES
from kaireon import ids, logs
from kaireon.celery import app

logger = logging.getLogger(__name__)

#: A message of the pulse that has not been taken up by the next one is not needed any more.
EXPIRES = 15
#: Chunks of a run that one pulse speaks of at most.
MOST_CHUNKS = 64

GOING = set(CampaignRun.UNFINISHED) - {CampaignRun.Status.PAUSED}

app.steps["worker"].add(IdleLook)


@app.task
def advance_run(run_key: int) -> None:
    """Do the run's next step, then have its chunks done."""
    if not stopping.is_set() and runner.advance(run_key):
        workers.worked("worker")
    _pass_on(run_key)


@app.task
def work_chunk(run_key: int) -> None:
    """Do the most urgent chunk, whose ever it is; the message only says that there is one."""
    if stopping.is_set():
        _publish(work_chunk, run_key)
        return
    done_for = runner.work()
    if done_for is not None:
        workers.worked("worker")
        _pass_on(done_for, after_chunk=True)


def _pass_on(run_key: int, *, after_chunk: bool = False) -> None:
    """Say what the run needs next: its chunks, once a step has opened them, or its next step.

    A step that another process does is not spoken of, unless this one is told to end: what it has
    returned is then for others to take up at once.
    """
    run = CampaignRun.unscoped.only("status", "phase", "chunks_left").filter(pk=run_key).first()
    if run is None or run.status not in GOING:
        return
    if run.status == CampaignRun.Status.RUNNING and run.phase in CHUNK_PHASES:
        if not after_chunk:
            _publish(work_chunk, run_key, times=run.chunks_left)
    elif after_chunk or stopping.is_set():
        _publish(advance_run, run_key)


def wake(run_key: int) -> None:
    """Have the run executed: by a worker, or by this host's `drain` if there is no broker.

    Never fails and never waits long: the run is in the database, whoever looks finds it.
    """
    if settings.REDIS_URL and _publish(advance_run, run_key):
        return
    if settings.KAIREON_INLINE_FALLBACK:
        drain.start()


def dispatch() -> int:
    """Speak of all the work that nobody has taken up; returns how many messages that took.

    Without a broker that answers, this host's `drain` is started if there is any.
    """
    try:
        return _speak()
    finally:
        ending.clean_up_left()


def _speak() -> int:
    runs, chunks = queue.claimable(), queue.takeable()
    if not runs and not chunks:
        return 0
    if not settings.REDIS_URL:
        return int(settings.KAIREON_INLINE_FALLBACK and drain.start())
    sent = 0
    wanted = [(advance_run, key, 1) for key in runs]
    wanted += [(work_chunk, one.run_key, min(one.chunks, MOST_CHUNKS)) for one in chunks]
    for task, run_key, times in wanted:
        if not _publish(task, run_key, times=times, expires=EXPIRES):
            return sent + int(settings.KAIREON_INLINE_FALLBACK and drain.start())
        sent += times
    return sent


def _publish(task: Task, run_key: int, *, times: int = 1, expires: int | None = None) -> bool:
    """Send so many messages; False, after two seconds at most, if the broker does not take all."""
    publish = partial(task.apply_async, (run_key,), expires=expires)
    with logs.bound(run=ids.encode("CampaignRun", run_key)):
        sent = messages.send(publish, times=times)
        if sent < times:
            logger.warning("the run is left to whoever looks: %s of %s told", sent, times)
    return sent == times
