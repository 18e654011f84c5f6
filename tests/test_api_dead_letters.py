"""Dead letters over the API: counted, shown, retried, purged, by administrators only."""

from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, DeadLetter
from campaigns.services.dead_letters import alert
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/admin/dlq"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


@pytest.fixture(autouse=True)
def nobody_executes(settings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False


@pytest.fixture
def campaign(tenant: Tenant, clean_relations: None) -> Iterator[Campaign]:
    return factories.runnable_campaign(tenant)


def failed_run(campaign: Campaign) -> DeadLetter:
    run = factories.RunFactory(campaign=campaign, status="failed", error="it broke")
    return run.dead_letters.create(
        tenant=run.tenant, topic="campaign_runs", customers=7, attempts=1, error="it broke"
    )


def failed_chunks(campaign: Campaign, *numbers: int) -> list[DeadLetter]:
    run = factories.RunFactory(
        campaign=campaign,
        status="completed_with_errors",
        error="x",
        completed_at="2026-03-22T09:00:00Z",
        summary={},
    )
    for number in numbers:
        run.chunks.create(number=number, status="dead", customers=10)
    return [
        run.dead_letters.create(
            tenant=run.tenant,
            topic="campaign_chunks",
            chunk=number,
            customers=10,
            attempts=5,
            error=f"chunk {number} broke",
            traceback="File x.py",
        )
        for number in numbers
    ]


def act(client: APIClient, **body: object) -> dict[str, object]:
    response = client.post(URL, body, format="json")
    assert response.status_code == 200, response.json()
    return response.json()


def left() -> set[DeadLetter]:
    return set(DeadLetter.unscoped.all())


def test_dead_letters_are_counted_and_shown_newest_first(
    client: APIClient, campaign: Campaign
) -> None:
    whole = failed_run(campaign)
    (chunk,) = failed_chunks(campaign, 3)
    failed_run(factories.CampaignFactory())
    found = client.get(URL).json()
    assert {**found, "events": None} == {
        "totalEvents": 2,
        "byTopic": {"campaign_chunks": 1, "campaign_runs": 1},
        "alert": "OK",
        "events": None,
    }
    assert [event.pop("failedAt")[-1] for event in found["events"]] == ["Z", "Z"]
    payload = {"campaignId": campaign.public_id, "runNumber": chunk.run.run_number}
    assert found["events"] == [
        {
            "id": chunk.public_id,
            "topic": "campaign_chunks",
            "payload": {**payload, "runId": chunk.run.public_id, "chunk": 3, "customers": 10},
            "error": "chunk 3 broke",
            "retryCount": 4,
        },
        {
            "id": whole.public_id,
            "topic": "campaign_runs",
            "payload": {
                **payload,
                "runId": whole.run.public_id,
                "runNumber": whole.run.run_number,
                "chunk": None,
                "customers": 7,
            },
            "error": "it broke",
            "retryCount": 0,
        },
    ]


def test_limit_and_topic(client: APIClient, campaign: Campaign) -> None:
    failed_run(campaign)
    letters = failed_chunks(campaign, *range(60))

    def shown(**query: object) -> list[str]:
        return [event["id"] for event in client.get(URL, query).json()["events"]]

    assert len(shown()) == 50
    assert len(shown(limit=200)) == 61
    assert shown(limit=2) == [letter.public_id for letter in letters[:-3:-1]]
    assert len(shown(topic="campaign_runs")) == 1
    assert client.get(URL, {"topic": "campaign_runs"}).json()["totalEvents"] == 61
    assert client.get(URL).json()["alert"] == "WARNING"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "topic=x", "topic=", "cursor=x", "ordering=id"]
)
def test_list_refuses_what_it_does_not_know(client: APIClient, query: str) -> None:
    response = client.get(f"{URL}?{query}")
    assert response.status_code == 400
    assert list(error(response)["fields"]) == [query.partition("=")[0]]


def test_list_takes_the_same_queries_for_any_number(
    client: APIClient, campaign: Campaign, django_assert_num_queries
) -> None:
    failed_chunks(campaign, 1)
    client.get(URL)
    for numbers in ((2,), range(3, 20)):
        failed_chunks(campaign, *numbers)
        with django_assert_num_queries(3):  # key, counts, events
            client.get(URL)


