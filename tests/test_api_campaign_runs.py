"""Runs as a resource of their own over the API: list, results, events, files, cancel, retry."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, Channel, Offer, RunEvent
from executor import runner
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/campaign-runs"


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.runnable_campaign(tenant)


@pytest.fixture
def offers(tenant: Tenant) -> list[Offer]:
    return [factories.OfferFactory(tenant=tenant, name=name) for name in ("Gold", "Loan")]


@pytest.fixture
def channel(tenant: Tenant) -> Channel:
    return factories.ChannelFactory(tenant=tenant, name="E-mail")


@pytest.fixture
def finished(campaign: Campaign, offers: list[Offer], channel: Channel) -> CampaignRun:
    """A run with two results for each of four customers, whose keys need care."""
    run = factories.RunFactory(
        campaign=campaign,
        status="completed",
        completed_at=datetime(2026, 3, 22, tzinfo=UTC),
        summary={},
    )
    customers = ("C10", "C9", "c1", "\u00fc")  # in the order of their bytes
    factories.recommend(
        run,
        [
            (customer, rank, offers[rank - 1].pk, channel.pk, 0.125 * (number + rank))
            for number, customer in enumerate(customers)
            for rank in (2, 1)
        ],
    )
    return run


def faults(response) -> list[str]:
    assert response.status_code == 400, response.json()
    return list(error(response)["fields"])


def keys(rows: list[dict]) -> list[tuple[str, int]]:
    return [(row["customerId"], row["rank"]) for row in rows]


def pages(client: APIClient, url: str, **query: object) -> list[list[dict]]:
    """All pages of a list, following its cursor to the end."""
    found, cursor = [], {}
    while True:
        page = client.get(url, {**query, **cursor}).json()
        found.append(page["data"])
        if not page["pagination"]["hasMore"]:
            assert page["pagination"]["nextCursor"] is None
            return found
        cursor = {"cursor": page["pagination"]["nextCursor"]}


ALL = [(customer, rank) for customer in ("C10", "C9", "c1", "\u00fc") for rank in (1, 2)]


def test_results(
    client: APIClient, finished: CampaignRun, offers: list[Offer], channel: Channel
) -> None:
    found = client.get(f"{URL}/{finished.public_id}/results").json()
    assert keys(found["data"]) == ALL
    assert found["data"][1] == {
        "customerId": "C10",
        "rank": 2,
        "offerId": offers[1].public_id,
        "offerName": "Loan",
        "channelId": channel.public_id,
        "channel": "E-mail",
        "creativeId": None,
        "score": 0.25,
    }
    page = {"total": 8, "limit": 100, "hasMore": False, "nextCursor": None}
    assert found["pagination"] == page


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8])
def test_pages_of_results_miss_and_repeat_nothing(
    client: APIClient, finished: CampaignRun, limit: int
) -> None:
    found = pages(client, f"{URL}/{finished.public_id}/results", limit=limit)
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert keys([row for page in found for row in page]) == ALL


def test_results_by_filter(
    client: APIClient, finished: CampaignRun, offers: list[Offer], channel: Channel
) -> None:
    url = f"{URL}/{finished.public_id}/results"

    def found(**query: object) -> list[tuple[str, int]]:
        return keys([row for page in pages(client, url, limit=1, **query) for row in page])

    assert found(offerId=offers[1].public_id) == [key for key in ALL if key[1] == 2]
    assert found(channelId=channel.public_id) == ALL
    assert found(customerId="c1") == [("c1", 1), ("c1", 2)]
    assert found(minScore="0.5") == [("c1", 2), ("\u00fc", 1), ("\u00fc", 2)]
    assert found(minScore="0.5", offerId=offers[0].public_id) == [("\u00fc", 1)]
    foreign = factories.OfferFactory(), factories.ChannelFactory()
    assert found(offerId=foreign[0].public_id) == []
    assert found(channelId=foreign[1].public_id) == []


@pytest.mark.parametrize(
    "query",
    [
        *("offerId=ch_x", "offerId=", "channelId=x", "customerId=", "customerId=%00"),
        *(
            "minScore=",
            "minScore=much",
            "minScore=nan",
            "minScore=1_0",
            "minScore=infinity",
            "minScore=1e999",
            "minScore=%00",
        ),
        *("limit=0", "limit=1001", "cursor=", "cursor=x", "ordering=rank", "colour=red"),
        "cursor=WyJjdXN0b21lcl9rZXkiLCAicmFuayJd",
        "cursor=W1siY3VzdG9tZXJfa2V5IiwgInJhbmsiXSwgIlx1ZDgwMCIsIDFd",  # half a surrogate pair
        "cursor=W1siY3VzdG9tZXJfa2V5IiwgInJhbmsiXSwgIngiLCA5OTk5OV0",  # too large a rank
    ],
)
def test_results_refuse_what_they_do_not_know(
    client: APIClient, finished: CampaignRun, query: str
) -> None:
    response = client.get(f"{URL}/{finished.public_id}/results?{query}")
    assert faults(response) == [query.partition("=")[0]]


def test_run_without_results_has_an_empty_page(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign, status="running")
    assert client.get(f"{URL}/{run.public_id}/results").json()["data"] == []


def test_page_of_results_takes_the_same_queries_for_any_number(
    client: APIClient, finished: CampaignRun, django_assert_num_queries
) -> None:
    url = f"{URL}/{finished.public_id}/results"
    client.get(url)
    for limit in (1, 8):
        with django_assert_num_queries(6):  # key, run, count, rows, two of names
            client.get(url, {"limit": limit})


def test_page_of_results_is_read_off_the_index(
    client: APIClient, finished: CampaignRun, django_assert_num_queries
) -> None:
    url = f"{URL}/{finished.public_id}/results"
    cursor = client.get(url, {"limit": 3}).json()["pagination"]["nextCursor"]
    with connection.cursor() as database:
        database.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    with django_assert_num_queries(6) as captured:
        client.get(url, {"limit": 3, "cursor": cursor})
    (statement,) = [q["sql"] for q in captured if "LIMIT 4" in q["sql"]]
    with connection.cursor() as database:
        database.execute(f"EXPLAIN {statement}")
        plan = "\n".join(row[0] for row in database.fetchall())
    assert "Sort" not in plan
    assert "customer_key >= 'C9'" in plan.partition("Index Cond:")[2].partition("Filter:")[0]


def test_list_is_newest_first(client: APIClient, campaign: Campaign) -> None:
    runs = factories.RunFactory.create_batch(5, campaign=campaign)
    factories.RunFactory()
    newest_first = [run.public_id for run in runs[::-1]]
    found = pages(client, URL, limit=2)
    assert [row["id"] for page in found for row in page] == newest_first
    found = pages(client, URL, limit=2, ordering="runNumber")
    assert [row["id"] for page in found for row in page] == newest_first[::-1]


def test_list_by_campaign_and_status(client: APIClient, campaign: Campaign) -> None:
    one = factories.RunFactory(campaign=campaign, status="running")
    two = factories.RunFactory(campaign=campaign)
    three = factories.RunFactory(campaign__tenant=campaign.tenant)
    other = factories.RunFactory()

    def found(**query: str) -> list[str]:
        return [row["id"] for row in client.get(URL, query).json()["data"]]

    assert found() == [run.public_id for run in (three, two, one)]
    assert found(campaignId=campaign.public_id) == [run.public_id for run in (two, one)]
    assert found(campaignId=campaign.public_id, status="running") == [one.public_id]
    assert found(campaignId=other.campaign.public_id) == []
    for query in ({"status": "done"}, {"campaignId": "x"}, {"cursor": "x"}, {"search": "x"}):
        assert faults(client.get(URL, query)) == list(query)


@pytest.mark.parametrize("count", [1, 9])
def test_list_takes_the_same_queries_for_any_number(
    client: APIClient, campaign: Campaign, django_assert_num_queries, count: int
) -> None:
    summary = {"offers": [{"offerId": "off_UkLWZg9D"}], "channels": [{"channelId": "ch_UkLWZg9D"}]}
    for run in factories.RunFactory.create_batch(count, campaign=campaign, summary=summary):
        factories.add_file(run, b"x")
    client.get(URL)
    with django_assert_num_queries(6):  # key, count, runs, files, two of names
        assert len(client.get(URL).json()["data"]) == count


def test_events_come_oldest_first_by_pages(client: APIClient, campaign: Campaign) -> None:
    run, other = factories.RunFactory.create_batch(2, campaign=campaign)
    for kind in "abcde":
        RunEvent.objects.create(run=run, kind=kind, data={"n": 1})
        RunEvent.objects.create(run=other, kind="other")
    found = pages(client, f"{URL}/{run.public_id}/events", limit=2)
    assert [[event["kind"] for event in page] for page in found] == [["a", "b"], ["c", "d"], ["e"]]
    assert found[0][0].keys() == {"at", "kind", "message", "data"}
    newest = client.get(f"{URL}/{run.public_id}/events", {"ordering": "-at"}).json()["data"]
    assert [event["kind"] for event in newest] == list("edcba")


def test_files(client: APIClient, campaign: Campaign) -> None:
    run, other = factories.RunFactory.create_batch(2, campaign=campaign)
    file = factories.add_file(run, b"x\r\ny\r\n")
    factories.add_file(other, b"z")
    (shown,) = client.get(f"{URL}/{run.public_id}/files").json()["data"]
    assert (shown["id"], shown["name"], shown["rowCount"]) == (file.public_id, "run-1.csv", 1)
    response = client.get(shown["downloadUrl"])
    assert b"".join(response.streaming_content) == b"x\r\ny\r\n"


def test_cancel_ends_a_pending_run(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign, waits_for="worker")
    response = client.post(f"{URL}/{run.public_id}/cancel")
    assert response.status_code == 200
    found = response.json()
    assert (found["id"], found["status"], found["waitsFor"]) == (run.public_id, "cancelled", None)
    assert found["completedAt"] is not None
    assert [event["kind"] for event in found["events"]] == ["cancelled"]
    assert not runner.execute(run.pk)


def test_cancel_asks_a_running_run_to_stop(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign, status="running", fencing_token=3)
    for _ in range(2):
        response = client.post(f"{URL}/{run.public_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelling")
    assert [event["kind"] for event in response.json()["events"]] == ["cancelling"]
    assert response.json()["completedAt"] is None


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_cancel_of_what_has_ended_is_409(
    client: APIClient, campaign: Campaign, status: str
) -> None:
    run = factories.RunFactory(campaign=campaign, status=status, error="x")
    response = client.post(f"{URL}/{run.public_id}/cancel")
    assert response.status_code == 409
    assert status in error(response)["message"]
    assert CampaignRun.unscoped.get().status == status
    assert not RunEvent.objects.exists()


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_retry_asks_for_a_new_run_of_the_same(
    client: APIClient, campaign: Campaign, status: str
) -> None:
    flow = factories.published_flow(campaign.tenant)
    old = factories.RunFactory(campaign=campaign, run_number=7, status=status, error="x", flow=flow)
    response = client.post(f"{URL}/{old.public_id}/retry")
    assert response.status_code == 201
    new = CampaignRun.unscoped.get(run_number=8)
    assert response.json().pop("createdAt")
    assert {**response.json(), "createdAt": None} == {
        "id": new.public_id,
        "campaignId": campaign.public_id,
        "runNumber": 8,
        "triggeredBy": "retry",
        "status": "pending",
        "createdAt": None,
    }
    assert (new.flow, new.segment) == (flow, None)


@pytest.mark.parametrize("status", ["pending", "running", "cancelling", "completed"])
def test_retry_of_another_run_is_409(client: APIClient, campaign: Campaign, status: str) -> None:
    ended = {"completed_at": datetime(2026, 3, 22, tzinfo=UTC), "summary": {}}
    run = factories.RunFactory(campaign=campaign, status=status, **ended)
    response = client.post(f"{URL}/{run.public_id}/retry")
    assert response.status_code == 409
    assert status in error(response)["message"]
    assert CampaignRun.unscoped.count() == 1


def test_retry_of_a_paused_campaign_is_409(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign, status="failed", error="x")
    Campaign.unscoped.update(status="paused")
    assert client.post(f"{URL}/{run.public_id}/retry").status_code == 409
    assert CampaignRun.unscoped.count() == 1


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry"])
def test_actions_take_no_fields_and_need_an_editor(
    client: APIClient, campaign: Campaign, action: str
) -> None:
    run = factories.RunFactory(campaign=campaign)
    url = f"{URL}/{run.public_id}/{action}"
    assert faults(client.post(url, {"why": "x"}, format="json")) == ["why"]
    assert api_client(campaign.tenant, "viewer").post(url).status_code == 403
    assert CampaignRun.unscoped.get().status == "pending"


def test_pause_and_resume(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign)
    for _ in range(2):
        found = client.post(f"{URL}/{run.public_id}/pause")
        assert found.status_code == 200
        assert found.json()["status"] == "paused"
        assert found.json()["waitsFor"] == "somebody to resume it"
        assert found.json()["pausing"] is False
    found = client.post(f"{URL}/{run.public_id}/resume")
    assert (found.status_code, found.json()["status"]) == (200, "pending")
    assert [event["kind"] for event in found.json()["events"]] == ["paused", "resumed"]


@pytest.mark.parametrize("status", ["cancelling", "failed", "cancelled"])
def test_pause_and_resume_of_what_does_not_go_on_are_409(
    client: APIClient, campaign: Campaign, status: str
) -> None:
    run = factories.RunFactory(campaign=campaign, status=status, error="x")
    for action in ("pause", "resume"):
        response = client.post(f"{URL}/{run.public_id}/{action}")
        assert response.status_code == 409
        assert f"The run is {status};" in error(response)["message"]
    assert CampaignRun.unscoped.get().status == status
    assert not RunEvent.objects.exists()


def test_cancel_ends_a_paused_run_that_has_not_begun(client: APIClient, campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign, status="paused")
    response = client.post(f"{URL}/{run.public_id}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")


def test_retry_of_failed_chunks_opens_the_same_run_again(
    client: APIClient, campaign: Campaign
) -> None:
    run = factories.RunFactory(
        campaign=campaign,
        status="completed_with_errors",
        phase="done",
        error="x",
        completed_at=datetime(2026, 3, 22, tzinfo=UTC),
        summary={},
    )
    for number, status in enumerate(("written", "dead")):
        run.chunks.create(number=number, status=status, customers=10)
    letter = {"tenant": run.tenant, "topic": "campaign_chunks", "chunk": 1, "error": "x"}
    run.dead_letters.create(**letter, attempts=5)
    assert client.get(f"{URL}/{run.public_id}").json()["deadLetters"] == 1
    response = client.post(f"{URL}/{run.public_id}/retry")
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["status"]) == (run.public_id, "running")
    found = client.get(f"{URL}/{run.public_id}").json()
    assert (found["deadLetters"], found["summary"]) == (0, {})
    assert [*run.chunks.values_list("status", flat=True)] == ["written", "frozen"]
    response = client.post(f"{URL}/{run.public_id}/retry")
    assert response.status_code == 409
    assert CampaignRun.unscoped.count() == 1


def test_runs_cannot_be_deleted_one_by_one(campaign: Campaign) -> None:
    run = factories.RunFactory(campaign=campaign)
    response = api_client(campaign.tenant, "admin").delete(f"{URL}/{run.public_id}")
    assert response.status_code == 405


@pytest.mark.parametrize(
    ("method", "tail"),
    [("get", name) for name in ("", "/results", "/events", "/files", "/file")]
    + [("post", name) for name in ("/cancel", "/pause", "/resume", "/retry")],
)
def test_run_of_another_tenant_is_404(client: APIClient, method: str, tail: str) -> None:
    run = factories.RunFactory()
    response = getattr(client, method)(f"{URL}/{run.public_id}{tail}")
    assert response.status_code == 404
    assert CampaignRun.unscoped.get().status == "pending"
