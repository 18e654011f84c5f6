"""What Celery carries: "look at the database". Load by id, call, record; nothing else.

kaireon/celery.py says which queue each task takes.
"""

import logging

from celery.app.task import Task
from django.conf import settings
from kombu.exceptions import OperationalError

from campaigns.models import CampaignRun
from executor import drain, ending, queue, runner, workers
from executor.idle import IdleLook
from executor.queue import CHUNK_PHASES
from kaireon.celery import app

logger = logging.getLogger(__name__)

#: A message of the pulse that has not been taken up by the next one is not needed any more.
EXPIRES = 15
#: Chunks of a run that one pulse speaks of at most.
MOST_CHUNKS = 64

app.steps["worker"].add(IdleLook)


@app.task
def advance_run(run_key: int) -> None:
    """Do the run's next step, then have its chunks done."""
    if runner.advance(run_key):
        workers.worked("worker")
    run = CampaignRun.unscoped.only("status", "phase", "chunks_left").filter(pk=run_key).first()
    if run and run.status == CampaignRun.Status.RUNNING and run.phase in CHUNK_PHASES:
        _publish(work_chunk, run_key, times=run.chunks_left)


@app.task
def work_chunk(run_key: int) -> None:
    """Do the most urgent chunk, whose ever it is; the message only says that there is one."""
    done_for = runner.work()
    if done_for is None:
        return
    workers.worked("worker")
    run = CampaignRun.unscoped.only("phase").filter(pk=done_for).first()
    if run and run.phase not in CHUNK_PHASES:
        _publish(advance_run, done_for)


def wake(run_key: int) -> None:
    """Have the run executed: by a worker, or by this host's `drain` if there is no broker.

    Never fails and never waits long: the run is in the database, whoever looks finds it.
    """
    if settings.REDIS_URL and _publish(advance_run, run_key):
        return
    if settings.KAIREON_INLINE_FALLBACK and drain.start():
        return
    CampaignRun.unscoped.filter(pk=run_key, status=CampaignRun.Status.PENDING, waits_for="").update(
        waits_for="worker"
    )


def dispatch() -> int:
    """Speak of all the work that nobody has taken up; returns how many messages that took.

    Without a broker that answers, this host's `drain` is started if there is any.
    """
    ending.clean_up_left()
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
    """Send so many messages; False, after two seconds at most, if the broker takes none."""
    try:
        for _ in range(times):
            task.apply_async((run_key,), expires=expires)
    except (OperationalError, OSError) as error:
        logger.warning("broker unavailable (%s): run %s is left to who looks", error, run_key)
        return False
    return True
