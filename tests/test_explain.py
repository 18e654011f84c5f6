"""An explanation says what became of every offer, and agrees with what the run has stored."""

import json
import random
from datetime import timedelta
from io import StringIO
from math import isclose
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from campaigns.models import CampaignRun, DeliveryError, HeldOut, Recommendation, RunChunk
from executor import job, runner
from executor.explain import explain
from executor.storage import open_storage
from kaireon import ids
from tests import factories, past
from tests import world as worlds
from tests.clients import api_client, error
from tests.test_api_description import DESCRIBED, check
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

EXPLAIN = "/api/v1/runs/{id}/campaign-runs/{runId}/explain"
RANKINGS = [
    {"method": "top_n", "maxCandidates": 2},
    {"method": "weighted_random", "maxCandidates": 2},
    {"method": "diversity", "maxCandidates": 2, "maxPerCategory": 1},
]


def finished(run: CampaignRun) -> CampaignRun:
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run


def rich_world(customers: int, ranking: dict[str, Any] | None = None) -> World:
    """Hard and soft rules, one on history, variants of a creative, a paused offer."""
    world = worlds.build(customers, k=2)
    tenant, (_, loan, silver) = world.tenant, world.offers
    factories.RuleFactory(
        tenant=tenant,
        name="prefers the old",
        stage="match",
        config={"attribute": "age", "operator": "gte", "value": 50, "fitMultiplier": 0.4},
    )
    factories.RuleFactory(
        tenant=tenant,
        name="no contact yet",
        rule_type="metric_condition",
        scope="offer",
        scope_key=loan.pk,
        config={"metric": "contacts", "operator": "lt", "threshold": 1, "lookbackDays": 7},
    )
    factories.CreativeFactory(tenant=tenant, offer=silver, channel=world.channels[0], weight=50)
    factories.OfferFactory(tenant=tenant, name="Old Card", status="paused")
    version = world.campaign.flow.published
    assert version is not None
    config = dict(version.config)
    config["nodes"] = [
        node if node["type"] != "rank" else {**node, "config": ranking or RANKINGS[0]}
        for node in config["nodes"]
    ]
    version.config = config
    version.save()
    return world


def told(whole: dict[str, Any], outcome: str) -> list[tuple[Any, ...]]:
    found = [
        (
            one["rank"],
            ids.decode("Offer", offer["offerId"]),
            ids.decode("Channel", one["channelId"]),
            ids.decode("Creative", one["creativeId"]),
            one["score"]["value"],
        )
        for offer in whole["offers"]
        for one in offer["candidates"]
        if one["outcome"] == outcome
    ]
    return sorted(found)


def stored(model: type, run: CampaignRun, customer: str) -> list[tuple[Any, ...]]:
    rows = model.objects.filter(run_id=run.pk, customer_key=customer)
    return list(rows.values_list("rank", "offer_id", "channel_id", "creative_id", "score"))


@pytest.mark.parametrize("caps", [{}, {"max_total_per_run": 1500, "max_per_offer": 700}])
@pytest.mark.parametrize("ranking", RANKINGS, ids=lambda one: one["method"])
def test_it_agrees_with_the_results_of_random_customers(
    ranking: dict[str, Any], caps: dict[str, int], settings: LazySettings
) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    world = rich_world(2300, ranking)
    finished(world.run(max_total_per_run=300))
    run = finished(world.run(**{"max_total_per_run": None, **caps}, holdout_percent=10))
    customers = [f"C{number:07}" for number in range(1, 2301)]
    # A thousand in each of the two ways of allocating, over all rankings.
    few = random.Random(4).sample(customers, 1000 if ranking["method"] == "top_n" else 200)
    seen: set[str] = set()
    for customer in few:
        whole = explain(run, customer)
        got = told(whole, "got")
        assert got == stored(Recommendation, run, customer)
        assert told(whole, "heldOut") == stored(HeldOut, run, customer)
        outcomes = {one["outcome"] for offer in whole["offers"] for one in offer["candidates"]}
        assert "wouldGet" not in outcomes
        assert ("capped" in outcomes) <= bool(caps)
        assert not (whole["heldOut"] and got)
        seen |= outcomes
    assert {"got", "heldOut", "removed", "otherCandidate", "otherVariant"} <= seen
    # Everybody who may have all three offers leaves one, unless categories leave it first.
    assert "notInTop" in seen
    assert ("capped" in seen) == bool(caps)


