"""A run from claim to file. The only place that knows the order of the stages."""

import logging
import traceback

from executor import allocate, finish, stages
from executor.contacts import open_history
from executor.errors import Rejected, Retryable
from executor.progress import Cancelled, Lease, LeaseLost, Watch, claim, silent

logger = logging.getLogger(__name__)


def execute(run_key: int, watch: Watch = silent) -> bool:
    """Work on a run until it ends; False if it is finished or somebody else holds it.

    May be repeated at any time by anybody: what is done is skipped, what is not is done once.
    """
    lease = claim(run_key, watch)
    if lease is None:
        return False
    with lease:
        try:
            _run(lease)
        except LeaseLost as error:
            logger.warning("%s", error)
        except Cancelled:
            finish.cancel(lease)
        except Rejected as error:
            finish.fail(lease, str(error))
        except Retryable as error:
            finish.put_back(lease, str(error))
        except Exception as error:
            logger.exception("run %s failed", run_key)
            finish.fail(lease, f"internal error: {error}", traceback.format_exc())
    return True


def _run(lease: Lease) -> None:
    job = stages.prepare(lease)
    stages.freeze_customers(job)
    if job.may_bind:
        stages.decide_chunks(job)
        allocate.apply_caps(job)
    with open_history(lease) as history:
        if job.may_bind:
            stages.write_chunks(job, history)
        else:
            stages.decide_and_write_chunks(job, history)
        finish.publish(job, history)
    finish.delete_scratch(job)
