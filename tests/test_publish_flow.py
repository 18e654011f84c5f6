"""Flows: made, edited, published and explained."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from threading import Barrier
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns.models import Flow, FlowVersion
from campaigns.services.errors import Conflict
from campaigns.services.flows import create_flow, publish_flow, save_draft
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.models import Tenant
from tests import factories
from tests.flow_samples import conditions, flow, formula, leaf, node
from tests.sources import ROOT

pytestmark = pytest.mark.django_db


def faults(caught: pytest.ExceptionInfo[Rejected]) -> list[tuple[str, str]]:
    return caught.value.errors


def explained(*args: str, **options: Any) -> str:
    out = StringIO()
    call_command("explain_flow", *args, stdout=out, **options)
    return out.getvalue()


def test_first_flow_of_a_tenant_is_its_default(tenant: Tenant) -> None:
    first = create_flow(tenant, key="weekly", name="Weekly")
    second = create_flow(tenant, key="daily", name="Daily", config=flow(), description="each day")
    other = create_flow(factories.TenantFactory(), key="weekly", name="Weekly")
    assert (first.is_default, second.is_default, other.is_default) == (True, False, True)
    assert (first.draft_config, first.status, first.version) == ({}, "draft", 1)
    assert (second.draft_config, second.description) == (flow(), "each day")


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"key": "every week"}, "key", 'must be letters, digits, - and _ only, got "every week"'),
        ({"key": "k" * 256}, "key", "has 256 characters, at most 255 are allowed"),
        ({"name": " "}, "name", "is required"),
        ({"name": "n" * 256}, "name", "has 256 characters, at most 255 are allowed"),
        ({"config": {"version": 2}}, "draftConfig.nodes", "must be a list of nodes, got null"),
    ],
    ids=["key form", "long key", "no name", "long name", "config"],
)
def test_faulty_flow_is_not_made(
    tenant: Tenant, fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(Rejected) as caught:
        create_flow(tenant, **{"key": "new", "name": "New", **fields})
    assert faults(caught) == [(path, message)]
    assert not Flow.objects.of(tenant).exists()


def test_key_is_a_tenants_once(tenant: Tenant) -> None:
    factories.FlowFactory(tenant=tenant, key="taken")
    factories.FlowFactory(key="other")
    with pytest.raises(Conflict, match="There is a flow with this key already"):
        create_flow(tenant, key="taken", name="New")
    assert Flow.objects.of(tenant).count() == 1
    assert create_flow(tenant, key="other", name="New").pk


def test_saving_a_draft_raises_the_version(tenant: Tenant) -> None:
    made = create_flow(tenant, key="weekly", name="Weekly")
    save_draft(made, flow())
    save_draft(made, {})
    save_draft(made, flow(node("qualify")))
    stored = Flow.objects.of(tenant).get()
    assert (stored.version, made.version) == (4, 4)
    assert stored.draft_config == flow(node("qualify"))


def test_faulty_draft_is_not_saved(tenant: Tenant) -> None:
    made = create_flow(tenant, key="weekly", name="Weekly", config=flow())
    with pytest.raises(Rejected) as caught:
        save_draft(made, flow(node("magic")))
    stored = Flow.objects.of(tenant).get()
    assert [path for path, _ in faults(caught)] == ["draftConfig.nodes[1].type"]
    assert (stored.version, stored.draft_config) == (1, flow())


def test_publishing_numbers_versions_and_activates(tenant: Tenant) -> None:
    made = create_flow(tenant, key="weekly", name="Weekly", config=flow())
    first = publish_flow(made, notes="first")
    save_draft(made, flow(node("qualify")))
    second = publish_flow(made)
    assert [(each.version, each.notes, each.config) for each in (first, second)] == [
        (1, "first", flow()),
        (2, "", flow(node("qualify"))),
    ]
    assert (made.status, made.published) == ("active", second)
    assert Flow.objects.of(tenant).get().version == made.version == 4


def test_stale_flow_publishes_the_draft_that_is_stored(tenant: Tenant) -> None:
    made = create_flow(tenant, key="weekly", name="Weekly", config=flow())
    stale = Flow.objects.of(tenant).get()
    save_draft(made, flow(node("qualify")))
    assert publish_flow(stale).config == flow(node("qualify"))


@pytest.mark.django_db(transaction=True)
def test_publishing_at_once_gives_every_version_its_number() -> None:
    made = create_flow(factories.TenantFactory(), key="weekly", name="Weekly", config=flow())
    start = Barrier(4)

    def publish() -> int:
        mine = Flow.unscoped.get(pk=made.pk)
        start.wait()
        try:
            return publish_flow(mine).version
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        published = [pool.submit(publish) for _ in range(4)]
        assert sorted(each.result() for each in published) == [1, 2, 3, 4]


def test_empty_draft_is_not_published(tenant: Tenant) -> None:
    made = create_flow(tenant, key="weekly", name="Weekly")
    with pytest.raises(Rejected) as caught:
        publish_flow(made)
    assert faults(caught) == [("draftConfig", "is empty: save a definition before publishing")]
    assert (made.status, FlowVersion.objects.count()) == ("draft", 0)


def test_publishing_needs_the_tenants_own_offers(tenant: Tenant) -> None:
    own, foreign = factories.OfferFactory(tenant=tenant), factories.OfferFactory()
    offers = [own.public_id, foreign.public_id, ids.encode("Offer", 2**40)]
    inventory = node("inventory", scope="offers", offerIds=offers)
    made = create_flow(tenant, key="weekly", name="Weekly", config=flow(inventory=inventory))
    with pytest.raises(Rejected) as caught:
        publish_flow(made)
    assert faults(caught) == [
        (
            f"draftConfig.nodes[0].config.offerIds[{position}]",
            f'node "inventory": there is no Offer "{offers[position]}"',
        )
        for position in (1, 2)
    ]
    assert FlowVersion.objects.count() == 0


def test_publishing_accepts_known_categories(tenant: Tenant) -> None:
    category = factories.CategoryFactory(tenant=tenant)
    sub_category = category.sub_categories.create(tenant=tenant, name="Sub")
    for scope, key, row in [
        ("category", "categoryIds", category),
        ("subcategory", "subCategoryIds", sub_category),
    ]:
        inventory = node("inventory", scope=scope, **{key: [row.public_id]})
        made = create_flow(tenant, key=scope, name=scope, config=flow(inventory=inventory))
        assert publish_flow(made).version == 1


@pytest.fixture
def bank(tenant: Tenant) -> Tenant:
    """A tenant with an offer, a channel, a creative, two schemas and a flow."""
    columns = [
        {"name": "customer_id", "type": "bigint", "kind": "integer"},
        {"name": "age", "type": "bigint", "kind": "integer"},
        {"name": "place", "type": "point", "kind": None},
    ]
    factories.SchemaFactory(tenant=tenant, name="customers", columns=columns)
    offer = factories.OfferFactory(tenant=tenant, name="Gold Card")
    factories.CreativeFactory(
        tenant=tenant, offer=offer, channel__tenant=tenant, channel__name="Email"
    )
    made = create_flow(
        tenant, key="weekly", name="Weekly", config=flow(conditions(leaf("customer.age", "gt", 1)))
    )
    publish_flow(made)
    save_draft(made, flow(score=formula()))
    return tenant


def test_explain_prints_the_published_plan(bank: Tenant) -> None:
    text = explained("weekly", tenant=bank.slug)
    assert text.splitlines()[0] == "weekly version 1: 1 offer in 1 channel: 1 candidate"
    assert "    needs age > 1 (1 candidate of 1 offer)" in text.splitlines()
    assert explained("weekly", "--version", "1", tenant=bank.slug, schema="customers") == text


def test_explain_prints_the_draft(bank: Tenant) -> None:
    text = explained("weekly", tenant=bank.slug, draft=True)
    assert text.splitlines()[0] == "Draft of weekly: 1 offer in 1 channel: 1 candidate"


def test_explain_prints_the_json_schema() -> None:
    assert explained(json_schema=True) == (ROOT / "docs" / "flow.schema.json").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name a flow and its tenant: explain_flow FLOW_KEY --tenant SLUG"),
        (["weekly", "--tenant", "nobody"], 'there is no tenant "nobody"; there are: bank'),
        (["daily", "--tenant", "bank"], 'there is no flow "daily"; there are: weekly'),
        (
            ["weekly", "--tenant", "bank", "--version", "7"],
            'flow "weekly" has no version 7; it has: 1',
        ),
        (["weekly", "--tenant", "bank", "--segment", "Rich"], 'there is no segment "Rich"'),
        (
            ["weekly", "--tenant", "bank", "--schema", "people"],
            "choose customers by --segment or --schema; schemas: customers",
        ),
    ],
    ids=["nothing", "tenant", "flow", "version", "segment", "schema"],
)
def test_explain_says_what_is_missing(bank: Tenant, args: list[str], message: str) -> None:
    bank.slug = "bank"
    bank.save()
    with pytest.raises(CommandError) as caught:
        explained(*args)
    assert str(caught.value) == message


def test_explain_lists_why_a_flow_cannot_run(bank: Tenant) -> None:
    made = Flow.objects.of(bank).get()
    save_draft(made, flow(conditions(leaf("customer.agee", "gt", 1))))
    with pytest.raises(CommandError) as caught:
        explained("weekly", tenant=bank.slug, draft=True)
    assert str(caught.value) == (
        "Draft of weekly cannot run:\n"
        'nodes[1].config.conditions[0].field: the customers have no column "agee"; '
        'did you mean "age"? available: age, customer_id'
    )


def test_explain_reads_the_columns_of_a_segment(bank: Tenant) -> None:
    segment = factories.SegmentFactory(tenant=bank, name="Rich")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE VIEW segments.{segment.view_name} AS SELECT 1::bigint AS age")
    text = explained("weekly", tenant=bank.slug, segment="Rich")
    assert text.splitlines()[-1] == "Reads the customer columns age"
