"""docs/operations.md: what it names exists."""

import ast
import re

from django.urls import resolve

from campaigns.models import CampaignRun, Tick
from executor import chunks, idle, messages
from kaireon import health
from tests.sources import ROOT

GUIDE = (ROOT / "docs/operations.md").read_text()


def names_of_tests() -> set[str]:
    """The names of all test files and test functions."""
    found = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        found.add(path.stem)
        tree = ast.parse(path.read_text())
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def test_every_test_it_names_exists() -> None:
    known = names_of_tests()
    named = re.findall(r"`(test_\w+)(…?)`", GUIDE)
    assert len(named) > 20
    missing = [
        name
        for name, cut in named
        if not (any(other.startswith(name) for other in known) if cut else name in known)
    ]
    assert not missing


def test_every_address_it_names_is_answered() -> None:
    for path in set(re.findall(r"`(/(?:health/\w+|metrics))`", GUIDE)):
        assert resolve(path)


def test_its_figures_are_those_of_the_code(settings) -> None:
    assert settings.KAIREON_LEASE_SECONDS == 12
    assert (idle.PAUSE, messages.PATIENCE) == (5, 1.5)
    assert (health.PULSE_STALE, health.WAITING_LONG) == (120, 60)
    assert (chunks.MAX_FAULTS, chunks.MAX_ATTEMPTS) == (5, 10)
    for value in Tick.Outcome.values:
        assert value in GUIDE
    for value in CampaignRun.UNFINISHED:
        assert value in GUIDE
