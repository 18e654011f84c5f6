"""Runs over the API: trigger, history, progress, results, files."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from rest_framework.test import APIClient

from campaigns.models import Campaign, CampaignRun, RunEvent
from campaigns.services.progress import Progress, measure_progress
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import api_client, error

URL = "/api/v1/runs"
START = datetime(2026, 3, 22, 9, 0, tzinfo=UTC)


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant)


@pytest.fixture
def campaign(tenant: Tenant) -> Campaign:
    return factories.runnable_campaign(tenant)


@pytest.fixture
def finished(campaign: Campaign) -> CampaignRun:
    """A completed run of two customers with an offer each, and its file."""
    offer = factories.OfferFactory(tenant=campaign.tenant, name="Gold Card")
    channel = factories.ChannelFactory(tenant=campaign.tenant, name="E-mail")
    ids = {"offerId": offer.public_id, "channelId": channel.public_id}
    run = factories.RunFactory(
        campaign=campaign,
        run_number=1,
        status="completed",
        phase="done",
        started_at=START,
        completed_at=START + timedelta(seconds=4),
        audience_count=10,
        customers_done=10,
        summary={
            "audience": 10,
            "totalRecommendations": 2,
            "offers": [{"offerId": ids["offerId"], "count": 2, "percent": 100.0}],
            "channels": [{"channelId": ids["channelId"], "count": 2, "percent": 100.0}],
            "caps": [{"cap": "maxPerOffer", "offerId": "off_UkLWZg9D", "channelId": None}],
        },
    )
    factories.recommend(
        run, [("c1", 1, offer.pk, channel.pk, 0.5), ("c2", 1, offer.pk, channel.pk, 0.25)]
    )
    return run


def test_trigger_answers_the_documented_shape(client: APIClient, campaign: Campaign) -> None:
    factories.RunFactory(campaign=campaign, run_number=3)
    response = client.post(f"{URL}/{campaign.public_id}/campaign-runs")
    assert response.status_code == 201
    run = CampaignRun.unscoped.get(run_number=4)
    assert response.json() == {
        "id": run.public_id,
        "campaignId": campaign.public_id,
        "runNumber": 4,
        "triggeredBy": "manual",
        "status": "pending",
        "createdAt": run.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
    }


@pytest.mark.parametrize("status", ["paused", "archived"])
def test_trigger_of_a_campaign_at_rest_is_409(
    client: APIClient, campaign: Campaign, status: str
) -> None:
    Campaign.unscoped.update(status=status)
    response = client.post(f"{URL}/{campaign.public_id}/campaign-runs")
    assert response.status_code == 409
    assert status in error(response)["message"]
    assert not CampaignRun.unscoped.exists()


def test_trigger_takes_no_fields(client: APIClient, campaign: Campaign) -> None:
    url = f"{URL}/{campaign.public_id}/campaign-runs"
    response = client.post(url, {"priority": 1}, format="json")
    assert error(response)["fields"] == {"priority": ["Unknown field."]}
    assert client.post(url, {}, format="json").status_code == 201


def test_viewer_may_look_but_not_trigger(tenant: Tenant, campaign: Campaign) -> None:
    url = f"{URL}/{campaign.public_id}/campaign-runs"
    viewer = api_client(tenant, "viewer")
    assert viewer.post(url).status_code == 403
    assert viewer.get(url).json() == {"runs": [], "total": 0}


def test_history_is_newest_first_and_ends_at_50(client: APIClient, campaign: Campaign) -> None:
    for number in range(1, 52):
        factories.RunFactory(campaign=campaign, run_number=number)
    factories.RunFactory(campaign__tenant=campaign.tenant)
    url = f"{URL}/{campaign.public_id}/campaign-runs"
    found = client.get(url).json()
    assert [row["runNumber"] for row in found["runs"]] == list(range(51, 1, -1))
    assert found["total"] == 51
    assert client.get(url, {"limit": 51}).status_code == 400


def test_run_of_the_history(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    file = factories.add_file(finished, b"customer_id\r\nc1\r\nc2\r\n")
    (row,) = client.get(f"{URL}/{campaign.public_id}/campaign-runs").json()["runs"]
    assert row.pop("summary")["audience"] == 10
    (shown,) = row.pop("files")
    path = f"/api/v1/campaign-runs/{finished.public_id}"
    assert shown.pop("createdAt")
    assert shown == {
        "id": file.public_id,
        "name": "run-1.csv",
        "format": "csv",
        "sizeBytes": 21,
        "rowCount": 2,
        "sha256": file.sha256,
        "downloadUrl": f"{path}/files/{file.public_id}/download",
    }
    assert row.pop("createdAt")
    assert row == {
        "id": finished.public_id,
        "campaignId": campaign.public_id,
        "runNumber": 1,
        "triggeredBy": "manual",
        "status": "completed",
        "decisionFlowId": None,
        "segmentId": None,
        "phase": "done",
        "waitsFor": None,
        "pausing": False,
        "error": None,
        "scheduledFor": None,
        "startedAt": "2026-03-22T09:00:00.000Z",
        "completedAt": "2026-03-22T09:00:04.000Z",
        "progress": {
            "percent": 100.0,
            "customersDone": 10,
            "audienceCount": 10,
            "customersPerSecond": 2.5,
            "etaSeconds": 0.0,
        },
    }


def test_summary_names_what_still_exists(
    client: APIClient, campaign: Campaign, finished: CampaignRun
) -> None:
    (row,) = client.get(f"{URL}/{campaign.public_id}/campaign-runs").json()["runs"]
    summary = row["summary"]
    assert summary["offers"][0]["offerName"] == "Gold Card"
    assert summary["channels"][0]["channelName"] == "E-mail"
    assert summary["caps"] == [
        {
            "cap": "maxPerOffer",
            "offerId": "off_UkLWZg9D",
            "offerName": "Gold Card" if summary["offers"][0]["offerId"] == "off_UkLWZg9D" else None,
            "channelId": None,
        }
    ]


def test_run_detail_has_events(client: APIClient, finished: CampaignRun) -> None:
    for kind in ("started", "completed"):
        RunEvent.objects.create(run=finished, at=START, kind=kind, data={"snake_case": 1})
    found = client.get(f"/api/v1/campaign-runs/{finished.public_id}").json()
    assert [event["kind"] for event in found["events"]] == ["started", "completed"]
    assert found["events"][0] == {
        "at": "2026-03-22T09:00:00.000Z",
        "kind": "started",
        "message": "",
        "data": {"snake_case": 1},
    }


def test_campaign_detail(client: APIClient, campaign: Campaign, finished: CampaignRun) -> None:
    for number in range(2, 13):
        failed = {"status": "failed", "error": "the segment's view is gone"}
        factories.RunFactory(campaign=campaign, run_number=number, **failed)
    found = client.get(f"{URL}/{campaign.public_id}").json()
    assert found["name"] == campaign.name
    assert [run["runNumber"] for run in found["runs"]] == list(range(12, 2, -1))
    assert found["runs"][0]["error"] == "the segment's view is gone"
    assert found["latestRun"]["runNumber"] == 12
    ids = {key: found["recommendations"][0].pop(key) for key in ("offerId", "channelId")}
    assert ids["offerId"][:4] == "off_"
    assert found["recommendations"][0] == {
        "customerId": "c1",
        "rank": 1,
        "offerName": "Gold Card",
        "channel": "E-mail",
        "creativeId": None,
        "score": 0.5,
    }
    assert [row["customerId"] for row in found["recommendations"]] == ["c1", "c2"]
    assert found["resultsUrl"] == f"/api/v1/campaign-runs/{finished.public_id}/results"
    results = client.get(found["resultsUrl"]).json()["data"]
    assert [row["customerId"] for row in results] == ["c1", "c2"]


def test_campaign_detail_shows_100_results_of_the_latest_finished_run(
    client: APIClient, campaign: Campaign, finished: CampaignRun
) -> None:
    later = factories.RunFactory(
        campaign=campaign, run_number=2, status="completed", completed_at=START, summary={}
    )
    factories.recommend(later, [(f"k{n:03}", 1, 999_999, 999_999, 1.0) for n in range(101, 0, -1)])
    shown = client.get(f"{URL}/{campaign.public_id}").json()["recommendations"]
    assert [row["customerId"] for row in shown] == [f"k{n:03}" for n in range(1, 101)]
    assert (shown[0]["offerName"], shown[0]["channel"]) == (None, None)


def test_campaign_without_finished_run_has_no_results(
    client: APIClient, campaign: Campaign
) -> None:
    found = client.get(f"{URL}/{campaign.public_id}").json()
    assert (found["runs"], found["recommendations"], found["resultsUrl"]) == ([], [], None)


@pytest.mark.parametrize("count", [1, 9])
def test_detail_takes_the_same_queries_for_any_number_of_runs(
    client: APIClient, campaign: Campaign, finished, django_assert_max_num_queries, count: int
) -> None:
    for number in range(2, count + 1):
        factories.add_file(
            factories.RunFactory(campaign=campaign, run_number=number, summary=finished.summary),
            b"x",
        )
    client.get(URL)
    with django_assert_max_num_queries(12):
        assert len(client.get(f"{URL}/{campaign.public_id}").json()["runs"]) == count


@pytest.mark.parametrize("gone", ["flow", "view"])
def test_trigger_of_what_cannot_run_is_409_with_the_reason(
    client: APIClient, campaign: Campaign, gone: str
) -> None:
    with connection.cursor() as cursor:
        if gone == "view":
            cursor.execute(f"DROP VIEW segments.{campaign.segment.view_name}")
            reason = f'The view of the segment "{campaign.segment}" is gone: refresh the segment'
        else:
            campaign.flow.versions.all().delete()
            reason = f'The decision flow "{campaign.flow}" has no published version'
    response = client.post(f"{URL}/{campaign.public_id}/campaign-runs")
    assert response.status_code == 409
    assert error(response)["message"] == reason
    assert not CampaignRun.unscoped.exists()


@pytest.mark.parametrize("status", ["draft", "active"])
def test_trigger_of_draft_and_active(client: APIClient, campaign: Campaign, status: str) -> None:
    Campaign.unscoped.update(status=status)
    assert client.post(f"{URL}/{campaign.public_id}/campaign-runs").status_code == 201


def run_at(phase: str, done: int, **fields) -> CampaignRun:
    values = {"status": "running", "audience_count": 1000, "started_at": START, **fields}
    return CampaignRun(phase=phase, customers_done=done, **values)


@pytest.mark.parametrize(
    ("run", "progress"),
    [
        pytest.param(
            run_at("claim", 0, status="pending", started_at=None), (0.0, None, None), id="pending"
        ),
        pytest.param(run_at("freeze", 0, audience_count=None), (0.0, None, None), id="freezing"),
        pytest.param(run_at("decide", 500), (45.0, 45.0, 12.2), id="deciding"),
        pytest.param(run_at("write", 1000), (95.0, 95.0, 0.5), id="written"),
        pytest.param(run_at("write", 2000), (95.0, 95.0, 0.5), id="more than expected"),
        pytest.param(run_at("decide", 500, status="paused"), (45.0, None, None), id="paused"),
        pytest.param(run_at("decide", 500, status="failed"), (45.0, 45.0, None), id="failed"),
        pytest.param(
            run_at("done", 0, status="completed", audience_count=0), (100.0, None, 0.0), id="empty"
        ),
    ],
)
def test_progress_after_ten_seconds(run: CampaignRun, progress: tuple) -> None:
    assert measure_progress(run, START + timedelta(seconds=10)) == Progress(*progress)


def test_download(client: APIClient, finished: CampaignRun) -> None:
    data = b"customer_id,score\r\n" + b"c1,0.5\r\n" * 300_000
    file = factories.add_file(finished, data, name='Früh "1".csv')
    path = f"/api/v1/campaign-runs/{finished.public_id}"
    for url in (f"{path}/files/{file.public_id}/download", f"{path}/file"):
        response = client.get(url, headers={"accept": "text/csv"})
        assert response.status_code == 200
        assert b"".join(response.streaming_content) == data
        assert response["Content-Length"] == str(len(data))
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["ETag"] == f'"{file.sha256}"'
        disposition = response["Content-Disposition"]
        assert disposition == "attachment; filename*=utf-8''Fr%C3%BCh%20%221%22.csv"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.json", "application/json"), ("a.parquet", "application/vnd.apache.parquet")],
)
def test_download_says_its_type(
    client: APIClient, finished: CampaignRun, name: str, media_type: str
) -> None:
    factories.add_file(finished, b"x", name=name)
    response = client.get(f"/api/v1/campaign-runs/{finished.public_id}/file")
    assert response["Content-Type"] == media_type


def test_head_of_a_download_has_no_body(client: APIClient, finished: CampaignRun) -> None:
    factories.add_file(finished, b"four")
    response = client.head(f"/api/v1/campaign-runs/{finished.public_id}/file")
    assert (response["Content-Length"], b"".join(response.streaming_content)) == ("4", b"")


def test_download_of_what_the_client_has_is_304(client: APIClient, finished: CampaignRun) -> None:
    file = factories.add_file(finished, b"x")
    url = f"/api/v1/campaign-runs/{finished.public_id}/file"
    response = client.get(url, headers={"if-none-match": f'"{file.sha256}"'})
    assert (response.status_code, response.content) == (304, b"")


def test_file_that_is_not_there_is_404(client: APIClient, finished: CampaignRun) -> None:
    url = f"/api/v1/campaign-runs/{finished.public_id}"
    assert error(client.get(f"{url}/file"))["message"] == "This run has no file yet."
    file = factories.add_file(finished, b"x", name="a.csv")
    open_storage().delete([file.storage_key])
    assert error(client.get(f"{url}/file"))["message"] == "The file is no longer stored."
    factories.add_file(finished, b"y", name="b.csv")
    assert error(client.get(f"{url}/file"))["message"] == "This run has several files: name one."


def test_file_of_another_run_is_404(client: APIClient, finished: CampaignRun) -> None:
    other = factories.RunFactory(campaign=finished.campaign, run_number=2)
    file = factories.add_file(other, b"x")
    url = f"/api/v1/campaign-runs/{finished.public_id}/files/{file.public_id}/download"
    assert client.get(url).status_code == 404
