"""What held out customers would have got -> their own table: the counterfactual of a run."""

import polars as pl
from django.db import connection

from campaigns.models import HeldOut
from executor import results
from executor.decide import counterfactual
from executor.job import Job

TABLE = "campaigns_heldout"


def counterfactual_rows(job: Job, frame: pl.DataFrame) -> results.ResultRows | None:
    """The counterfactual of a chunk; None if nobody can be held out."""
    found = counterfactual(job.decider, frame)
    return None if found is None else results.result_rows(job.plan, *found)


def load(rows: results.ResultRows | None, run_key: int, chunk: int) -> None:
    """Load it inside the transaction that ends the chunk's step."""
    if rows is not None and len(rows.keys):
        data = results.encode(rows, run_key, chunk)
        results.copy(connection.connection, TABLE, results.COLUMNS, data)


def drop(run_key: int) -> None:
    """Delete what is stored for a run."""
    HeldOut.objects.filter(run_id=run_key).delete()
