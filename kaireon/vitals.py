"""How the work stands, over all tenants: for probes and metrics, read by a few cheap statements.

Each statement reads what is unfinished or recent by an index of its own, so none becomes slower as
runs add up. Ages are in seconds by PostgreSQL's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from campaigns.models.turn import must_wait

#: A process not seen for so long is taken for gone.
SEEN_SECONDS = 60

RUNS = """
SELECT status, count(*) FROM campaigns_campaignrun
WHERE status IN ('pending', 'running', 'paused', 'cancelling')
GROUP BY status
"""

# Pending, and neither waiting for its turn nor put back for a while.
UNDISPATCHED = f"""
SELECT extract(epoch FROM now() - min(run.created_at))::float8
FROM campaigns_campaignrun AS run
WHERE run.status = 'pending' AND (run.lease_until IS NULL OR run.lease_until < now())
  AND NOT (run.in_turn AND EXISTS (
    SELECT FROM campaigns_campaignrun AS earlier
    WHERE earlier.campaign_id = run.campaign_id AND earlier.run_number < run.run_number
      AND NOT earlier.dry_run
      AND earlier.status IN ('pending', 'running', 'paused', 'cancelling')))
  AND NOT {must_wait("run")}
"""  # noqa: S608 - constants of ours

ENDED = """
SELECT status, count(*), coalesce(sum(audience_count), 0)::bigint,
  coalesce(max(extract(epoch FROM completed_at - started_at)), 0)::float8
FROM campaigns_campaignrun
WHERE completed_at > now() - interval '1 hour'
GROUP BY status
"""

# Chunks of the present phase; a chunk has no time of its own, so the run's begin stands in for it.
CHUNKS = """
SELECT state, count(*), max(extract(epoch FROM now() - since))::float8
FROM (
  SELECT greatest(chunk.lease_until, chunk.not_before, run.started_at) AS since,
    CASE WHEN chunk.lease_until > now() THEN 'leased'
         WHEN chunk.not_before > now() THEN 'retry'
         ELSE 'to_do' END AS state
  FROM campaigns_runchunk AS chunk JOIN campaigns_campaignrun AS run ON run.id = chunk.run_id
  WHERE run.status = 'running' AND run.phase IN ('decide', 'write')
    AND (chunk.status = 'frozen' OR chunk.status = 'decided' AND run.phase = 'write')
) AS present
GROUP BY state
"""

DEAD_LETTERS = "SELECT topic, count(*) FROM campaigns_deadletter GROUP BY topic"

TICKS = """
SELECT outcome, sum(instants)::bigint FROM campaigns_tick
WHERE decided_at > now() - interval '1 hour'
GROUP BY outcome
"""

LAG = """
SELECT extract(epoch FROM now() - min(next_run_at))::float8
FROM campaigns_campaign WHERE next_run_at IS NOT NULL
"""

WORKERS = """
SELECT kind, name, done, extract(epoch FROM now() - seen_at)::float8,
  extract(epoch FROM now() - worked_at)::float8, extract(epoch FROM seen_at)::float8
FROM campaigns_worker
ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Process:
    kind: str
    name: str
    done: int
    seen_age: float
    #: Since it last ended a step; None before the first.
    worked_age: float | None
    #: Unix time.
    seen_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Runs that ended in the last hour with one status."""

    runs: int
    customers: int
    longest_seconds: float


@dataclass(frozen=True, slots=True)
class Vitals:
    #: Unfinished runs by status; a status without runs is not there.
    runs: Mapping[str, int]
    #: Age of the oldest run that somebody should have taken up; 0 without one.
    undispatched_seconds: float
    ended: Mapping[str, Ended]
    #: Chunks of the present phase of running runs: to_do, leased, retry.
    chunks: Mapping[str, int]
    #: At most how long the oldest chunk that somebody could take has waited; 0 without one.
    runnable_seconds: float
    dead_letters: Mapping[str, int]
    #: Scheduled instants that were decided on in the last hour, by outcome.
    ticks: Mapping[str, int]
    #: How long ago the campaign that waits longest was due; 0 if none is.
    scheduler_lag: float
    #: Processes seen in the last day.
    processes: list[Process]

    @property
    def pulse(self) -> Process | None:
        """The process that ran the last pulse."""
        pulses = (process for process in self.processes if process.kind == "pulse")
        return min(pulses, key=lambda process: process.seen_age, default=None)

    def seen(self) -> dict[str, int]:
        """How many processes of each kind live."""
        kinds = [p.kind for p in self.processes if p.seen_age <= SEEN_SECONDS]
        return {kind: kinds.count(kind) for kind in ("worker", "drain", "pulse")}


def read(own: psycopg.Connection) -> Vitals:
    """Read it all by eight statements. Raises psycopg.Error."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        return own.execute(statement.encode()).fetchall()

    def age(statement: str) -> float:
        (found,) = rows(statement)[0]
        return max(0.0, found or 0.0)

    chunks = {state: (count, seconds) for state, count, seconds in rows(CHUNKS)}
    return Vitals(
        runs=dict(rows(RUNS)),
        undispatched_seconds=age(UNDISPATCHED),
        ended={status: Ended(*values) for status, *values in rows(ENDED)},
        chunks={state: count for state, (count, _) in chunks.items()},
        runnable_seconds=max(0.0, chunks.get("to_do", (0, 0.0))[1] or 0.0),
        dead_letters=dict(rows(DEAD_LETTERS)),
        ticks=dict(rows(TICKS)),
        scheduler_lag=age(LAG),
        processes=[Process(*row) for row in rows(WORKERS)],
    )
