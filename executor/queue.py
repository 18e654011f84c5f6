"""What is to be done next, as PostgreSQL sees it: the steps of runs, and the chunks of phases.

There is no other queue. Messages only say that it is worth a look.
"""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from campaigns.models.turn import must_wait

#: Phases whose work is the chunks'; in all others the run has a single next step.
CHUNK_PHASES = ("decide", "write")

#: A run (as `run`) whose next step is to be done, with nobody doing it.
CLAIMABLE = f"""
(run.lease_until IS NULL OR run.lease_until < now())
AND (
  run.status = 'pending' AND NOT (run.in_turn AND EXISTS (
    SELECT FROM campaigns_campaignrun AS earlier
    WHERE earlier.campaign_id = run.campaign_id AND earlier.run_number < run.run_number
      AND NOT earlier.dry_run
      AND earlier.status IN ('pending', 'running', 'paused', 'cancelling')))
  OR run.status = 'running' AND run.phase NOT IN ('decide', 'write')
  OR run.status = 'cancelling' AND NOT EXISTS (
    SELECT FROM campaigns_runchunk AS busy
    WHERE busy.run_id = run.id AND busy.lease_until > now())
)
AND NOT {must_wait("run")}
"""  # noqa: S608 - constants of ours

#: A chunk (as `chunk`) that its run's present phase has still to do, with nobody doing it.
TAKEABLE = """
run.status = 'running' AND run.phase IN ('decide', 'write')
AND (chunk.status = 'frozen' OR chunk.status = 'decided' AND run.phase = 'write')
AND (chunk.lease_until IS NULL OR chunk.lease_until < now())
AND (chunk.not_before IS NULL OR chunk.not_before <= now())
"""

RUNS = f"""
SELECT run.id FROM campaigns_campaignrun AS run
WHERE run.status IN ('pending', 'running', 'cancelling') AND {CLAIMABLE}
ORDER BY run.priority DESC, run.created_at, run.id
LIMIT %s
"""  # noqa: S608

CHUNKS = f"""
SELECT chunk.run_id, count(*) FROM campaigns_runchunk AS chunk
JOIN campaigns_campaignrun AS run ON run.id = chunk.run_id
WHERE {TAKEABLE}
GROUP BY chunk.run_id
"""  # noqa: S608


def claimable(limit: int | None = None) -> list[int]:
    """Runs whose next step nobody does, the most urgent first."""
    return [row[0] for row in _rows(RUNS, [limit])]


def takeable() -> list["Open"]:
    """Runs with chunks that nobody does."""
    return [Open(*row) for row in _rows(CHUNKS, [])]


@dataclass(frozen=True, slots=True)
class Open:
    """A run with so many chunks to do."""

    run_key: int
    chunks: int


def _rows(statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
