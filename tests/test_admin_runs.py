"""Running from the admin, and the page of a run: summary, file, recommendations, events."""

from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client

from campaigns.models import CampaignRun, Recommendation, RunFile
from executor import runner
from executor.storage import open_storage
from kaireon.access.models import Tenant
from tests import factories
from tests import world as worlds
from tests.signed_in import member, page, said, text_of
from tests.world import World


@pytest.fixture(autouse=True)
def nobody_executes(settings: LazySettings) -> None:
    settings.KAIREON_INLINE_FALLBACK = False


@pytest.fixture
def results(tenant: Tenant) -> CampaignRun:
    """A completed run whose customers 0 to 129 got one offer each, and customer 7 two."""
    campaign = factories.CampaignFactory(tenant=tenant)
    run = factories.RunFactory(
        campaign=campaign,
        status="completed",
        summary={"audience": 130},
        completed_at="2026-01-01T00:00:00Z",
    )
    offer = factories.OfferFactory(tenant=tenant, name="Gold Card")
    channel = factories.ChannelFactory(tenant=tenant, name="Email")
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE campaigns_recommendation_r{run.pk} PARTITION OF"
            f" campaigns_recommendation FOR VALUES IN ({run.pk})"
        )
    keys = [(f"C{n:03}", 1) for n in range(130)] + [("C007", 2)]
    Recommendation.objects.bulk_create(
        Recommendation(
            run_id=run.pk,
            customer_key=key,
            rank=rank,
            chunk=0,
            offer_id=offer.pk,
            channel_id=channel.pk,
            score=0.123456789,
        )
        for key, rank in keys
    )
    return run


@pytest.fixture
def world(clean_relations: None) -> World:
    return worlds.build(50, k=1)


def shown(client: Client, run: CampaignRun, query: str = "") -> list[tuple[str, int]]:
    """Customer and rank of the recommendations on a page."""
    response = client.get(page("campaignrun", "change", run.pk) + query.partition("#")[0])
    return [(row[0], row[1]) for row in response.context["page"].table["rows"]]


def neighbours(client: Client, run: CampaignRun, query: str = "") -> tuple[str | None, str | None]:
    response = client.get(page("campaignrun", "change", run.pk) + query.partition("#")[0])
    return response.context["page"].previous, response.context["page"].next


def test_recommendations_are_paged_there_and_back(tenant: Tenant, results: CampaignRun) -> None:
    client, query, pages, addresses = member(tenant, "viewer"), "", [], []
    while query is not None:
        pages.append(shown(client, results, query))
        addresses.append(query)
        query = neighbours(client, results, query)[1]
    expected = sorted([(f"C{n:03}", 1) for n in range(130)] + [("C007", 2)])
    assert [len(rows) for rows in pages] == [50, 50, 31]
    assert [row for rows in pages for row in rows] == expected
    back = neighbours(client, results, addresses[-1])[0]
    assert shown(client, results, back) == pages[1]
    first = neighbours(client, results, back)[0]
    assert shown(client, results, first) == pages[0]
    assert neighbours(client, results, first)[0] is None
    assert neighbours(client, results)[0] is None


def test_one_customer_is_found_exactly(tenant: Tenant, results: CampaignRun) -> None:
    client = member(tenant, "viewer")
    assert shown(client, results, "?customer=C007") == [("C007", 1), ("C007", 2)]
    assert shown(client, results, "?customer=C00") == []
    url = page("campaignrun", "change", results.pk)
    assert "got nothing in this run" in text_of(client.get(url, {"customer": "nobody"}))


@pytest.mark.parametrize("query", ["?rank=x", "?rank=99999", "?customer=%00", "?key=%00&rank=1"])
def test_nonsense_in_the_address_is_ignored(
    query: str, tenant: Tenant, results: CampaignRun
) -> None:
    response = member(tenant, "viewer").get(page("campaignrun", "change", results.pk) + query)
    assert response.status_code == 200


def test_recommendations_show_names(tenant: Tenant, results: CampaignRun) -> None:
    response = member(tenant, "viewer").get(page("campaignrun", "change", results.pk))
    row = response.context["page"].table["rows"][0]
    assert row == ["C000", 1, "Gold Card", "Email", "-", "0.123457"]


def test_run_page_costs_the_same_for_any_size(
    tenant: Tenant, results: CampaignRun, django_assert_max_num_queries
) -> None:
    client, url = member(tenant, "viewer"), page("campaignrun", "change", results.pk)
    client.get(url)
    with django_assert_max_num_queries(12):
        client.get(url)


