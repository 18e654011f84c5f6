"""The example of each request in the API's description is accepted, once its ids are of rows."""

import json
import re
from typing import Any

import pytest

from campaigns.api.documentation import OPENAPI
from campaigns.api.samples import REQUESTS
from kaireon import ids
from tests import everything
from tests.clients import API, api_client

ID = re.compile(f"^({'|'.join(ids.PREFIXES.values())})_[A-Za-z0-9]+$")
#: Other names of a path, where the same request is a conflict the second time.
ALIASES = {"frequency-caps", "users"}


def example(path: str) -> Any:
    operation = json.loads(OPENAPI.read_text())["paths"][API + path]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    (only,) = examples.values()
    return only["value"]


def with_rows(value: Any, known: dict[str, str]) -> Any:
    """The example with the id of a row in place of every id."""
    if isinstance(value, dict):
        return {name: with_rows(part, known) for name, part in value.items()}
    if isinstance(value, list):
        return [with_rows(part, known) for part in value]
    named = ID.match(value) if isinstance(value, str) else None
    return known[named.group(1)] if named else value


@pytest.mark.usefixtures("clean_relations")
def test_every_example_is_accepted(transactional_db: None) -> None:
    made = everything.build("ds_samples")
    rows = [made.world.campaign.public_id, *(one for rows in made.rows.values() for one in rows)]
    known = {row.partition("_")[0]: row for row in reversed(rows)}
    client = api_client(made.tenant, "admin")
    draft = {"draftConfig": example("decision-flows")["draftConfig"]}
    client.patch(f"{API}decision-flows/{known['df']}", draft, format="json")
    for path in [path for path in REQUESTS if path not in ALIASES]:
        answer = client.post(API + path, with_rows(example(path), known), format="json")
        assert answer.status_code in (200, 201), (path, answer.json())
        assert answer.json().get("valid", True), (path, answer.json())


@pytest.mark.parametrize("path", sorted(ALIASES))
def test_both_names_of_a_resource_have_the_example(path: str) -> None:
    first = {"frequency-caps": "volume-constraints", "users": "members"}[path]
    assert example(path) == example(first)
