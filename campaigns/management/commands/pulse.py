"""`manage.py pulse`: the scheduler without beat and without a broker."""

import logging
import select
import signal
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections, connection

from campaigns.management.listening import listen
from campaigns.services.pulse import Counts, pulse

logger = logging.getLogger(__name__)

EVERY = 15.0


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ArgumentTypeError("must be a number of seconds") from error
    if not 0.1 <= value <= 3600:
        raise ArgumentTypeError("must be from 0.1 to 3600")
    return value


class Command(BaseCommand):
    help = "Make the runs of the campaigns that are due, again and again until SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="look once, then end")
        parser.add_argument(
            "--every", type=seconds, default=EVERY, metavar="SECONDS", help="default: 15"
        )

    def handle(self, *_: Any, once: bool, every: float, **__: Any) -> None:
        if once:
            self.stdout.write(told(pulse()))
            return
        signals = listen(signal.SIGTERM, signal.SIGINT)
        logger.info("the scheduler looks every %g s", every)
        beat()
        while not select.select([signals], [], [], every)[0]:
            beat()
        logger.info("the scheduler ends")


def beat() -> None:
    """One pulse. Whatever goes wrong is logged: the next one may do better."""
    try:
        close_old_connections()
        counts = pulse()
    except Exception:
        logger.exception("this pulse failed")
        connection.close()
    else:
        if counts != Counts():
            logger.info(told(counts))


def told(counts: Counts) -> str:
    return (
        f"{counts.campaigns} campaigns due: {counts.run} runs, {counts.skipped} skipped,"
        f" {counts.missed} missed, {counts.refused} refused; {counts.dispatched} dispatched"
    )
