"""Delivered recommendations -> contact history, which outlives run and campaign.

Contacts are loaded chunk by chunk, but held: none of them is true before the transaction that ends
the run takes the hold away. A run that ends otherwise leaves none.
"""

from datetime import UTC, datetime, timedelta

import psycopg
from django.db import connection, transaction
from psycopg import sql

from campaigns.models import CampaignRun, ContactHold
from executor import pgcopy, results
from executor.job import Job
from executor.pgcopy import Field
from executor.results import ResultRows

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
#: Held while tables are made, so that two runs do not both make the same.
PREPARE_LOCK = 0x6B61697265


def prepare(job: Job) -> None:
    """Make the places for the run's results and contacts, unless an earlier attempt has."""
    with transaction.atomic():
        own = connection.connection
        _lock(own)
        run = CampaignRun.unscoped.only("contacts_at", "reopened").get(pk=job.run_key)
        results.create_table(own, job.run_key, run.reopened)
        if run.contacts_at is None:
            at = make_ready(own)
            CampaignRun.unscoped.filter(pk=job.run_key).update(contacts_at=at)
            ContactHold.objects.create(run_id=job.run_key, at=at)


def make_ready(own: psycopg.Connection) -> datetime:
    """The present instant, whose partition is there once the present transaction ends."""
    _lock(own)
    at = _now(own)
    ensure_partition(own, at)
    return at


def load(rows: ResultRows, job: Job, at: datetime) -> None:
    """Load one contact per result inside the present transaction."""
    same = (microseconds(at), job.tenant_key, job.campaign_key, job.run_key)
    fields = (
        *(Field(">i8", value) for value in same),
        Field(">i8", rows.offers),
        Field(">i8", rows.channels),
        Field(">i8", rows.creatives, missing=rows.without_creative),
    )
    data = pgcopy.encode(fields, rows.keys)
    results.copy(connection.connection, partition(at), COLUMNS, data)


def add_late(own: psycopg.Connection, job: Job, at: datetime, reopened: int) -> None:
    """Add the contacts of the chunks for which the run was opened again."""
    statement = sql.SQL(
        "INSERT INTO {contact} (at, tenant_id, campaign_id, run_id, offer_id, channel_id,"
        " creative_id, customer_key) SELECT %s, %s, %s, run_id, offer_id, channel_id,"
        " creative_id, customer_key FROM {table}"
    )
    own.execute(
        statement.format(
            contact=sql.Identifier(partition(at)),
            table=sql.Identifier(results.table_name(job.run_key, reopened)),
        ),
        [at, job.tenant_key, job.campaign_key],
    )


def make_true(own: psycopg.Connection, run_key: int) -> None:
    """Take the hold away inside the transaction that ends the run."""
    own.execute("DELETE FROM campaigns_contacthold WHERE run_id = %s", [run_key])


def drop_held(run_key: int) -> None:
    """Delete the contacts of a run that has ended without them, and then the hold."""
    hold = ContactHold.objects.filter(run_id=run_key).first()
    if hold is None:
        return
    with transaction.atomic():
        statement = sql.SQL("DELETE FROM {} WHERE run_id = %s")
        name = sql.Identifier(partition(hold.at))
        connection.connection.execute(statement.format(name), [run_key])
        hold.delete()


def microseconds(at: datetime) -> int:
    """The instant as the binary format of COPY has it."""
    return (at - EPOCH) // timedelta(microseconds=1)


def partition(at: datetime) -> str:
    return f"{PARENT}_{at.astimezone(UTC):y%Ym%m}"


def _lock(own: psycopg.Connection) -> None:
    own.execute("SELECT pg_advisory_xact_lock(%s)", [PREPARE_LOCK])


def _now(own: psycopg.Connection) -> datetime:
    row = own.execute("SELECT now()").fetchone()
    assert row is not None  # noqa: S101 - always one row
    now: datetime = row[0]
    return now.astimezone(UTC)


def ensure_partition(own: psycopg.Connection, at: datetime) -> None:
    """Make the month's partition: attaching locks the parent, so it is the month's first run's."""
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    statement = sql.SQL("CREATE TABLE {name} PARTITION OF {parent} FOR VALUES FROM ({a}) TO ({b})")
    if own.execute("SELECT to_regclass(%s)", [partition(at)]).fetchone() == (None,):
        own.execute(
            statement.format(
                name=sql.Identifier(partition(at)),
                parent=sql.Identifier(PARENT),
                a=sql.Literal(start),
                b=sql.Literal(end),
            )
        )
