"""docs/tutorial.md, run as it stands on a small file of the same shape."""

import csv
import json
import random
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings

from campaigns.models import CampaignRun
from tests.processes import environment, web_server

pytestmark = pytest.mark.usefixtures("clean_relations")

HEADER = (
    "age,job,marital,education,default,balance,housing,loan,contact,day,month,duration,"
    "campaign,pdays,previous,poutcome,y"
)


def write_customers(path: Path, count: int) -> None:
    dice = random.Random(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER.split(","))
        for _ in range(count):
            balance, duration = dice.randint(-500, 6000), dice.randint(1, 1500)
            housing, loan = dice.choice(("yes", "no")), dice.choice(("yes", "no", "no"))
            person = (dice.randint(18, 90), "management", "single", "tertiary", "no")
            contact = ("unknown", 5, "may", duration, 1, -1, 0, "unknown", "no")
            writer.writerow((*person, balance, housing, loan, *contact))


def shell_blocks() -> str:
    text = (settings.BASE_DIR / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 10
    return "set -eu\n" + "\n".join(blocks)


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    write_customers(tmp_path / "bank-full.csv", 4000)
    for name in ("manage.py", ".venv"):
        (tmp_path / name).symlink_to(settings.BASE_DIR / name)
    env = environment(KAIREON_VAR=str(tmp_path / "var"))
    with web_server(env, tmp_path / "web.log") as (address, _):
        done = subprocess.run(
            ["bash", "-c", shell_blocks()],
            cwd=tmp_path,
            env=env | {"API": f"{address}/api/v1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    run = CampaignRun.unscoped.get()
    with (tmp_path / "recommendations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "bank-full.csv").open() as file:
        wanted = {
            str(number)
            for number, row in enumerate(csv.DictReader(file), 1)
            if int(row["balance"]) > 1000 and row["loan"] == "no"
        }
    assert run.summary["audience"] == len(wanted)
    assert len(rows) == run.summary["totalRecommendations"] > 500
    assert len({row["customer_id"] for row in rows} & wanted) == len(rows)
    counts = Counter(row["offer_name"] for row in rows)
    assert max(counts.values()) == 500
    assert json.dumps(run.summary["caps"]).count('"bound": true') >= 1
