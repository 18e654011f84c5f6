"""A run from claim to file. The only place that knows the order of the stages."""

import logging
import traceback

import psycopg
from django.db import InterfaceError, OperationalError, connection

from executor import allocate, finish, stages
from executor.contacts import open_history
from executor.errors import Rejected, Retryable
from executor.memory import keep_freed_memory
from executor.progress import Cancelled, Lease, LeaseLost, Watch, claim, silent

logger = logging.getLogger(__name__)

CONNECTION_LOST = (OperationalError, InterfaceError, psycopg.OperationalError)


def execute(run_key: int, watch: Watch = silent) -> bool:
    """Work on a run until it ends; False if it is finished or somebody else holds it.

    May be repeated at any time by anybody: what is done is skipped, what is not is done once.
    """
    lease = claim(run_key, watch)
    if lease is None:
        return False
    keep_freed_memory()
    with lease:
        try:
            _run(lease)
        except LeaseLost as error:
            logger.warning("%s", error)
        except Cancelled:
            finish.cancel(lease)
        except Rejected as error:
            finish.fail(lease, str(error))
        except (Retryable, *CONNECTION_LOST) as error:
            _put_back(lease, error)
        except Exception as error:
            logger.exception("run %s failed", run_key)
            finish.fail(lease, f"internal error: {error}", traceback.format_exc())
    return True


def _put_back(lease: Lease, error: Exception) -> None:
    """Leave the run to the next claim; if even that cannot be written, the lease runs out."""
    logger.warning("run %s is put back: %s", lease.run_key, error)
    connection.close()
    try:
        finish.put_back(lease, str(error))
    except CONNECTION_LOST:
        logger.exception("run %s is left to the end of its lease", lease.run_key)


def _run(lease: Lease) -> None:
    job = stages.prepare(lease)
    stages.freeze_customers(job)
    if job.may_bind:
        stages.decide_chunks(job)
        allocate.apply_caps(job)
    with open_history(lease) as history:
        stages.write_chunks(job, history)
        finish.publish(job, history)
    finish.delete_scratch(job)
