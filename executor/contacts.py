"""Delivered recommendations -> contact history, which outlives run and campaign.

Contacts are loaded beside the results, in the transaction that ends the run. So a policy never
sees contacts of a run that did not finish, and a lost attempt leaves none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from campaigns.models import CampaignRun
from executor import pgcopy, results
from executor.pgcopy import Field
from executor.progress import Lease
from executor.results import ResultRows
from kaireon.database.base import dsn

PARENT = "campaigns_contact"
COLUMNS = (
    "at",
    "tenant_id",
    "campaign_id",
    "run_id",
    "offer_id",
    "channel_id",
    "creative_id",
    "customer_key",
)
#: Where PostgreSQL counts the microseconds of a timestamp from.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Held while a month's partition is made, so that two finishing runs do not both make it.
PARTITION_LOCK = 0x6B61697265


@dataclass(frozen=True, slots=True)
class History:
    """The contacts of a run in work: visible once the transaction of `own` commits."""

    own: psycopg.Connection
    at: datetime
    tenant_key: int
    campaign_key: int
    run_key: int

    def add(self, rows: ResultRows) -> None:
        """Load one contact per result."""
        same = (microseconds(self.at), self.tenant_key, self.campaign_key, self.run_key)
        fields = (
            *(Field(">i8", value) for value in same),
            Field(">i8", rows.offers),
            Field(">i8", rows.channels),
            Field(">i8", rows.creatives, missing=rows.without_creative),
        )
        data = pgcopy.encode(fields, rows.keys)
        results.copy(self.own, partition(self.at), COLUMNS, data)

    def add_written(self) -> None:
        """Load the contacts of the chunks that earlier attempts have written."""
        statement = sql.SQL(
            "INSERT INTO {contact} (at, tenant_id, campaign_id, run_id, offer_id, channel_id,"
            " creative_id, customer_key) SELECT %s, %s, %s, run_id, offer_id, channel_id,"
            " creative_id, customer_key FROM {table}"
        )
        self.own.execute(
            statement.format(
                contact=sql.Identifier(partition(self.at)),
                table=sql.Identifier(results.table_name(self.run_key)),
            ),
            [self.at, self.tenant_key, self.campaign_key],
        )


@contextmanager
def open_history(lease: Lease) -> Iterator[History]:
    """Begin the transaction that will end the run; what it does not commit is as if never done."""
    run = CampaignRun.unscoped.only("tenant_id", "campaign_id").get(pk=lease.run_key)
    with psycopg.connect(dsn(), autocommit=True) as own:
        results.create_table(own, lease.run_key)
        at = _now(own)
        _ensure_partition(own, at)
        with own.transaction():
            # The transaction waits while chunks are decided, which may take longer than a
            # server allows to idle.
            own.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            history = History(own, at, run.tenant_id, run.campaign_id, lease.run_key)
            history.add_written()
            yield history


def microseconds(at: datetime) -> int:
    """The instant as the binary format of COPY has it."""
    return (at - EPOCH) // timedelta(microseconds=1)


def partition(at: datetime) -> str:
    return f"{PARENT}_{at.astimezone(UTC):y%Ym%m}"


def _now(own: psycopg.Connection) -> datetime:
    row = own.execute("SELECT now()").fetchone()
    assert row is not None  # noqa: S101 - always one row
    now: datetime = row[0]
    return now.astimezone(UTC)


def _ensure_partition(own: psycopg.Connection, at: datetime) -> None:
    """Make the month's partition in its own transaction: attaching locks the parent briefly."""
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    statement = sql.SQL("CREATE TABLE {name} PARTITION OF {parent} FOR VALUES FROM ({a}) TO ({b})")
    with own.transaction():
        own.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITION_LOCK])
        if own.execute("SELECT to_regclass(%s)", [partition(at)]).fetchone() == (None,):
            own.execute(
                statement.format(
                    name=sql.Identifier(partition(at)),
                    parent=sql.Identifier(PARENT),
                    a=sql.Literal(start),
                    b=sql.Literal(end),
                )
            )
