"""What goes on while things break: runs are asked for over HTTP, and customers are changed."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from random import Random

import psycopg
from django.db import connection
from psycopg import sql

from campaigns.management.drill.bank import Bank
from campaigns.management.drill.patience import patiently
from campaigns.models import Campaign, CampaignRun
from kaireon import ids
from kaireon.database.base import dsn

PAUSE, TIMEOUT = 0.2, 30.0
#: Within which a caller who does not give up is answered: a web server needs some time to start.
ANSWERED_SECONDS = 900.0
#: How often a request that was answered is sent once more, as a caller may who saw no answer.
AGAIN = 0.25
DATA_SCHEMA = "data"


@dataclass(slots=True)
class Answers:
    """What the callers were told."""

    #: Idempotency-Key -> the run it stands for.
    runs: dict[str, int] = field(default_factory=dict)
    #: Answers by status; 0 stands for none at all.
    statuses: Counter[int] = field(default_factory=Counter)
    #: Answers of equal requests that differ, and refusals.
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0


@dataclass(slots=True)
class Callers:
    """Threads that each ask for a run, wait for its end, and ask for the next one."""

    address: str
    bank: Bank
    campaigns: list[Campaign]
    seed: str
    answers: Answers = field(default_factory=Answers)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, count: int) -> None:
        for number in range(count):
            thread = threading.Thread(target=self._call, args=(number,), name=f"caller {number}")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ask for no more runs."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        dice = Random(f"{self.seed} caller {number}")  # noqa: S311 - to be repeatable
        asked = 0
        try:
            while not self._stop.is_set():
                campaign = dice.choice(self.campaigns)
                run_key = self._ask(campaign, f"{self.seed}-{number}-{asked}", dice)
                asked += 1
                while run_key is not None and not self._stop.wait(PAUSE):
                    if patiently(partial(has_ended, run_key)):
                        break
        finally:
            connection.close()

    def _ask(self, campaign: Campaign, key: str, dice: Random) -> int | None:
        """Ask until there is an answer; sometimes once more."""
        end = time.monotonic() + ANSWERED_SECONDS
        run_key = self.ask_once(campaign, key)
        while run_key is None:
            if time.monotonic() > end:
                self.answers.faults.append(f"key {key} got no answer for {ANSWERED_SECONDS:.0f} s")
                return None
            time.sleep(PAUSE)
            run_key = self.ask_once(campaign, key)
        self.answers.runs[key] = run_key
        if dice.random() < AGAIN:
            again = self.ask_once(campaign, key)
            if again not in (None, run_key):
                self.answers.faults.append(f"key {key} stands for the runs {run_key} and {again}")
        return run_key

    def ask_once(self, campaign: Campaign, key: str) -> int | None:
        """Ask for a run; None if there was no answer, or one that says to ask again."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.address}/api/v1/runs/{campaign.public_id}/campaign-runs",
            data=b"{}",
            headers={
                "Authorization": f"Bearer {self.bank.api_key}",
                "Content-Type": "application/json",
                "Idempotency-Key": key,
            },
        )
        begin = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                status, body = answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error.code, key, error.read()[:200].decode(errors="replace"))
            return None
        except (OSError, ValueError):  # no server, no answer, or half of one
            self.answers.statuses[0] += 1
            return None
        self.answers.statuses[status] += 1
        self.answers.slowest = max(self.answers.slowest, time.monotonic() - begin)
        return ids.decode("CampaignRun", str(body["id"]))

    def _refused(self, status: int, key: str, why: str) -> None:
        self.answers.statuses[status] += 1
        if status < 500:
            self.answers.faults.append(f"key {key} was refused with {status}: {why}")


def has_ended(run_key: int) -> bool:
    unfinished = CampaignRun.unscoped.filter(pk=run_key, status__in=CampaignRun.UNFINISHED)
    return not unfinished.exists()


class CustomersChanging:
    """A session of its own that updates, deletes and adds customers while the block lasts."""

    def __init__(self, table: str, customers: int, seed: str) -> None:
        self._table, self._customers = sql.Identifier(DATA_SCHEMA, table), customers
        self._dice = Random(f"{seed} customers")  # noqa: S311 - to be repeatable
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="customers")
        self.changes = 0

    def __enter__(self) -> "CustomersChanging":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(dsn(), autocommit=True) as own:
                    while not self._stop.wait(0.01):
                        self._change(own)
            except psycopg.Error:
                self._stop.wait(PAUSE)

    def _change(self, own: psycopg.Connection) -> None:
        """Change one customer, lose one, and win one."""
        number = self._dice.randrange(1, self._customers + 1)
        update = "UPDATE {} SET balance = %s, in_arrears = NOT in_arrears WHERE customer_id = %s"
        delete = "DELETE FROM {} WHERE customer_id = %s"
        add = (
            "INSERT INTO {table} (customer_id, age, income, credit_score, email_opt_in,"
            " sms_opt_in, mail_opt_in, in_arrears)"
            " VALUES (%s, %s, 50000, 700, true, true, true, false) ON CONFLICT DO NOTHING"
        )
        balance = self._dice.randrange(100_000)
        own.execute(sql.SQL(update).format(self._table), [balance, f"HB{number:08d}"])
        lost = self._dice.randrange(1, self._customers + 1)
        own.execute(sql.SQL(delete).format(self._table), [f"HB{lost:08d}"])
        age = self._dice.randrange(18, 90)
        own.execute(sql.SQL(add).format(table=self._table), [f"N{self.changes:08d}", age])
        self.changes += 1
