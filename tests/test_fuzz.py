"""Requests made up from the API's description never find a 5xx or an answer it does not tell of.

FUZZ_EXAMPLES (20) and FUZZ_ONLY (a regular expression of paths) make it longer or narrower.
"""

import json
import os
from pathlib import Path

import pytest

from tests import everything, processes
from tests.factories import api_key
from tests.fuzzing import description, fuzz

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.fuzz]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
ONLY = os.environ.get("FUZZ_ONLY", "")


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_no_request_finds_a_fault(role: str, tmp_path: Path) -> None:
    made = everything.build()
    openapi, log = tmp_path / "openapi.json", tmp_path / "log"
    openapi.write_text(json.dumps(description(made.rows)))
    # Nobody executes what is triggered, and nobody is refused for asking often.
    env = processes.environment(
        INLINE_FALLBACK="0",
        KAIREON_REQUESTS_PER_MINUTE="10000000",
        # Long addresses are for us to refuse, not for gunicorn, which would with a 414.
        GUNICORN_CMD_ARGS="--limit-request-line=0",
        KAIREON_VAR=str(tmp_path / "var"),
    )
    only = [f"--include-path-regex={ONLY}"] if ONLY else []
    with processes.web_server(env, log) as (address, _):
        run = fuzz(address, api_key(made.tenant, role), openapi, EXAMPLES, *only)
    told = run.stdout[-20_000:] + run.stderr[-2000:]
    assert run.returncode == 0, told
    assert " 500 " not in log.read_text()