@pytest.mark.parametrize(
    ("total", "word"),
    [(0, "OK"), (10, "OK"), (11, "WARNING"), (100, "WARNING"), (101, "CRITICAL")],
)
def test_alert(total: int, word: str) -> None:
    assert alert(total) == word


def test_retry_opens_runs_again_and_makes_new_ones(client: APIClient, campaign: Campaign) -> None:
    whole = failed_run(campaign)
    one, two, three = failed_chunks(campaign, 1, 2, 3)
    ids = [whole.public_id, one.public_id, three.public_id]
    assert act(client, action="retry", eventIds=ids) == {"action": "retry", "requeued": 3}
    assert left() == {two}
    run = CampaignRun.unscoped.get(pk=one.run_id)
    assert (run.status, run.reopened) == ("running", 1)
    assert [*run.chunks.values_list("status", flat=True)] == ["frozen", "dead", "frozen"]
    new = CampaignRun.unscoped.get(triggered_by="retry")
    assert (new.status, new.campaign) == ("pending", campaign)
    assert CampaignRun.unscoped.get(pk=whole.run_id).status == "failed"


def test_retry_by_topic_leaves_what_cannot_be_retried_now(
    client: APIClient, campaign: Campaign
) -> None:
    whole = failed_run(campaign)
    going, again = failed_chunks(campaign, 1), failed_chunks(campaign, 1, 2)
    CampaignRun.unscoped.filter(pk=going[0].run_id).update(status="running")
    done = act(client, action="retry", topic="campaign_chunks")
    assert done == {"action": "retry", "requeued": len(again)}
    assert left() == {whole, *going}
    assert act(client, action="retry") == {"action": "retry", "requeued": 1}
    assert left() == {*going}


def test_what_is_named_and_cannot_be_retried_is_409_and_nothing_is(
    client: APIClient, campaign: Campaign
) -> None:
    (good,), (bad,) = failed_chunks(campaign, 1), failed_chunks(campaign, 1)
    CampaignRun.unscoped.filter(pk=bad.run_id).update(status="running")
    body = {"action": "retry", "eventIds": [good.public_id, bad.public_id]}
    response = client.post(URL, body, format="json")
    assert response.status_code == 409
    assert f"Run {bad.run.run_number} ({bad.run.public_id}) is running" in str(response.json())
    assert left() == {good, bad}
    assert CampaignRun.unscoped.get(pk=good.run_id).status == "completed_with_errors"


def test_purge_forgets_and_changes_nothing_else(client: APIClient, campaign: Campaign) -> None:
    whole = failed_run(campaign)
    one, two = failed_chunks(campaign, 1, 2)
    foreign = failed_run(factories.CampaignFactory())
    runs = list(CampaignRun.unscoped.order_by("pk").values("pk", "status", "reopened"))
    done = act(client, action="purge", eventIds=[two.public_id])
    assert done == {"action": "purge", "deleted": 1}
    assert act(client, action="purge", topic="campaign_runs")["deleted"] == 1
    assert left() == {one, foreign}
    assert act(client, action="purge", eventIds=[])["deleted"] == 0
    assert act(client, action="purge")["deleted"] == 1
    assert left() == {foreign}
    assert list(CampaignRun.unscoped.order_by("pk").values("pk", "status", "reopened")) == runs
    assert whole.run.status == "failed"


def test_bodies_that_are_wrong_change_nothing(client: APIClient, campaign: Campaign) -> None:
    letter, foreign = failed_run(campaign), failed_run(factories.CampaignFactory())
    for body, fields in (
        ({}, ["action"]),
        ({"action": "delete"}, ["action"]),
        ({"action": "purge", "topic": "x"}, ["topic"]),
        ({"action": "purge", "why": "x"}, ["why"]),
        ({"action": "purge", "eventIds": letter.public_id}, ["eventIds"]),
        ({"action": "purge", "eventIds": [letter.public_id, "dlq_x"]}, ["eventIds[1]"]),
        ({"action": "purge", "eventIds": [foreign.public_id]}, ["eventIds[0]"]),
    ):
        response = client.post(URL, body, format="json")
        assert (response.status_code, list(error(response)["fields"])) == (400, fields), body
    assert left() == {letter, foreign}
