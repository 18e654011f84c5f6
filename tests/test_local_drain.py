"""Triggers without a broker: one drain per host executes them all, whatever the web server does."""

import os
from pathlib import Path

import pytest

from campaigns.models import CampaignRun
from campaigns.services.waiting import waits_for, with_waits
from executor import drain
from executor.tasks import wake
from tests import factories
from tests import world as worlds
from tests.processes import environment, trigger, wait_until, web_server

pytestmark = pytest.mark.usefixtures("clean_relations")


def processes() -> list[tuple[int, int, str, str]]:
    """(pid, parent, state, command line) of all processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found.append((int(folder.name), int(stat[1]), stat[0], words))
    return found


def drains(var: Path) -> list[int]:
    """Running drains of this test, told by the lock they hold open."""
    lock = str(var / "drain.lock")
    pids = []
    for pid, _, state, words in processes():
        if state != "Z" and " drain --lock-fd" in words:
            try:
                open_files = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            if lock in open_files:
                pids.append(pid)
    return pids


def zombies_of(server: int) -> list[int]:
    """Dead processes that the web server or one of its workers has not reaped."""
    family = {server} | {pid for pid, parent, *_ in processes() if parent == server}
    return [pid for pid, parent, state, _ in processes() if state == "Z" and parent in family]


def test_twenty_triggers_make_one_drain_and_lose_nothing(tmp_path: Path) -> None:
    world = worlds.build(300)
    key = factories.api_key(world.tenant)
    env = environment(KAIREON_VAR=str(tmp_path), KAIREON_ENV="development")
    seen: set[int] = set()
    for _ in range(2):  # the web server is restarted after ten
        with web_server(env, tmp_path / "web.log") as (address, server):
            for _ in range(10):
                answer = trigger(address, world.campaign.public_id, key)
                assert answer["status"] == "pending"
                now = drains(tmp_path)
                assert len(now) <= 1
                seen.update(now)
            assert not zombies_of(server)
    runs = CampaignRun.objects.of(world.tenant)
    wait_until(lambda: not runs.filter(status__in=CampaignRun.UNFINISHED).exists(), seconds=180)
    assert seen
    assert list(runs.order_by("run_number").values_list("run_number", "status")) == [
        (number, "completed") for number in range(1, 21)
    ]
    wait_until(lambda: not drains(tmp_path))


def test_the_lock_has_one_holder(settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    first = drain.take_lock()
    assert first is not None
    assert drain.take_lock() is None
    os.close(first)
    again = drain.take_lock()
    assert again is not None
    os.close(again)


def test_a_run_committed_while_the_holder_lets_go_is_not_missed(settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    world = worlds.build(20)
    late: list[CampaignRun] = []

    def work() -> int:
        done = drain.drain()
        if not late:  # after the last look, before the lock is released
            late.append(world.run())
            assert drain.start()  # finds the lock taken and relies on its holder
        return done

    descriptor = drain.take_lock()
    assert descriptor is not None
    assert drain.drain_locked(descriptor, work) == 1
    late[0].refresh_from_db()
    assert late[0].status == "completed"


def test_without_fallback_a_run_waits_visibly(settings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False
    run = worlds.build(20).run()
    wake(run.pk)
    seen = with_waits(CampaignRun.unscoped.all()).get()
    assert (seen.status, waits_for(seen)) == ("pending", "worker")
