"""Load customers from a CSV or Parquet file."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from campaigns.management.tenants import chosen_tenant
from campaigns.services import imports
from campaigns.services.errors import Conflict
from executor.errors import Rejected

_PHASES = {"check": "Checking", "load": "Loading"}


class Command(BaseCommand):
    help = (
        "Load customers from a CSV or Parquet file: all rows or none. Delimiter, encoding and"
        " types are found out unless given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("file", metavar="FILE", type=Path)
        add("--schema", required=True, metavar="NAME", help="name of the table in kaireon")
        add("--key", default="", metavar="COLUMN", help="column, or row_number to number the rows")
        add("--tenant", metavar="SLUG", help="needed if there is more than one")
        add("--mode", choices=list(imports.Mode), default=imports.Mode.CREATE)
        add("--types", default="", metavar="COLUMN:TYPE,...", help="also as a JSON object")
        add("--delimiter", default="", help="one character, or tab")
        add("--encoding", default="", help="such as utf-8, utf-16, cp1252")
        add("--skip-bad-rows", type=Path, metavar="FILE", help="collect them here, load the rest")
        add("--progress", action="store_true", help="show the bar also when stderr is no terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = chosen_tenant(options["tenant"])
        started = time.monotonic()
        try:
            with _bar(forced=options["progress"]) as progress:
                result = imports.import_customers(
                    tenant,
                    options["file"],
                    schema=options["schema"],
                    key=options["key"],
                    mode=options["mode"],
                    options=_read_options(options),
                    progress=progress,
                )
        except (Rejected, Conflict) as error:
            raise CommandError(f"Nothing was imported. {error}") from error
        self._report(result, time.monotonic() - started, options["skip_bad_rows"])

    def _report(self, result: imports.ImportResult, seconds: float, bad_file: Path | None) -> None:
        schema = result.schema
        self.stdout.write(
            f'Imported {result.loaded:,} rows into "{schema.name}" ({schema.public_id}, table'
            f" {schema.relation_schema}.{schema.relation_name}) in {seconds:.1f} s:"
            f" {schema.row_count:,} rows now, key {schema.key_column}."
        )
        self.stdout.write(f"Read as {result.description}. Columns:")
        for column in schema.columns:
            self.stdout.write(f"  {column['name']}: {column['type']}")
        if bad_file:
            self.stdout.write(f"Skipped {result.skipped:,} bad rows, listed in {bad_file}.")


def _read_options(options: dict[str, Any]) -> imports.ImportOptions:
    return imports.ImportOptions(
        types=imports.parse_types(options["types"]),
        delimiter=options["delimiter"],
        encoding=options["encoding"],
        skip_bad_rows=options["skip_bad_rows"],
    )


@contextmanager
def _bar(*, forced: bool) -> Iterator[Any]:
    """A progress bar on stderr for whoever watches; the phases take turns."""
    if not (forced or sys.stderr.isatty()):
        yield None
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(_PHASES[phase], total=total)
            bar.update(tasks[phase], completed=done)

        yield show
