"""A client that another program has made out of the API's description, against a real server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from campaigns.api.documentation import OPENAPI
from campaigns.models import RunFile
from tests import processes
from tests import world as worlds
from tests.factories import api_key

pytestmark = [pytest.mark.usefixtures("clean_relations"), pytest.mark.slow]

PACKAGE = "kaireon_client"
#: What a user of the client writes.
SCRIPT = """
import sys, time
from kaireon_client import AuthenticatedClient
from kaireon_client.api.runs import runs_campaign_runs_trigger, runs_create, runs_list
from kaireon_client.api.campaign_runs import campaign_runs_file, campaign_runs_retrieve
from kaireon_client.models import CampaignInputRequest

address, key, flow, segment = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=key, raise_on_unexpected_status=True)
body = CampaignInputRequest.from_dict(
    {"decisionFlowId": flow, "segmentId": segment, "name": "By a generated client"}
)
campaign = runs_create.sync(client=client, body=body)
assert campaign.name == "By a generated client", campaign
assert campaign.id in [row.id for row in runs_list.sync(client=client).runs]
run = runs_campaign_runs_trigger.sync(campaign.id, client=client)
assert (run.campaign_id, run.status) == (campaign.id, "pending"), run
for _ in range(600):
    found = campaign_runs_retrieve.sync(run.id, client=client)
    if found.status not in ("pending", "running"):
        break
    time.sleep(0.1)
assert found.status == "completed", found
file = campaign_runs_file.sync_detailed(run.id, client=client)
assert file.status_code == 200, file
sys.stdout.buffer.write(file.content)
"""


def make_client(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({"package_name_override": PACKAGE, "post_hooks": []}))
    made = subprocess.run(
        [
            str(Path(sys.executable).with_name("openapi-python-client")),
            "generate",
            f"--path={OPENAPI}",
            "--meta=none",
            f"--output-path={folder / PACKAGE}",
            f"--config={config}",
            "--fail-on-warning",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_creates_triggers_polls_and_downloads(tmp_path: Path) -> None:
    make_client(tmp_path)
    world = worlds.build(40)
    ids = [world.campaign.flow.public_id, world.campaign.segment.public_id]
    log = tmp_path / "log"
    env = processes.environment(KAIREON_VAR=str(tmp_path / "var"))
    with processes.web_server(env, log) as (address, _):
        used = subprocess.run(
            [sys.executable, "-c", SCRIPT, address, api_key(world.tenant), *ids],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
        )
    assert used.returncode == 0, used.stderr + log.read_text()
    file = RunFile.objects.of(world.tenant).get()
    assert len(used.stdout.splitlines()) == file.row_count + 1 > 1
