"""`manage.py bench`: measure a run against the least its database must do for it."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from benchmarks.data import Size
from benchmarks.measuring import Wanted, measure
from benchmarks.report import print_report


class Command(BaseCommand):
    help = (
        "Measure a run over made-up customers, which stay in the database for the next time,"
        " against a bare COPY in and out, one SQL statement and a Python loop."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=1_000_000)
        parser.add_argument("--offers", type=int, default=50)
        parser.add_argument("--channels", type=int, default=3)
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        parser.add_argument("--keep", action="store_true", help="keep the last run and its results")
        parser.add_argument("--skip-sql", action="store_true", help="without the SQL statements")
        parser.add_argument("--skip-loop", action="store_true", help="without the Python loop")

    def handle(self, *_: Any, **options: Any) -> None:
        size = Size(options["customers"], options["offers"], options["channels"])
        if min(size.customers, size.offers, size.channels) < 1:
            raise CommandError("--customers, --offers and --channels must be at least 1")
        wanted = Wanted(
            size,
            sql=not options["skip_sql"],
            loop=not options["skip_loop"],
            keep=options["keep"],
        )
        call_command("migrate", verbosity=0)
        result = measure(wanted, say=self.stderr.write)
        if options["json"]:
            self.stdout.write(json.dumps(result))
            return
        console = Console()
        with console.capture() as table:
            print_report(result, console)
        self.stdout.write(table.get())
