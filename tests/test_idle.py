"""What an idle worker does by itself goes on after anything that can go wrong for a while."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from campaigns.models import CampaignRun, Worker
from executor import idle
from executor.heartbeat import stopping
from tests import world as worlds
from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("clean_relations")


@contextmanager
def repeated(step: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=idle.repeat, args=[step])
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        stopping.clear()


def seen_lately() -> bool:
    return Worker.objects.filter(seen_at__gt=timezone.now() - timedelta(hours=1)).exists()


def forget() -> None:
    Worker.objects.update(seen_at=timezone.now() - timedelta(hours=2))


def test_a_lost_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "PAUSE", 0.05)
    with repeated(idle.show_life):
        wait_until(seen_lately)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
        forget()
        wait_until(seen_lately)


def test_life_is_shown_while_work_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "PAUSE", 0.05)
    going, end = threading.Event(), threading.Event()

    def work() -> None:
        going.set()
        assert end.wait(60)

    with repeated(work), repeated(idle.show_life):
        assert going.wait(60)
        wait_until(seen_lately)
        forget()
        wait_until(seen_lately)
        end.set()


def test_what_waits_is_done_without_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "PAUSE", 0.05)
    run = worlds.build(200).run()
    with repeated(idle.look):
        wait_until(lambda: CampaignRun.unscoped.get(pk=run.pk).status == "completed")
