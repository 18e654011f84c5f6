"""Are two tables of results the same decision?"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from executor.results import table_name

#: Relative difference of scores: a run rounds them to six significant digits.
SCORE_TOLERANCE = 1e-5
#: Scores that differ by less than the executor's fixed point may change places, and only those.
TIES = 1e-5

COMPARE = """
SELECT count(ours.rank), count(*) FILTER (WHERE ours.rank IS NULL OR theirs.rank IS NULL),
       count(*) FILTER (WHERE (ours.offer_id, ours.channel_id, ours.creative_id)
           IS DISTINCT FROM (theirs.offer_id, theirs.channel_id, theirs.creative_id)),
       coalesce(max(abs(ours.score - theirs.score) / ours.score), 0)
FROM (SELECT * FROM {ours} WHERE {last}::text IS NULL OR customer_key <= {last}) AS ours
FULL JOIN {theirs} AS theirs USING (customer_key, rank)
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of the run, rows without a partner, other offers, and the widest score difference."""

    rows: int
    lonely: int
    different: int
    score_gap: float

    @property
    def is_equal(self) -> bool:
        """Every customer has the same ranks; offers differ at most in ties, so scores agree."""
        return (
            self.lonely == 0
            and self.different <= self.rows * TIES
            and self.score_gap <= SCORE_TOLERANCE
        )


def compare(
    own: psycopg.Connection, run_key: int, table: str, last_key: str | None = None
) -> Comparison:
    """Compare a run's results, up to the customer `last_key`, with those in `table`."""
    statement = sql.SQL(COMPARE).format(
        ours=sql.Identifier(table_name(run_key)),
        theirs=sql.Identifier(table),
        last=sql.Literal(last_key),
    )
    rows, lonely, different, gap = own.execute(statement).fetchall()[0]
    return Comparison(rows, lonely, different, gap)
