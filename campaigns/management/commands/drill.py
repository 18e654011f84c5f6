"""`manage.py drill`: see runs survive the death of everything around them, in a sandbox."""

import json
import signal
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from campaigns.management.drill import sandbox as sandboxes
from campaigns.management.drill.course import SCENES, Course, Wanted
from campaigns.management.drill.report import as_json, print_result

#: (option, default, least, help)
NUMBERS = (
    ("kills", 20, 0, "how often something is killed while runs go on"),
    ("retakes", 5, 1, "how often a worker that has a chunk is killed, by the shipped settings"),
    ("customers", 50_000, 1000, "customers of each of the two tables"),
    ("seed", 1, 0, "what every choice of the drill follows from"),
    ("lease", 3, 1, "seconds of a lease while things are killed"),
    ("workers", 3, 1, "Celery workers; the last of several forks, the others have threads"),
    ("runs", 3, 1, "runs that are in work at the same time"),
    ("chunk-rows", 8192, 1024, "customers of a chunk while things are killed"),
)


def number(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f"must be a whole number, {least} or more")
    return int(text)


class Command(BaseCommand):
    help = (
        "Run campaigns while workers, beat, web server, Redis and PostgreSQL are killed, and check"
        " that every run ends with each customer once. Works in a sandbox of its own."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        for name, default, least, told in NUMBERS:
            parser.add_argument(
                f"--{name}", type=partial(number, least), default=default, metavar="N", help=told
            )
        parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES))
        parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and keep it")
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        parser.add_argument("--inside", type=Path, help=SUPPRESS)
        parser.add_argument("--ports", help=SUPPRESS)

    def handle(self, *_: Any, inside: Path | None, ports: str | None, **options: Any) -> None:
        sandboxes.check_system()
        if options["chunk_rows"] % 1024:
            raise CommandError("--chunk-rows must be a multiple of 1024")
        if inside is None or ports is None:
            sandboxes.valkey_server()
            folder = sandboxes.new_folder(options["keep"])
            sandboxes.enter(sandboxes.Sandbox.at(folder, *sandboxes.free_ports(2)), sys.argv)
        else:
            sandbox = sandboxes.Sandbox.at(inside, *map(int, ports.split(",")))
            self._drill(sandbox, options)

    def _drill(self, sandbox: sandboxes.Sandbox, options: dict[str, Any]) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
        numbers = {name.replace("-", "_") for name, *_ in NUMBERS}
        wanted = Wanted(**{name: options[name] for name in numbers}, scenes=options["only"])
        is_kept = options["keep"] is not None
        try:
            result = Course(sandbox, wanted, self.stderr.write).run()
        except (SystemExit, KeyboardInterrupt):
            if not is_kept:
                sandbox.remove()
            raise
        if options["json"]:
            self.stdout.write(json.dumps(as_json(result)))
        else:
            print_result(Console(), result)
        if result.broken:
            raise CommandError(f"{len(result.broken)} broken; {sandbox.folder} has the logs")
        if not is_kept:
            sandbox.remove()