def offer_of(run: CampaignRun, customer: str, name: str) -> dict[str, Any]:
    return next(one for one in explain(run, customer)["offers"] if one["offerName"] == name)


def customer_where(world: World, condition: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT customer_id FROM {world.table} WHERE {condition} ORDER BY customer_id"
        )
        key: str = cursor.fetchone()[0]
    return key


def test_a_rule_is_told_with_the_value_and_the_nearest_change() -> None:
    world = worlds.build(300)
    run = finished(world.run())
    customer = customer_where(world, "age = 20 AND balance > 1000 AND email_ok")
    gold = offer_of(run, customer, "Gold Card")
    assert gold["outcome"] == "removed"
    assert gold["primaryReason"] == (
        'removed by the rule "adults of means" of "qualify-1": needs age >= 25, and the value is 20'
    )
    one = gold["candidates"][0]
    assert one["removedBy"]["ruleId"].startswith("qr_")
    assert one["removedBy"]["checks"] == [
        {
            "field": "age",
            "description": "age",
            "operator": "gte",
            "threshold": 25,
            "negated": False,
            "needs": "age >= 25",
            "value": 20,
        }
    ]
    assert one["nearestChange"] == {
        "field": "age",
        "description": "age",
        "value": 20,
        "to": 25,
        "difference": 5,
        "text": "age would have to be at least 25 (5 more)",
    }


def test_no_change_is_told_where_one_is_not_enough() -> None:
    world = worlds.build(3000)
    run = finished(world.run())
    both = customer_where(world, "age < 25 AND balance <= 1000 AND email_ok")
    candidates = offer_of(run, both, "Gold Card")["candidates"]
    assert [one["nearestChange"] for one in candidates] == [None, None]
    fields = [check["field"] for check in candidates[0]["removedBy"]["checks"]]
    assert fields == ["age", "balance"]
    later = customer_where(world, "age < 25 AND balance > 1000 AND email_ok AND NOT sms_ok")
    email, text = offer_of(run, later, "Gold Card")["candidates"]
    assert email["nearestChange"]["field"] == "age"
    assert text["nearestChange"] is None  # neither the consent nor the age alone


def test_the_change_that_is_told_is_the_one_that_helps() -> None:
    world = rich_world(600)
    run = finished(world.run())
    changed = {}
    for number in range(1, 200, 5):
        customer = f"C{number:07}"
        for offer in explain(run, customer)["offers"]:
            for one in offer["candidates"]:
                change = one["nearestChange"]
                if change and customer not in changed:
                    changed[customer] = (offer["offerName"], one["channel"], change)
    assert len(changed) > 20
    with connection.cursor() as cursor:
        for customer, (_, _, change) in changed.items():
            cursor.execute(
                f"UPDATE {world.table} SET {change['field']} = %s WHERE customer_id = %s",
                [change["to"], customer],
            )
        cursor.execute("DELETE FROM campaigns_contact")
    again = finished(world.run())
    for customer, (name, channel, _) in changed.items():
        now = next(
            one
            for one in offer_of(again, customer, name)["candidates"]
            if one["channel"] == channel and one["variantDrawn"] is not False
        )
        assert now["failed"] == []
        assert now["score"] is not None


def test_history_is_told_in_words() -> None:
    world = rich_world(200)
    first = finished(world.run())
    served = Recommendation.objects.filter(run_id=first.pk).values_list("customer_key", flat=True)
    run = finished(world.run())
    loan = offer_of(run, served[0], 'Loan, "easy"')
    check = next(
        step["checks"][0]
        for step in loan["candidates"][0]["failed"]
        if step["label"] == "no contact yet"
    )
    assert check["field"].startswith("=contacts:")
    assert check["description"].startswith("contacts since ")
    assert check["value"] >= 1


def test_a_score_is_the_product_of_its_parts() -> None:
    world = rich_world(200)
    run = finished(world.run())
    applied = 0
    for number in range(1, 100):
        for offer in explain(run, f"C{number:07}")["offers"]:
            for one in offer["candidates"]:
                score = one["score"]
                if score is None:
                    continue
                product = score["constant"]
                for factor in score["factors"]:
                    product *= factor["share"] ** factor["weight"]
                for penalty in score["penalties"]:
                    applied += penalty["applied"]
                    product *= penalty["multiplier"] if penalty["applied"] else 1
                assert isclose(product, score["value"], rel_tol=6e-6)
    assert applied


