"""`manage.py alive`: what a container's health check runs."""

from argparse import ArgumentParser
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError

from executor import workers
from kaireon.database.base import probing

#: Seconds that the database gets; then nothing is known.
PATIENCE = 4

WORKER = """
SELECT extract(epoch FROM now() - max(seen_at))::float8 FROM campaigns_worker
WHERE starts_with(name, %s)
"""

# Beat writes down now and then what it has sent. Who has switched the entry off wants no beat.
BEAT = """
SELECT CASE WHEN enabled THEN extract(epoch FROM now() - last_run_at) ELSE 0 END::float8
FROM django_celery_beat_periodictask WHERE name = %s
"""

#: By kind: the statement, its value, and after how many seconds of silence it is no more.
SIGNS = {
    "worker": (WORKER, workers.of_this_host("worker"), 60),
    "beat": (BEAT, "pulse", 300),
}


class Command(BaseCommand):
    help = (
        "Fail unless this host's worker, or the installation's beat, has lately shown in the "
        "database that it lives. While the database is away nobody is to be restarted."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=SIGNS)

    def handle(self, *_: Any, kind: str, **__: Any) -> None:
        statement, value, longest = SIGNS[kind]
        try:
            with probing(PATIENCE) as own:
                row = own.execute(statement.encode(), [value]).fetchone()
        except psycopg.Error:
            self.stdout.write("The database does not answer, so nothing is known.")
            return
        silent = row[0] if row else None
        if silent is None or silent > longest:
            since = "has not been seen" if silent is None else f"was last seen {silent:.0f} s ago"
            raise CommandError(f"The {kind} {since}.")
        self.stdout.write(f"The {kind} lives.")
