"""Requests made up from the API's description never find a 5xx or an answer it does not tell of.

FUZZ_EXAMPLES (20), FUZZ_ONLY (a regular expression of paths), FUZZ_ROLES and FUZZ_PHASES (fuzzing
alone for many examples: the other phases do not depend on their number) make it longer or narrower.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import everything, processes
from tests.factories import api_key
from tests.fuzzing import description, fuzz

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.fuzz]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
ONLY = os.environ.get("FUZZ_ONLY", "")
ROLES = os.environ.get("FUZZ_ROLES", "viewer editor admin").split()
#: The edge values of `coverage` are most of the requests; who may do everything tries them all.
PHASES = {"admin": "examples,coverage,fuzzing"}


def test_no_request_finds_a_fault(tmp_path: Path) -> None:
    """Each role has a tenant and a server of its own, so that none sees what another did."""
    attempts = [prepare(role, tmp_path / role) for role in ROLES]
    with ThreadPoolExecutor(len(attempts)) as pool:
        faults = list(pool.map(lambda attempt: attack(*attempt), attempts))
    assert not any(faults), "\n\n".join(faults)


def prepare(role: str, folder: Path) -> tuple[str, str, dict[str, str], Path]:
    """A tenant to work on. Gives the role, a key of it, and the server's environment and folder."""
    made = everything.build(table=f"ds_{role}")
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(description(made.rows)))
    database = processes.environment()["DATABASE_URL"]
    env = processes.environment(
        # To connect anew for every request would take as long as all the rest.
        DATABASE_URL=f"{database}&conn_max_age=600",
        # Nobody executes what is triggered, and nobody is refused for asking often.
        INLINE_FALLBACK="0",
        KAIREON_REQUESTS_PER_MINUTE="10000000",
        # Long addresses are for us to refuse, not for gunicorn, which would with a 414; and a
        # connection must not be closed just when the next request goes out on it.
        GUNICORN_CMD_ARGS="--limit-request-line=0 --keep-alive=600",
        KAIREON_VAR=str(folder / "var"),
        LOG_LEVEL="ERROR",
    )
    return role, api_key(made.tenant, role), env, folder


def attack(role: str, key: str, env: dict[str, str], folder: Path) -> str:
    """What was found as `role`: what schemathesis and the server said, or "" for nothing."""
    log = folder / "log"
    only = [f"--include-path-regex={ONLY}"] if ONLY else []
    with processes.web_server(env, log) as (address, _):
        phases = os.environ.get("FUZZ_PHASES", PHASES.get(role, "examples,fuzzing"))
        run = fuzz(address, key, folder / "openapi.json", EXAMPLES, phases, *only)
    logged = log.read_text()
    print(f"== {role}\n{run.stdout[-1000:]}")  # noqa: T201 - how many requests it was
    if run.returncode == 0 and " ERROR " not in logged:
        return ""
    said = run.stdout[-20_000:] + run.stderr[-2000:]
    return f"As {role}, exit code {run.returncode}:\n{said}\nThe server's log:\n{logged[-10_000:]}"