def test_a_full_cap_is_named() -> None:
    world = worlds.build(400)
    run = finished(world.run(max_per_offer=40))
    served = set(
        Recommendation.objects.filter(run_id=run.pk).values_list("customer_key", flat=True)
    )
    unserved = next(
        key for key in (f"C{n:07}" for n in range(1, 401) if n % 12) if key not in served
    )
    capped = [
        one
        for offer in explain(run, unserved)["offers"]
        for one in offer["candidates"]
        if one["outcome"] == "capped"
    ]
    assert capped
    for one in capped:
        assert one["caps"] == [{"cap": "maxPerOffer", "limit": 40, "used": 40}]
        assert one["reason"] == "turned away by a full cap: maxPerOffer (40)"


def test_what_nobody_can_have_is_told_too() -> None:
    world = rich_world(50)
    run = finished(world.run())
    old = offer_of(run, "C0000001", "Old Card")
    assert (old["outcome"], old["candidates"]) == ("dropped", [])
    assert old["offerId"].startswith("off_")
    assert old["dropped"][0]["node"] == "inventory-1"
    whole = explain(run, "C0000001")
    assert whole["summary"]["totalOffers"] == len(whole["offers"]) == 4
    assert whole["summary"]["dropped"] == 1


def test_before_the_end_it_tells_what_would_be() -> None:
    world = worlds.build(100)
    run = finished(world.run())
    got = told(explain(run, "C0000001"), "got")
    CampaignRun.unscoped.filter(pk=run.pk).update(status="running", phase="write")
    run.refresh_from_db()
    assert told(explain(run, "C0000001"), "wouldGet") == got
    assert explain(run, "C0000001")["isFinal"] is False


def test_chunks_without_keys_are_searched(settings: LazySettings) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    world = worlds.build(1100)
    run = finished(world.run())
    chunks = RunChunk.objects.filter(run=run).values_list("first_key", "last_key")
    assert list(chunks) == [("C0000001", "C0001024"), ("C0001025", "C0001100")]
    before = explain(run, "C0001050")
    RunChunk.objects.filter(run=run).update(first_key=None, last_key=None)
    assert explain(run, "C0001050") == before


def address(run: CampaignRun, customer: str | None) -> str:
    path = EXPLAIN.replace("{id}", run.campaign.public_id).replace("{runId}", run.public_id)
    return path if customer is None else f"{path}?customerId={customer}"


def test_the_api_answers_as_it_is_described() -> None:
    world = rich_world(300)
    run = finished(world.run(holdout_percent=20, max_per_offer=50))
    client = api_client(world.tenant, "viewer")
    answers = DESCRIBED["paths"][EXPLAIN]["get"]["responses"]["200"]["content"]
    for number in range(1, 60):
        response = client.get(address(run, f"C{number:07}"))
        assert response.status_code == 200
        check(answers["application/json"]["schema"], response.json())
        assert response.json() == json.loads(json.dumps(explain(run, f"C{number:07}")))


def test_what_cannot_be_explained_is_refused() -> None:
    world = worlds.build(50)
    run = finished(world.run())
    waiting = world.run()
    client = api_client(world.tenant, "viewer")

    def refused(address: str) -> tuple[int, str]:
        response = client.get(address)
        return response.status_code, error(response)["message"]

    assert refused(address(run, None))[0] == 400
    assert refused(address(run, ""))[0] == 400
    for customer in ("C9999999", "A", "%00", "Z"):
        status, message = refused(address(run, customer))
        assert (status, message) == (
            404,
            "There is no customer with this id in the audience of the run.",
        )
    assert refused(address(waiting, "C0000001"))[0] == 409
    fields = {name: getattr(world.campaign, name) for name in ("tenant", "flow", "segment")}
    other = factories.CampaignFactory(**fields)
    elsewhere = address(run, "C0000001").replace(world.campaign.public_id, other.public_id)
    assert refused(elsewhere)[0] == 404
    stranger = api_client(factories.TenantFactory())
    assert stranger.get(address(run, "C0000001")).status_code == 404
    open_storage().delete_under(f"runs/{run.pk}")
    assert refused(address(run, "C0000001")) == (
        410,
        "The inputs of the run have expired: its frozen customers are not stored any more.",
    )


