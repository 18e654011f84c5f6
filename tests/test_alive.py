"""The health checks of processes without a port: they fail for silence, and for nothing else."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from campaigns.models import Worker
from executor import workers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def beat() -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=15, period="seconds")
    PeriodicTask.objects.filter(name="pulse").delete()
    return PeriodicTask.objects.create(name="pulse", task="campaigns.tasks.pulse", interval=every)


def seen_ago(seconds: int) -> None:
    Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=seconds))


def test_a_worker_that_shows_itself_lives(capsys: pytest.CaptureFixture[str]) -> None:
    workers.seen("worker")
    call_command("alive", "worker")
    assert capsys.readouterr().out == "The worker lives.\n"
    seen_ago(50)
    call_command("alive", "worker")


def test_a_silent_worker_does_not() -> None:
    with pytest.raises(CommandError, match=r"^The worker has not been seen\.$"):
        call_command("alive", "worker")
    workers.seen("worker")
    seen_ago(70)
    with pytest.raises(CommandError, match=r"^The worker was last seen 7\d s ago\.$"):
        call_command("alive", "worker")


def test_other_hosts_and_kinds_do_not_count() -> None:
    workers.seen("drain")
    Worker.objects.create(name="worker@elsewhere:1", kind="worker", done=0)
    with pytest.raises(CommandError, match="has not been seen"):
        call_command("alive", "worker")


def test_a_worker_that_was_started_again_lives() -> None:
    name = workers.of_this_host("worker") + "1"
    Worker.objects.create(name=name, kind="worker", done=0)
    seen_ago(900)
    workers.seen("worker")
    call_command("alive", "worker")


@pytest.mark.parametrize(("seconds", "lives"), [(None, False), (200, True), (400, False)])
def test_beat_lives_while_it_sends(beat: PeriodicTask, seconds: int | None, lives: bool) -> None:
    if seconds is not None:
        last = timezone.now() - timedelta(seconds=seconds)
        PeriodicTask.objects.filter(pk=beat.pk).update(last_run_at=last)
    if lives:
        call_command("alive", "beat")
    else:
        with pytest.raises(CommandError, match="The beat"):
            call_command("alive", "beat")


def test_beat_may_be_switched_off(beat: PeriodicTask) -> None:
    PeriodicTask.objects.filter(pk=beat.pk).update(enabled=False)
    call_command("alive", "beat")


def test_nobody_is_blamed_for_the_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = connection.get_connection_params()
    away = params | {"host": "127.0.0.1", "port": "1"}
    monkeypatch.setattr(connection, "get_connection_params", lambda: away)
    call_command("alive", "worker")
    assert capsys.readouterr().out == "The database does not answer, so nothing is known.\n"
