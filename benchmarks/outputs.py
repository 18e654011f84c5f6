"""What a run leaves besides its results, made by SQL: the contacts and the file."""

import tempfile
import time
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from benchmarks.floor import receive
from benchmarks.runs import remove_contacts
from campaigns.models import Campaign
from executor.contacts import partition

CONTACTS = """
INSERT INTO {contacts}
    (at, tenant_id, campaign_id, run_id, offer_id, channel_id, creative_id, customer_key)
SELECT {at}, {tenant}, {campaign}, run_id, offer_id, channel_id, creative_id, customer_key
FROM {results}
"""

FILE = """
COPY (
    SELECT customer_key AS customer_id, offer.name AS offer_name, channel.name AS channel, score
    FROM {results}
    JOIN campaigns_offer AS offer ON offer.id = offer_id
    JOIN campaigns_channel AS channel ON channel.id = channel_id
    ORDER BY customer_key, rank
) TO STDOUT (FORMAT csv, HEADER)
"""


def time_outputs(own: psycopg.Connection, campaign: Campaign, table: str) -> float:
    """Seconds to record the results in `table` as contacts and to write the campaign's file.

    As before a run, there are no contacts of the tenant at first, and none are left.
    """
    now = datetime.now(UTC)
    names = {
        "contacts": sql.Identifier(partition(now)),
        "results": sql.Identifier(table),
        "at": sql.Literal(now),
        "tenant": sql.Literal(campaign.tenant_id),
        "campaign": sql.Literal(campaign.pk),
    }
    remove_contacts(own, campaign.tenant_id)
    start = time.perf_counter()
    own.execute(sql.SQL(CONTACTS).format(**names))
    with tempfile.TemporaryFile() as file:
        receive(own, sql.SQL(FILE).format(**names), file)
    seconds = time.perf_counter() - start
    remove_contacts(own, campaign.tenant_id)
    return seconds