def test_the_command_prints_a_table_or_json() -> None:
    world = worlds.build(50)
    run = finished(world.run())
    out = StringIO()
    call_command("explain", run.public_id, "C0000001", stdout=out)
    text = out.getvalue()
    assert f"Customer C0000001 in run {run.public_id} (completed): 3 offers" in text
    assert "Gold Card" in text
    assert "score = " in text
    out = StringIO()
    call_command("explain", str(run.pk), "C0000001", "--json", stdout=out)
    assert json.loads(out.getvalue()) == json.loads(json.dumps(explain(run, "C0000001")))
    with pytest.raises(CommandError, match="There is no customer"):
        call_command("explain", run.public_id, "X")
    with pytest.raises(CommandError, match="there is no run"):
        call_command("explain", "crun_x", "X")


@pytest.fixture(autouse=True)
def no_jobs_of_other_tests() -> None:
    job._jobs.clear()


@pytest.mark.parametrize("caps", [{}, {"max_per_offer": 160}])
def test_what_could_not_be_delivered_is_told(caps: dict[str, int]) -> None:
    world = worlds.build(300, k=2)
    for creative in world.offers[1].creatives.all():
        creative.content = {"body": "{{ p_loans | round: 1 }}"}  # missing for every eleventh
        creative.save()
    run = world.run(include_personalization=True, **caps)
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed_with_errors"
    lost: dict[str, set[tuple[int, int]]] = {}
    for row in DeliveryError.objects.filter(run_id=run.pk):
        lost.setdefault(row.customer_key, set()).add((row.offer_id, row.channel_id))
    assert lost
    for number in range(1, 301):
        customer = f"C{number:07}"
        whole = explain(run, customer)
        assert told(whole, "got") == stored(Recommendation, run, customer)
        undelivered = {
            (ids.decode("Offer", offer["offerId"]), ids.decode("Channel", one["channelId"]))
            for offer in whole["offers"]
            for one in offer["candidates"]
            if one["outcome"] == "undelivered"
        }
        assert undelivered == lost.get(customer, set())
        if undelivered:
            loan = offer_of(run, customer, 'Loan, "easy"')
            assert loan["primaryReason"].startswith("could not be delivered: ")


def test_a_policy_is_told_and_when_it_will_have_passed() -> None:
    world = worlds.build(60)
    factories.PolicyFactory(tenant=world.tenant, name="a day apart")
    version = world.campaign.flow.published
    assert version is not None
    nodes = list(version.config["nodes"])
    nodes.insert(3, {"id": "policies", "type": "contact_policy", "config": {}})
    version.config = {**version.config, "nodes": nodes}
    version.save()
    first = finished(world.run())
    served = Recommendation.objects.filter(run_id=first.pk).values_list("customer_key", flat=True)
    run = finished(world.run())
    loan = offer_of(run, served[0], 'Loan, "easy"')
    assert loan["outcome"] == "removed"
    one = next(one for one in loan["candidates"] if len(one["failed"]) == 1)
    assert one["removedBy"]["policyId"].startswith("cp_")
    assert one["removedBy"]["label"].startswith("a day apart: no contact")
    assert one["nearestChange"]["description"].startswith("seconds since the last contact since ")
    assert one["nearestChange"]["text"].startswith("from ")
    assert one["nearestChange"]["text"].endswith(" UTC on")


def test_what_was_too_long_ago_or_never_is_told_without_a_date() -> None:
    world = worlds.build(50)
    factories.RuleFactory(
        tenant=world.tenant,
        name="was contacted lately",
        rule_type="recency_check",
        stage="eligibility",
        config={"source": "contact", "withinDays": 7},
    )
    at = timezone.now() - timedelta(days=40)
    past.contacts(world.tenant, [{"customer_key": "C0000007", "at": at}])
    run = finished(world.run())
    for customer in ("C0000007", "C0000008"):  # long ago, never
        text = offer_of(run, customer, "Silver Card")["candidates"][0]["nearestChange"]["text"]
        assert text.endswith("of at most 604800 seconds")
