"""Schemathesis against a running server: requests made from the API's own description."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from campaigns.api.documentation import OPENAPI

#: All but positive_data_acceptance: what is well formed may still name what does not exist.
LEFT_OUT = "positive_data_acceptance"
#: How the patterns of ids and of views of segments end.
ID = ("_[A-Za-z0-9]+$", "_[0-9a-f]{12}$")


def description(rows: Mapping[str, list[str]]) -> dict[str, Any]:
    """The API as described, with the ids of `rows` to choose from, by first part of the path."""
    described = json.loads(OPENAPI.read_text())
    for path, operations in described["paths"].items():
        known = {"id": rows.get(path.removeprefix("/api/v1/").partition("/")[0])}
        known["file"] = rows.get("files")
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and known.get(parameter["name"]):
                    parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    everything = sorted({one for part in rows.values() for one in part})
    for name, schema in described["components"]["schemas"].items():
        if name.endswith("Request"):
            name_rows(schema, everything)
    return described


def name_rows(schema: dict[str, Any], ids: Sequence[str]) -> None:
    """Have a body name rows that there are: an id that is made up is never one of them."""
    for listed in schema.get("properties", {}).values():
        part = listed.get("items", listed)
        pattern = str(part.get("pattern", ""))
        found = [one for one in ids if pattern.endswith(ID) and re.search(pattern, one)]
        if found:
            part["enum"] = [*found, *([None] if "null" in part["type"] else [])]


def fuzz(
    address: str, key: str, openapi: Path, examples: int, phases: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """Send `examples` requests of every operation; the exit code is 0 if no check failed."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "--no-color",
            "run",
            str(openapi),
            f"--url={address}",
            f"--header=Authorization: Bearer {key}",
            "--checks=all",
            f"--exclude-checks={LEFT_OUT}",
            f"--max-examples={examples}",
            # A slow machine is no fault; a request that hangs is.
            "--request-timeout=600",
            "--max-response-time=600",
            f"--phases={phases}",
            "--generation-deterministic",
            "--suppress-health-check=all",
            "--warnings=off",
            "--continue-on-failure",
            *more,
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=openapi.parent,
    )
