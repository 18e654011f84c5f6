"""`manage.py serve`: the web site and the scheduler of one machine, which end together."""

import ctypes
import os
import select
import signal
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from campaigns.management.listening import listen

WEB = ("-m", "gunicorn", "kaireon.wsgi", "--workers", "2", "--threads", "4", "--no-control-socket")
SCHEDULER = (str(settings.BASE_DIR / "manage.py"), "pulse")

#: Seconds to end in peace. gunicorn gives its requests 30.
PATIENCE = 35
PR_SET_PDEATHSIG = 1


class Command(BaseCommand):
    help = "Serve admin and API and run the scheduler, until Ctrl-C or until either of them ends."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT")

    def handle(self, *_: Any, bind: str, **__: Any) -> None:
        signals = listen(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        children = {}
        try:
            children["web server"] = start(*WEB, "--bind", bind)
            children["scheduler"] = start(*SCHEDULER)
            self.stderr.write(f"Serving http://{bind}/admin/, and the scheduler runs. Ctrl-C ends.")
            first = wait_for_the_first(children, signals)
        finally:
            for child in children.values():
                child.terminate()
            for child in children.values():
                end(child)
        if first:
            code = children[first].returncode
            raise CommandError(f"The {first} ended by itself (exit code {code}), so all has ended.")


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own commands
        [sys.executable, *words],
        cwd=settings.BASE_DIR,
        preexec_fn=end_with_parent if sys.platform == "linux" else None,
    )


def end_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, in whatever way."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for_the_first(children: dict[str, subprocess.Popen[bytes]], signals: int) -> str | None:
    """Return which child has ended, or None once this process was told to end."""
    while True:
        select.select([signals], [], [])
        if {signal.SIGTERM, signal.SIGINT} & {*os.read(signals, 64)}:
            return None
        for name, child in children.items():
            if child.poll() is not None:
                return name


def end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
