"""Runs whose files are personalized: what is in the file, and who could not be delivered to."""

import csv
import io
import json

import polars as pl
import pytest
from django.db import connection

from campaigns.models import CampaignRun, Contact, DeliveryError, Recommendation, RunFile
from campaigns.services.campaigns import update_campaign
from campaigns.services.deletion import delete_run
from executor import deliver, runner
from executor.storage import open_storage
from tests import factories
from tests import world as worlds
from tests.clients import API, api_client
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

COLUMNS = ["customer_id", "rank", "offer_name", "content.subject", "content.body"]


@pytest.fixture
def world() -> World:
    """p_loans is missing for every eleventh customer; creatives of the loan need it."""
    world = worlds.build(300, k=2)
    category = factories.CategoryFactory(
        tenant=world.tenant,
        custom_fields=[
            {"key": "rate", "type": "number", "defaultValue": 10},
            {
                "key": "bonus",
                "type": "computed",
                "formula": "round(customer.balance * rate / 100, 2)",
                "outputType": "number",
            },
        ],
    )
    for offer in world.offers:
        offer.category = category
        offer.save()
        for creative in offer.creatives.all():
            creative.content = {
                "subject": "{{ offer.name }} for {{ customer_id }}",
                "body": "{{ bonus }} & {{ customer.age | plus: 1 }}",
            }
            if offer == world.offers[1]:
                creative.content["body"] += " {{ p_loans | round: 1 }}"
            creative.personalization = [
                {"variable": "bonus", "source": "personalization.bonus", "fallback": ""},
                {"variable": "greeting", "source": "customer.greeting", "fallback": "Hello"},
            ]
            creative.save()
    return world


