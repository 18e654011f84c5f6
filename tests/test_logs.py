"""What a log line says: of which request and which run it is, and never a secret."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from campaigns.models import CampaignRun
from executor import runner
from executor.heartbeat import Heartbeat
from kaireon import logs
from tests import factories
from tests import world as worlds
from tests.clients import api_client
from tests.processes import environment, wait_until

SECRET = "hunter2-very-secret"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict]]:
    """The lines as they are written in production, of all loggers."""
    found: list[dict] = []
    configured = logs.configuration("json", "INFO")["formatters"]["line"]
    options = {name: value for name, value in configured.items() if name != "()"}
    handler = logging.Handler()
    handler.setFormatter(configured["()"](**options))
    handler.emit = lambda record: found.append(json.loads(handler.format(record)))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield found
    root.setLevel(level)
    root.removeHandler(handler)


def of(lines: list[dict], logger: str) -> list[dict]:
    return [line for line in lines if line["logger"] == logger]


def test_a_request_has_an_id_that_all_its_lines_bear(tenant, lines: list[dict]) -> None:
    client = api_client(tenant)
    response = client.get("/api/v1/offers", HTTP_X_REQUEST_ID="from-the-proxy-1")
    assert response["X-Request-ID"] == "from-the-proxy-1"
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert line["request_id"] == "from-the-proxy-1"
    assert (line["code"], line["request"]) == (200, "GET /api/v1/offers")
    assert line["tenant"] == tenant.slug
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
    assert line["level"] == "info"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\\u2028b"])
def test_an_id_that_is_no_plain_word_is_replaced(given: str, db: None) -> None:
    answered = Client().get("/api/v1/offers", headers={"X-Request-ID": given})["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f-]{36}", answered)


def test_neither_keys_nor_query_nor_body_are_logged(tenant, lines: list[dict]) -> None:
    client = api_client(tenant)
    client.get(f"/api/v1/offers?search={SECRET}")
    client.post("/api/v1/offers", {"name": SECRET}, format="json")
    client.get("/api/v1/offers", headers={"authorization": f"Bearer krn_{SECRET}"})
    assert len([line for line in lines if line["event"] == "request_finished"]) == 3
    assert SECRET not in json.dumps(lines)


def test_probes_are_not_logged(db: None, lines: list[dict]) -> None:
    Client().get("/health/live")
    assert lines == []


@pytest.mark.usefixtures("clean_relations")
def test_every_line_of_the_executor_about_a_run_names_it(lines: list[dict], storage: Path) -> None:
    world = worlds.build(20)
    whole, broken, failed = world.run(), world.run(), world.run()
    with logs.bound(request_id="r-1"):
        assert runner.step(broken.pk)  # frozen
        (storage / broken.chunks.get().input_key).write_bytes(b"not Parquet")
        assert runner.work(broken.pk)
    (line,) = of(lines, "executor.runner")
    assert (line["run"], line["chunk"], line["request_id"]) == (broken.public_id, 0, "r-1")
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]
    CampaignRun.unscoped.filter(pk=failed.pk).update(spec={"no": "spec"}, phase="freeze")
    assert runner.advance(failed.pk)
    assert runner.execute(whole.pk)
    ends = {line["run"]: line for line in lines if line["event"].startswith("the run is")}
    assert ends[failed.public_id]["event"].startswith("the run is failed: internal error: ")
    assert ends[whole.public_id]["event"] == "the run is completed"
    about = [line for line in lines if line["logger"].startswith("executor.")]
    assert len(about) == 4
    assert all(line["run"].startswith("crun_") for line in about)
    assert "request_id" not in about[-1]


def test_a_heartbeat_that_fails_names_its_run(settings, db: None, lines: list[dict]) -> None:
    settings.KAIREON_LEASE_SECONDS = 0.03

    def beat(_: object) -> bool:
        raise psycopg.OperationalError("the server is away")

    with logs.bound(run="crun_1"), Heartbeat("run 1", beat):
        wait_until(lambda: bool(of(lines, "executor.heartbeat")))
    assert of(lines, "executor.heartbeat")[0]["run"] == "crun_1"


def test_a_traceback_shows_no_values(lines: list[dict]) -> None:
    password = SECRET
    try:
        raise ValueError("no luck")
    except ValueError:
        logging.getLogger("test").exception("it failed")
    (line,) = of(lines, "test")
    assert "ValueError: no luck" in line["exception"]
    assert password not in line["exception"]
    assert line["event"] == "it failed"


def test_processes_write_json_to_standard_error(db: None, tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); import logging, structlog\n"
        "logging.getLogger('a').warning('old %s', 'style')\n"
        "structlog.get_logger('b').warning('new style', run='crun_1')\n"
        "secret = 'hunter2-very-secret'\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('c').exception('failed')\n"
    )
    env = environment(
        LOG_FORMAT="json", KAIREON_VAR=str(tmp_path), DJANGO_SETTINGS_MODULE="kaireon.settings"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["logger"], line["event"]) for line in told] == [
        ("a", "old style"),
        ("b", "new style"),
        ("c", "failed"),
    ]
    assert told[1]["run"] == "crun_1"
    assert SECRET not in done.stderr
    assert done.stdout == ""


def test_a_key_is_named_by_its_public_part(tenant, lines: list[dict]) -> None:
    key = factories.api_key(tenant)
    Client().get("/api/v1/offers", headers={"authorization": f"Bearer {key}"})
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert line["api_key"] in key
    assert key not in json.dumps(lines)
