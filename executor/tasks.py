"""What Celery carries: "look at the database". Load by id, call, record; nothing else."""

import logging

from django.conf import settings
from kombu.exceptions import OperationalError

from campaigns.models import CampaignRun
from executor import drain, runner
from kaireon.celery import app

logger = logging.getLogger(__name__)


@app.task
def execute_run(run_key: int) -> None:
    runner.execute(run_key)


@app.task
def sweep() -> None:
    """Take up what no message speaks of any more: undelivered and abandoned runs."""
    for run_key in drain.claimable():
        runner.execute(run_key)


def wake(run_key: int) -> None:
    """Have the run executed: by a worker, or by this host's `drain` if there is no broker.

    Never fails and never waits long: the run is `pending` in the database, whoever looks finds it.
    """
    if settings.REDIS_URL:
        try:
            execute_run.delay(run_key)
        except (OperationalError, OSError) as error:
            logger.warning("broker unavailable (%s): run %s goes to a local drain", error, run_key)
        else:
            return
    if settings.KAIREON_INLINE_FALLBACK and drain.start():
        return
    CampaignRun.unscoped.filter(pk=run_key, status=CampaignRun.Status.PENDING, waits_for="").update(
        waits_for="worker"
    )
