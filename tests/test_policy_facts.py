"""What of policies, segments and budgets is frozen into the spec of a run."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from executor.errors import Rejected
from executor.flow.catalog import OfferUsage, PolicyFacts, SegmentFacts
from executor.spec import RunSpec, load_catalog, make_spec
from kaireon.access.models import Tenant
from tests import factories, past

NOW = datetime(2026, 3, 22, 1, 30, tzinfo=UTC)


def test_active_policies_in_the_order_they_are_applied(tenant: Tenant) -> None:
    offer = factories.OfferFactory(tenant=tenant)
    factories.PolicyFactory(tenant=tenant, status="paused")
    factories.PolicyFactory()
    last = factories.PolicyFactory(tenant=tenant, priority=10)
    place = {"scope": "offer", "scopeId": offer.public_id}
    scopes = [{"scope": "global", "scopeId": None}, place]
    first = factories.PolicyFactory(tenant=tenant, priority=90, name="First", scopes=scopes)
    found = load_catalog(tenant).policies
    assert [policy.key for policy in found] == [first.pk, last.pk]
    assert found[0] == PolicyFacts(
        key=first.pk,
        name="First",
        rule_type="cooldown",
        scope="global",
        config={"cooldownHours": 24},
        priority=90,
        scopes=(("global", None), ("offer", offer.pk)),
    )


def test_rules_have_their_scopes(tenant: Tenant) -> None:
    channel = factories.ChannelFactory(tenant=tenant)
    scopes = [{"scope": "channel", "scopeId": channel.public_id}]
    factories.RuleFactory(tenant=tenant, scopes=scopes)
    (rule,) = load_catalog(tenant).rules
    assert rule.places == (("channel", channel.pk),)


def test_segments_that_are_named_and_there(tenant: Tenant, clean_relations: None) -> None:
    segment, unused = (factories.segment_with_view(tenant) for _ in range(2))
    gone = factories.SegmentFactory(tenant=tenant)
    foreign = factories.segment_with_view(factories.TenantFactory())
    named = [row.public_id for row in (segment, gone, foreign)]
    config = {"excludeSegments": named}
    factories.PolicyFactory(tenant=tenant, rule_type="segment_exclusion", config=config)
    found = load_catalog(tenant).segments
    key = segment.base_schema.key_column
    assert found == (SegmentFacts(segment.pk, segment.name, segment.view_name, key),)
    factories.RuleFactory(tenant=tenant, config={"requiredSegments": [unused.public_id]})
    assert [one.key for one in load_catalog(tenant).segments] == [segment.pk, unused.pk]


def test_use_of_budgets_by_the_days_of_the_tenant(tenant: Tenant) -> None:
    tenant.timezone = "Europe/Rome"
    tenant.save()
    spent, unused = (
        factories.OfferFactory(tenant=tenant, budget={"maxPerDay": 1}) for _ in range(2)
    )
    free = factories.OfferFactory(tenant=tenant)
    midnight = datetime(2026, 3, 21, 23, tzinfo=UTC)
    times = [midnight, midnight - timedelta(microseconds=1), NOW, NOW + timedelta(microseconds=1)]
    rows = [{"customer_key": "A", "at": at, "offer_id": spent.pk} for at in times]
    past.contacts(tenant, [*rows, {"customer_key": "A", "at": NOW, "offer_id": free.pk}])
    past.contacts(tenant, [{**rows[0], "run_id": 5}])
    past.hold(5, NOW)
    past.interactions(
        tenant,
        [
            {**rows[1], "interaction_type": "impression"},
            {**rows[0], "interaction_type": "click", "offer_id": unused.pk},
        ],
    )
    used = load_catalog(tenant, now=NOW).usage
    assert used[0] == OfferUsage(spent.pk, 2, 3, 0, 1)
    assert used[1:] in ((), (OfferUsage(unused.pk),))


def test_without_a_budget_the_history_is_not_read(tenant: Tenant) -> None:
    factories.OfferFactory(tenant=tenant)
    with connection.execute_wrapper(refuse_history):
        assert load_catalog(tenant).usage == ()


def refuse_history(execute, sql, params, many, context):
    assert "campaigns_contact " not in sql
    return execute(sql, params, many, context)


def test_an_offer_has_its_terms(tenant: Tenant) -> None:
    expired, valid = (
        factories.OfferFactory(
            tenant=tenant,
            mandatory=True,
            mandatory_reason="Law",
            mandatory_approved_by="ada",
            mandatory_expires_at=expires,
            schedule={"startDate": "2026-03-22"},
        )
        for expires in (NOW, NOW + timedelta(seconds=1))
    )
    found = {offer.key: offer for offer in load_catalog(tenant, now=NOW).offers}
    assert (found[expired.pk].mandatory, found[valid.pk].mandatory) == (False, True)
    assert found[valid.pk].starts == datetime(2026, 3, 22, tzinfo=UTC)
    assert found[valid.pk].ends is None


def test_what_cannot_be_read_is_named(tenant: Tenant) -> None:
    offer = factories.OfferFactory(tenant=tenant, name="A", schedule={"startDate": "soon"})
    with pytest.raises(Rejected, match='the schedule of the offer "A": startDate must be a date'):
        load_catalog(tenant)
    offer.schedule, offer.budget = {}, {"maxTotal": 1}
    offer.save()
    tenant.timezone = "Mars/Olympus"
    with pytest.raises(Rejected, match='there is no time zone "Mars/Olympus"'):
        load_catalog(tenant)


def test_the_spec_has_the_tenant_and_its_zone(tenant: Tenant, clean_relations: None) -> None:
    tenant.timezone = "Asia/Tokyo"
    tenant.save()
    factories.PolicyFactory(tenant=tenant, scopes=[{"scope": "global", "scopeId": None}])
    run = factories.RunFactory(campaign=factories.runnable_campaign(tenant))
    spec = make_spec(run, NOW)
    assert (spec.tenant_key, spec.zone) == (tenant.pk, "Asia/Tokyo")
    data = json.loads(json.dumps(spec.to_json()))
    assert RunSpec.from_json(data) == spec
    # A spec of before says nothing of all this.
    for name in ("tenant_key", "zone"):
        del data[name]
    for name in ("policies", "segments", "usage"):
        del data["catalog"][name]
    for rule in data["catalog"]["rules"]:
        del rule["scopes"]
    assert RunSpec.from_json(data).catalog.policies == ()