def test_run_cannot_be_edited(tenant: Tenant, results: CampaignRun) -> None:
    admin = member(tenant, "admin")
    assert admin.post(page("campaignrun", "change", results.pk), {}).status_code == 405
    assert admin.get(page("campaignrun", "delete", results.pk)).status_code == 403


def test_run_is_asked_for_and_then_requested(world: World) -> None:
    client, url = member(world.tenant, "editor"), page("campaign", "run_now", world.campaign.pk)
    asked = text_of(client.get(url))
    assert "Weekly Cards" in asked
    assert not world.campaign.runs.exists()
    after = client.post(url, follow=True)
    run = world.campaign.runs.get()
    assert after.redirect_chain == [(page("campaignrun", "change", run.pk), 302)]
    assert said(after) == ["Run 1 of Weekly Cards is requested."]
    assert (run.status, run.triggered_by) == ("pending", "manual")


def test_request_needs_the_csrf_token(world: World) -> None:
    client = member(world.tenant, "editor")
    client.handler.enforce_csrf_checks = True
    assert client.post(page("campaign", "run_now", world.campaign.pk)).status_code == 403
    assert not world.campaign.runs.exists()


def test_paused_campaign_is_not_run(world: World) -> None:
    world.campaign.status = "paused"
    world.campaign.save()
    client = member(world.tenant, "editor")
    after = client.post(page("campaign", "run_now", world.campaign.pk), follow=True)
    assert "campaign is paused" in said(after)[0]
    assert not world.campaign.runs.exists()


def test_finished_run_shows_its_summary_and_file(world: World) -> None:
    run = world.run(max_total_per_run=20)
    assert runner.execute(run.pk)
    client = member(world.tenant, "viewer")
    response = client.get(page("campaignrun", "change", run.pk))
    numbers = dict(response.context["numbers"])
    assert (numbers["Customers"], numbers["Recommendations"]) == ("50", "20")
    tables = {title: table["rows"] for title, table in response.context["tables"]}
    assert {row[0] for row in tables["Offers"]} == {offer.name for offer in world.offers}
    assert sum(int(row[1]) for row in tables["Channels"]) == 20
    assert tables["Funnel"][0][-1] == "50"
    assert int(tables["Funnel"][-1][-1]) == 20
    (cap,) = tables["Volume limits"]
    assert cap[:4] == ["Recommendations of the run", "-", "20", "20"]
    assert len(response.context["page"].table["rows"]) == 20
    assert "completed" in [row[1] for row in response.context["events"]["rows"]]


def test_file_is_downloaded(world: World) -> None:
    run = world.run()
    assert runner.execute(run.pk)
    file = RunFile.unscoped.get(run=run)
    client = member(world.tenant, "viewer")
    url = page("campaignrun", "file", run.pk, file.pk)
    assert url in text_of(client.get(page("campaignrun", "change", run.pk)))
    response = client.get(url)
    data = b"".join(response.streaming_content)
    assert data == open_storage().get(file.storage_key)
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["Content-Disposition"] == f'attachment; filename="{file.name}"'
    stranger = member(factories.TenantFactory(), "admin")
    assert stranger.get(url).status_code == 404
    assert client.get(page("campaignrun", "file", run.pk, file.pk + 1)).status_code == 404


def test_lost_file_is_told(tenant: Tenant, results: CampaignRun, storage: Path) -> None:
    lost = {"storage_key": "gone", "size_bytes": 1, "row_count": 1, "sha256": ""}
    file = RunFile.unscoped.create(tenant=tenant, run=results, name="x.csv", format="csv", **lost)
    client = member(tenant, "viewer")
    after = client.get(page("campaignrun", "file", results.pk, file.pk), follow=True)
    assert said(after) == ["x.csv is no longer stored."]


def test_unfinished_run_shows_how_far_it_is(tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    run = factories.RunFactory(campaign=campaign)
    client = member(tenant, "viewer")
    waiting = client.get(page("campaignrun", "change", run.pk))
    assert waiting.context["progress"]["text"] == "waits for worker"
    CampaignRun.unscoped.filter(pk=run.pk).update(
        status="running", phase="decide", audience_count=100, customers_done=50
    )
    running = client.get(page("campaignrun", "change", run.pk))
    assert running.context["progress"]["percent"] == 45.0
    assert ("Took", "-") in running.context["facts"]
    assert 'hx-trigger="every 2s"' in text_of(running)


def test_failed_run_says_why_and_its_traceback_is_for_superusers(tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    run = factories.RunFactory(
        campaign=campaign, status="failed", error="the view is gone", traceback="File x.py"
    )
    text = text_of(member(tenant, "admin").get(page("campaignrun", "change", run.pk)))
    assert "the view is gone" in text
    assert "File x.py" not in text
