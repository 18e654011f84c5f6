"""`manage.py drain`: execute waiting runs on this host, until none waits.

Told to end (SIGTERM, SIGINT), it returns what it has in work at the next boundary.
"""

import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.management.progress import progress_bar
from campaigns.models import CampaignRun
from executor import drain
from executor.heartbeat import stopping
from kaireon import ids


class Command(BaseCommand):
    help = "Execute waiting campaign runs on this host until there are none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--run", help="only this run, by its number or public id (crun_…)")
        parser.add_argument("--lock-fd", type=int, help="inherited lock of the local drain")
        parser.add_argument("--progress", action="store_true", help="draw a progress bar")

    def handle(
        self, *_: Any, run: str | None, lock_fd: int | None, progress: bool, **__: Any
    ) -> None:
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, lambda *_: stopping.set())
        if run is not None:
            key = _run_key(run)
            with progress_bar(show=progress or sys.stderr.isatty()) as watch:
                drain.wait_for(key, watch)
            self._report(key)
            return
        descriptor = drain.take_lock() if lock_fd is None else lock_fd
        if descriptor is None:
            self.stderr.write("another drain is at work on this host")
            return
        done = drain.drain_locked(descriptor)
        left = "told to end" if stopping.is_set() else "none is waiting"
        self.stderr.write(f"{done} runs worked on; {left}")

    def _report(self, run_key: int) -> None:
        run = CampaignRun.unscoped.get(pk=run_key)
        if run.status == CampaignRun.Status.FAILED:
            raise CommandError(f"run {run.public_id} failed: {run.error}")
        self.stderr.write(f"run {run.public_id} {run.status}")


def _run_key(text: str) -> int:
    key = int(text) if text.isdecimal() else ids.decode("CampaignRun", text)
    if key is None or not CampaignRun.unscoped.filter(pk=key).exists():
        raise CommandError(f"there is no run {text}; give its number or its id (crun_…)")
    return key
