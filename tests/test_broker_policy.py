"""A broker that evicts keys would drop messages: nobody works with one unknowingly."""

from pathlib import Path

import pytest

from kaireon.checks import broker_faults, broker_keeps_messages
from tests.brokers import Valkey, valkey
from tests.processes import celery, environment, free_port

TOLD = (
    "The broker's maxmemory-policy is allkeys-lru: when its memory is full, it drops messages "
    "without a word."
)


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_worker_and_beat_do_not_start(role: str, transactional_db: None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with valkey("--maxmemory-policy", "allkeys-lru") as broker:
        env = environment(KAIREON_VAR=str(tmp_path), REDIS_URL=broker.url)
        with celery(role, log=log, env=env) as process:
            assert process.wait(timeout=120) == 1
    assert TOLD in log.read_text()
    assert "Set maxmemory-policy to noeviction" in log.read_text()


def test_a_check_warns(settings) -> None:
    with valkey("--maxmemory-policy", "allkeys-lru") as broker:
        settings.REDIS_URL = broker.url
        (warning,) = broker_keeps_messages()
    assert (warning.id, warning.msg) == ("kaireon.W002", TOLD)
    assert not warning.is_serious()


def test_a_broker_that_keeps_them_or_is_away_or_not_wanted_is_no_fault(settings) -> None:
    assert broker_faults() == []
    settings.REDIS_URL = Valkey(port=free_port()).url
    assert broker_faults() == []
    with valkey() as broker:
        settings.REDIS_URL = broker.url
        assert broker_faults() == []
