"""Who is at work: every process that works renews its row, so that its silence can be seen."""

import os
import socket

from django.db import connection

SEEN = """
WITH gone AS (
  DELETE FROM campaigns_worker WHERE id IN (
    SELECT id FROM campaigns_worker
    WHERE seen_at < now() - interval '1 day' AND name <> %(name)s
    FOR UPDATE SKIP LOCKED)
)
INSERT INTO campaigns_worker (name, kind, done) VALUES (%(name)s, %(kind)s, 0)
ON CONFLICT (name) DO UPDATE SET seen_at = now()
"""

WORKED = """
INSERT INTO campaigns_worker AS worker (name, kind, worked_at, done)
VALUES (%(name)s, %(kind)s, now(), 1)
ON CONFLICT (name) DO UPDATE SET seen_at = now(), worked_at = now(), done = worker.done + 1
"""


def name(kind: str) -> str:
    """The process's name in the table: "<kind>@<host>:<pid>"."""
    return f"{of_this_host(kind)}{os.getpid()}"


def of_this_host(kind: str) -> str:
    """How the names of the processes begin that are of this kind, on this host."""
    return f"{kind}@{socket.gethostname()}:"


def seen(kind: str) -> None:
    """Note that this process lives; forget the ones that have not been seen for a day."""
    _note(SEEN, kind)


def worked(kind: str) -> None:
    """Note that this process has ended a step of a run, or a chunk."""
    _note(WORKED, kind)


def _note(statement: str, kind: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"name": name(kind), "kind": kind})
