"""`manage.py serve`: web site and scheduler start together and end together."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from campaigns.models import Worker
from kaireon.access.models import Tenant
from tests import factories
from tests.due import make_due, runs
from tests.processes import free_port, manage, wait_until
from tests.sources import ROOT

pytestmark = pytest.mark.usefixtures("clean_relations")


@dataclass
class Served:
    parent: subprocess.Popen[bytes]
    port: int
    log: Path
    #: All processes below the parent once both serve.
    below: list[int]

    def child(self, word: str) -> int:
        (found,) = (pid for pid in children(self.parent.pid) if word in command_of(pid))
        return found

    def nothing_is_left(self) -> bool:
        return not any(map(lives, self.below))


def children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def served(folder: Path, **changes: str) -> Iterator[Served]:
    port, log = free_port(), folder / "log"
    given = {"INLINE_FALLBACK": "0", **changes}
    with manage("serve", "--bind", f"127.0.0.1:{port}", log=log, **given) as parent:
        # The first pulse has been, and both workers of the web server.
        wait_until(lambda: Worker.objects.filter(kind="pulse").exists(), seconds=120)
        wait_until(lambda: log.read_text().count("Booting worker") == 2, seconds=120)
        both = children(parent.pid)
        below = [*both, *(pid for child in both for pid in children(child))]
        assert len(below) == 4
        try:
            yield Served(parent, port, log, below)
        finally:
            parent.kill()
            for pid in filter(lives, below):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_both_end_in_peace(tmp_path: Path, told: signal.Signals) -> None:
    with served(tmp_path) as all_of_it:
        all_of_it.parent.send_signal(told)
        assert all_of_it.parent.wait(timeout=60) == 0
        assert all_of_it.nothing_is_left()
    assert "the scheduler ends" in all_of_it.log.read_text()
    assert "Traceback" not in all_of_it.log.read_text()


def test_ctrl_c_reaches_all_of_them_at_once(tmp_path: Path) -> None:
    """A terminal tells every process, and an impatient user tells them twice."""
    with served(tmp_path) as all_of_it:
        for pid in filter(lives, [all_of_it.parent.pid, *all_of_it.below] * 2):
            os.kill(pid, signal.SIGINT)
        assert all_of_it.parent.wait(timeout=60) == 0
        assert all_of_it.nothing_is_left()


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("kaireon.wsgi", "The web server ended by itself (exit code -9)"),
        ("pulse", "The scheduler ended by itself (exit code -9)"),
    ],
)
def test_when_one_dies_the_other_ends_too(tmp_path: Path, word: str, fault: str) -> None:
    with served(tmp_path) as all_of_it:
        os.kill(all_of_it.child(word), signal.SIGKILL)
        assert all_of_it.parent.wait(timeout=60) == 1
        wait_until(all_of_it.nothing_is_left)
    assert fault in all_of_it.log.read_text()


def test_when_it_is_killed_both_end_too(tmp_path: Path) -> None:
    with served(tmp_path) as all_of_it:
        all_of_it.parent.kill()
        wait_until(all_of_it.nothing_is_left)


def test_an_address_that_is_taken_ends_it(tmp_path: Path, tenant: Tenant) -> None:
    with served(tmp_path) as all_of_it:
        log = tmp_path / "second.log"
        address = f"127.0.0.1:{all_of_it.port}"
        with manage("serve", "--bind", address, log=log, INLINE_FALLBACK="0") as second:
            assert second.wait(timeout=60) == 1
        assert "The web server ended by itself" in log.read_text()
        # And the first one goes on.
        campaign = factories.runnable_campaign(tenant)
        make_due(campaign)
        wait_until(lambda: len(runs(campaign)) == 1)


def test_make_serve_starts_it_on_a_migrated_database() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nserve:")[2].partition("\n\n")[0]
    assert recipe.splitlines()[1:] == [
        "\t@$(MANAGE) migrate --verbosity 0",
        "\t@$(MANAGE) serve --bind $(BIND)",
    ]