def ended(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    return run


def stored_file(run: CampaignRun) -> bytes:
    return open_storage().get(RunFile.objects.of(run.tenant).get(run=run).storage_key)


def customers(world: World) -> dict[str, tuple[int, float, float | None]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT customer_id, age, balance, p_loans FROM {world.table}")
        return {key: tuple(values) for key, *values in cursor.fetchall()}


def expected_content(world: World, row: dict[str, str]) -> tuple[str, str]:
    age, balance, p_loans = customers(world)[row["customer_id"]]
    bonus = f"{balance / 10:.2f}".rstrip("0").rstrip(".")
    body = f"{bonus} &amp; {age + 1}".replace("&amp;", "&")
    if row["offer_name"] == world.offers[1].name:
        assert p_loans is not None
        body += f" {round(p_loans + 1e-9, 1):g}"
    return f"{row['offer_name']} for {row['customer_id']}", body


def test_the_file_has_content_and_variables_and_names_who_fails(world: World) -> None:
    run = ended(world.run(file_columns=COLUMNS, include_personalization=True))
    assert run.status == "completed_with_errors"
    rows = list(csv.DictReader(io.StringIO(stored_file(run).decode(), newline="")))
    assert list(rows[0]) == [*COLUMNS, "personalization.bonus", "personalization.greeting"]
    for row in rows:
        assert (row["content.subject"], row["content.body"]) == expected_content(world, row)
        assert row["personalization.greeting"] == "Hello"
        assert row["personalization.bonus"] == row["content.body"].split(" ")[0]
    lacking = {key for key, (_, _, p_loans) in customers(world).items() if p_loans is None}
    errors = DeliveryError.objects.filter(run=run)
    assert {error.customer_key for error in errors} <= lacking
    assert {error.offer_id for error in errors} == {world.offers[1].pk}
    summary = run.summary
    assert summary["deliveryErrors"]["count"] == errors.count() > 0
    assert run.error == f"{errors.count()} recommendations could not be delivered"
    assert sum(each["count"] for each in summary["deliveryErrors"]["byReason"]) == errors.count()
    assert summary["deliveryErrors"]["byReason"][0]["reason"].endswith(
        'body: "p_loans" has no value'
    )
    assert summary["computedFields"] == [{"field": "bonus", "missing": 0}]
    assert summary["totalRecommendations"] == len(rows)
    assert Recommendation.objects.filter(run_id=run.pk).count() == len(rows)
    assert Contact.objects.filter(run_id=run.pk).count() == len(rows)


def test_the_funnel_has_who_lost_all_and_ranks_have_no_gaps(world: World) -> None:
    run = ended(world.run(file_columns=COLUMNS, include_personalization=True))
    (line,) = (line for line in run.summary["funnel"] if line["stage"] == "personalize")
    served = run.summary["customersWithRecommendations"]
    assert sum(each["removedCustomers"] for each in run.summary["funnel"]) + served == 300
    assert line["removedCandidates"] == run.summary["deliveryErrors"]["count"]
    assert line["remainingCustomers"] == served
    ranks = Recommendation.objects.filter(run_id=run.pk).values_list("customer_key", "rank")
    first = {key for key, rank in ranks if rank == 1}
    assert {key for key, _ in ranks} == first
    assert len(first) == served


def test_json_and_parquet_have_the_same(world: World) -> None:
    changes = {"file_columns": COLUMNS, "include_personalization": True}
    lines = list(csv.DictReader(io.StringIO(stored_file(ended(world.run(**changes))).decode())))
    as_json = json.loads(stored_file(ended(world.run(**changes, file_format="json"))))
    parquet = pl.read_parquet(stored_file(ended(world.run(**changes, file_format="parquet"))))
    assert [{k: str(v) for k, v in row.items()} for row in as_json] == lines
    assert parquet.to_dicts() == as_json


@pytest.mark.parametrize("changes", [{}, {"max_per_offer": 50}])
def test_the_same_bytes_whatever_the_chunks(
    world: World, settings: object, changes: dict[str, int]
) -> None:
    changes = {"file_columns": COLUMNS, "include_personalization": True, **changes}
    files = []
    for rows in (16, 1_024, 98_304):
        settings.KAIREON_CHUNK_ROWS = rows  # type: ignore[attr-defined]
        run = ended(world.run(**changes))
        files.append((stored_file(run), run.summary["deliveryErrors"], run.summary["funnel"]))
    assert files[0] == files[1] == files[2]


def test_a_file_without_personalization_renders_nothing(world: World) -> None:
    run = ended(world.run(file_columns=["customer_id", "offer_name"]))
    assert (run.status, "deliveryErrors" in run.summary) == ("completed", False)


def test_a_column_alone_asks_for_it(world: World) -> None:
    run = ended(world.run(file_columns=["customer_id", "personalization.bonus"]))
    assert run.status == "completed_with_errors"
    assert stored_file(run).startswith(b"customer_id,personalization.bonus\r\n")


def test_a_variable_no_customer_has_fails_the_run_by_name(world: World) -> None:
    creative = world.offers[0].creatives.first()
    creative.content = {"body": "{{ first_name }}"}
    creative.save()
    run = ended(world.run(include_personalization=True))
    assert run.status == "failed"
    assert f'creatives["{creative.name}"].first_name: the customers have no column' in run.error


def test_stored_errors_are_limited_and_go_with_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "STORED_PER_CHUNK", 3)
    run = ended(world.run(include_personalization=True))
    stored = DeliveryError.objects.filter(run=run)
    assert stored.count() == 3 < run.summary["deliveryErrors"]["count"]
    delete_run(run)
    assert not stored.exists()


def test_delivery_errors_over_the_api(world: World) -> None:
    run = ended(world.run(include_personalization=True))
    client = api_client(world.tenant, "viewer")
    path = f"{API}runs/{world.campaign.public_id}/campaign-runs/{run.public_id}/delivery-errors"
    page = client.get(path, {"limit": 2}).json()
    assert page["pagination"]["total"] == run.summary["deliveryErrors"]["count"]
    first = page["data"][0]
    assert first["offerName"] == world.offers[1].name
    assert first["reason"].endswith('"p_loans" has no value')
    after = client.get(path, {"cursor": page["pagination"]["nextCursor"]}).json()["data"]
    keys = [row["customerId"] for row in [*page["data"], *after]]
    assert keys == sorted(keys)
    only = client.get(path, {"customerId": first["customerId"]}).json()["data"]
    assert {row["customerId"] for row in only} == {first["customerId"]}
    parts = {"flow": world.campaign.flow, "segment": world.campaign.segment}
    other = factories.CampaignFactory(tenant=world.tenant, **parts)
    assert client.get(path.replace(world.campaign.public_id, other.public_id)).status_code == 404
    summary = client.get(f"{API}campaign-runs/{run.public_id}").json()["summary"]
    assert summary["deliveryErrors"] == run.summary["deliveryErrors"]


def test_a_campaign_may_ask_for_personal_columns(world: World) -> None:
    columns = ["customer_id", "personalization.first name", "content.subject"]
    changed = update_campaign(
        world.campaign, {"file_columns": columns, "include_personalization": True}
    )
    assert changed.file_columns == columns
