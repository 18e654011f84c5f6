"""Categories, offers, channels, placements and creatives over the API, and what holds them."""

from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from campaigns.models import Channel, Creative, Offer, Placement
from campaigns.services.rules import create_rule
from kaireon.access.models import Tenant
from tests import factories
from tests.clients import API, api_client, change, change_faults, create, error, faults
from tests.clients import without_stamps as shown


@pytest.fixture
def client(tenant: Tenant) -> APIClient:
    return api_client(tenant, "admin")


def refused_delete(client: APIClient, resource: str, row: Any) -> str:
    """Why the row cannot be deleted; it still must be there."""
    response = client.delete(f"{API}{resource}/{row.public_id}")
    assert response.status_code == 409, response.content
    assert client.get(f"{API}{resource}/{row.public_id}").status_code == 200
    return error(response)["message"]


def conflict(client: APIClient, resource: str, **body: Any) -> str:
    response = client.post(API + resource, body, format="json")
    assert response.status_code == 409, response.content
    return error(response)["message"]


def test_category(client: APIClient) -> None:
    assert shown(create(client, "categories", name="Cards", ordinal=2)) == {
        "name": "Cards",
        "description": "",
        "color": "blue",
        "icon": "",
        "status": "active",
        "ordinal": 2,
        "customFields": [],
    }
    message = "There is a category with this name already."
    assert conflict(client, "categories", name="Cards") == message


def test_sub_category(client: APIClient, tenant: Tenant) -> None:
    category, other = factories.CategoryFactory.create_batch(2, tenant=tenant)
    body = {"name": "Credit", "categoryId": category.public_id}
    made = create(client, "sub-categories", **body)
    assert shown(made) == {**body, "status": "active", "ordinal": 0, "customFields": []}
    message = "There is a sub category with this name and category already."
    assert conflict(client, "sub-categories", **body) == message
    create(client, "sub-categories", **body | {"categoryId": other.public_id})
    assert set(faults(client, "sub-categories", name="x")) == {"categoryId"}


def test_offer(client: APIClient, tenant: Tenant) -> None:
    inner = factories.SubCategoryFactory(tenant=tenant)
    body = {
        "name": "Gold Card",
        "description": "",
        "shortDesc": "A card",
        "status": "active",
        "categoryId": inner.category.public_id,
        "subCategoryId": inner.public_id,
        "priority": 80,
        "weight": 50,
        "businessValue": 12.5,
        "margin": 3,
        "revenueValue": None,
        "productType": "card",
        "tags": ["new"],
        "metadata": {"snake_case": {"camelCase": [1, None]}},
        "customFields": {},
        "budget": {"maxTotal": 3},
        "schedule": {"endDate": "2026-03-22"},
        "mandatory": False,
        "mandatoryReason": "",
        "mandatoryExpiresAt": None,
        "mandatoryApprovedBy": "",
    }
    assert shown(create(client, "offers", **body)) == body


def test_offer_faults(client: APIClient, tenant: Tenant) -> None:
    category, other = factories.CategoryFactory.create_batch(2, tenant=tenant)
    inner = factories.SubCategoryFactory(tenant=tenant, category=other)
    assert set(
        faults(
            client,
            "offers",
            priority=101,
            weight=-1,
            businessValue="high",
            tags=["a", 1],
            metadata=[],
            version=2,
            categoryId=factories.OfferFactory(tenant=tenant).public_id,
        )
    ) == {
        "name",
        "priority",
        "weight",
        "businessValue",
        "tags[1]",
        "metadata",
        "version",
        "categoryId",
    }
    body = {"name": "x", "categoryId": category.public_id, "subCategoryId": inner.public_id}
    wrong = ["Must be a sub-category of categoryId."]
    assert faults(client, "offers", **body) == {"subCategoryId": wrong}
    del body["categoryId"]
    assert faults(client, "offers", **body) == {"subCategoryId": wrong}


def test_a_changed_offer_is_checked_as_it_will_be(client: APIClient, tenant: Tenant) -> None:
    inner, other = factories.SubCategoryFactory.create_batch(2, tenant=tenant)
    offer = factories.OfferFactory(tenant=tenant, category=inner.category).public_id
    wrong = {"subCategoryId": ["Must be a sub-category of categoryId."]}
    assert change_faults(client, "offers", offer, subCategoryId=other.public_id) == wrong
    changed = change(client, "offers", offer, subCategoryId=inner.public_id)
    assert changed["subCategoryId"] == inner.public_id
    for category in (other.category.public_id, None):
        assert change_faults(client, "offers", offer, categoryId=category) == wrong
    both = {"categoryId": other.category.public_id, "subCategoryId": other.public_id}
    assert both.items() <= change(client, "offers", offer, **both).items()
    assert change(client, "offers", offer, subCategoryId=None)["subCategoryId"] is None


def test_channel(client: APIClient) -> None:
    made = create(client, "channels", name="E-mail", deliveryMode="file")
    assert shown(made) == {
        "name": "E-mail",
        "channelType": "email",
        "deliveryMode": "file",
        "impressionMode": "explicit",
        "status": "active",
    }
    assert faults(client, "channels", name="x", deliveryMode="pigeon") == {
        "deliveryMode": ["Must be one of: api, file, integration, manual."]
    }


def test_placement(client: APIClient, tenant: Tenant) -> None:
    channel, other = factories.ChannelFactory.create_batch(2, tenant=tenant)
    body = {"name": "Home page, top", "channelId": channel.public_id, "maxSlots": 3}
    assert shown(create(client, "placements", **body)) == {
        **body,
        "key": "home-page-top",
        "description": "",
        "slotType": "banner",
        "status": "active",
    }
    assert create(client, "placements", **body)["key"] == "home-page-top-2"
    message = "There is a placement with this key and channel already."
    assert conflict(client, "placements", **body, key="home-page-top") == message
    body |= {"key": "home-page-top", "channelId": other.public_id}
    assert create(client, "placements", **body)["key"] == "home-page-top"
    body |= {"key": "a b", "maxSlots": 0, "channelId": "ch_nothing"}
    assert set(faults(client, "placements", **body)) == {"key", "maxSlots", "channelId"}


def test_creative(client: APIClient, tenant: Tenant) -> None:
    offer, channel = factories.OfferFactory(tenant=tenant), factories.ChannelFactory(tenant=tenant)
    body = {
        "name": "Gold e-mail",
        "offerId": offer.public_id,
        "channelId": channel.public_id,
        "status": "active",
        "content": {"subject": "Hello {{ first_name }}"},
        "personalization": [{"variable": "first_name", "fallback": "you"}],
        "weight": 50,
    }
    made = create(client, "creatives", **body)
    assert {name: made[name] for name in body} == body
    elsewhere = factories.PlacementFactory(tenant=tenant)
    body |= {"name": "Other", "placementId": elsewhere.public_id}
    assert faults(client, "creatives", **body) == {
        "placementId": ["Must be a placement of channelId."]
    }


def test_a_changed_creative_is_checked_as_it_will_be(client: APIClient, tenant: Tenant) -> None:
    creative = factories.CreativeFactory(tenant=tenant)
    here = factories.PlacementFactory(tenant=tenant, channel=creative.channel).public_id
    elsewhere = factories.PlacementFactory(tenant=tenant)
    wrong = {"placementId": ["Must be a placement of channelId."]}
    id, there = creative.public_id, elsewhere.public_id
    assert change_faults(client, "creatives", id, placementId=there) == wrong
    assert change(client, "creatives", id, placementId=here)["placementId"] == here
    channel = elsewhere.channel.public_id
    assert change_faults(client, "creatives", id, channelId=channel) == wrong
    moved = change(client, "creatives", id, channelId=channel, placementId=there)
    assert (moved["channelId"], moved["placementId"]) == (channel, there)


def test_what_others_stand_in_stays_where_it_is(client: APIClient, tenant: Tenant) -> None:
    inner = factories.SubCategoryFactory(tenant=tenant, name="Credit")
    factories.OfferFactory(tenant=tenant, name="Gold", category=inner.category, sub_category=inner)
    category = factories.CategoryFactory(tenant=tenant)
    response = client.patch(
        f"{API}sub-categories/{inner.public_id}", {"categoryId": category.public_id}, format="json"
    )
    assert response.status_code == 409
    message = 'categoryId: The sub category is used by offer "Gold".'
    assert error(response)["message"] == message
    placement = factories.PlacementFactory(tenant=tenant)
    channel = {"channelId": factories.ChannelFactory(tenant=tenant).public_id}
    assert channel.items() <= change(client, "placements", placement.public_id, **channel).items()
    placement.refresh_from_db()
    factories.CreativeFactory(tenant=tenant, channel=placement.channel, placement=placement)
    channel = {"channelId": factories.ChannelFactory(tenant=tenant).public_id}
    response = client.patch(f"{API}placements/{placement.public_id}", channel, format="json")
    assert response.status_code == 409


@pytest.mark.parametrize(
    ("resource", "filter", "other"),
    [
        ("offers", {"status": "draft"}, {"status": "active"}),
        ("offers", {"productType": "card"}, {"productType": "loan"}),
        ("channels", {"deliveryMode": "api"}, {"deliveryMode": "manual"}),
        ("channels", {"channelType": "sms"}, {"channelType": "email"}),
        ("channels", {"impressionMode": "implicit"}, {"impressionMode": "explicit"}),
        ("categories", {"status": "paused"}, {"status": "active"}),
    ],
)
def test_filters(client: APIClient, resource: str, filter: dict, other: dict) -> None:
    made = create(client, resource, name="Right", **filter)
    create(client, resource, name="Wrong", **other)
    assert client.get(API + resource, filter).json()["data"] == [made]


def test_filters_by_id(client: APIClient, tenant: Tenant) -> None:
    inner = factories.SubCategoryFactory(tenant=tenant)
    offer = factories.OfferFactory(tenant=tenant, category=inner.category, sub_category=inner)
    placement = factories.PlacementFactory(tenant=tenant)
    creative = factories.CreativeFactory(
        tenant=tenant, offer=offer, channel=placement.channel, placement=placement
    )
    factories.CreativeFactory(tenant=tenant)
    factories.PlacementFactory(tenant=tenant)
    for resource, name, row, found in (
        ("offers", "categoryId", inner.category, offer),
        ("offers", "subCategoryId", inner, offer),
        ("sub-categories", "categoryId", inner.category, inner),
        ("placements", "channelId", placement.channel, placement),
        ("creatives", "offerId", offer, creative),
        ("creatives", "channelId", placement.channel, creative),
        ("creatives", "placementId", placement, creative),
    ):
        rows = client.get(API + resource, {name: row.public_id}).json()["data"]
        assert [one["id"] for one in rows] == [found.public_id], (resource, name)
        foreign = type(row)(pk=row.pk + 1000).public_id
        assert client.get(API + resource, {name: foreign}).json()["data"] == []
        prefix = row.public_id.partition("_")[0]
        wrong = client.get(API + resource, {name: tenant.slug})
        assert error(wrong)["fields"] == {name: [f"Must be an id that begins with: {prefix}_."]}


def test_a_category_with_offers_is_kept(client: APIClient, tenant: Tenant) -> None:
    inner = factories.SubCategoryFactory(tenant=tenant, category__name="Cards", name="Credit")
    for number in range(6):
        factories.OfferFactory(
            tenant=tenant, name=f"o{number}", category=inner.category, sub_category=inner
        )
    message = refused_delete(client, "categories", inner.category)
    assert message.startswith("The category is used by ")
    assert message.endswith(" and 2 more.")
    message = refused_delete(client, "sub-categories", inner)
    assert 'offer "o0", offer "o1"' in message


def use_by_scope(tenant: Tenant, scope: str, row: Any) -> list[str]:
    """Make a rule and, where there are such, a policy and a volume constraint of the row."""
    fields = {"tenant": tenant, "scope": scope, "scope_key": row.pk}
    factories.RuleFactory(**fields, name="R")
    factories.PolicyFactory(**fields, name="P") if scope != "placement" else None
    users = ['qualification rule "R"']
    users += ['contact policy "P"'] if scope != "placement" else []
    if scope in ("offer", "category", "channel"):
        factories.VolumeConstraintFactory(**fields, name="V")
        users.append('volume constraint "V"')
    return users


@pytest.mark.parametrize(
    ("resource", "scope", "factory"),
    [
        ("categories", "category", factories.CategoryFactory),
        ("sub-categories", "subcategory", factories.SubCategoryFactory),
        ("offers", "offer", factories.OfferFactory),
        ("channels", "channel", factories.ChannelFactory),
        ("placements", "placement", factories.PlacementFactory),
        ("creatives", "creative", factories.CreativeFactory),
    ],
)
def test_what_a_rule_names_is_kept(
    client: APIClient, tenant: Tenant, resource: str, scope: str, factory: Any
) -> None:
    row = factory(tenant=tenant)
    users = use_by_scope(tenant, scope, row)
    message = refused_delete(client, resource, row)
    assert message == f"The {row._meta.verbose_name} is used by {', '.join(users)}."
    # A row of the same key in another scope, or of another tenant, is not meant.
    other = factory(tenant=tenant)
    for model, name in (("segment", "S"), ("global", "G")):
        key = None if model == "global" else other.pk
        factories.RuleFactory(tenant=tenant, name=name, scope=model, scope_key=key)
    factories.RuleFactory(scope=scope, scope_key=other.pk)
    assert client.delete(f"{API}{resource}/{other.public_id}").status_code == 204


def test_a_rule_of_what_would_go_along_keeps_it(client: APIClient, tenant: Tenant) -> None:
    creative = factories.CreativeFactory(tenant=tenant)
    factories.RuleFactory(tenant=tenant, name="R", scope="creative", scope_key=creative.pk)
    for resource, row in (("offers", creative.offer), ("channels", creative.channel)):
        assert 'qualification rule "R"' in refused_delete(client, resource, row)


def test_a_channel_of_a_campaign_is_kept(client: APIClient, tenant: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant, name="Weekly")
    channel = factories.ChannelFactory(tenant=tenant)
    campaign.channels.add(channel)
    message = 'The channel is used by campaign "Weekly".'
    assert refused_delete(client, "channels", channel) == message


@pytest.mark.parametrize(
    ("resource", "factory", "key", "policy"),
    [
        ("offers", factories.OfferFactory, "offerIds", "offerIds"),
        ("categories", factories.CategoryFactory, "categoryIds", "categoryIds"),
        ("sub-categories", factories.SubCategoryFactory, "subCategoryIds", None),
    ],
)
def test_what_a_flow_or_a_policy_lists_is_kept(
    client: APIClient, tenant: Tenant, resource: str, factory: Any, key: str, policy: str | None
) -> None:
    row = factory(tenant=tenant)
    listed = [factory(tenant=tenant).public_id, row.public_id]
    config = {"version": 2, "nodes": [{"type": "inventory", "config": {key: listed}}]}
    flow = factories.FlowFactory(tenant=tenant, name="F", draft_config=config)
    name = row._meta.verbose_name
    assert refused_delete(client, resource, row) == f'The {name} is used by flow "F".'
    flow.draft_config = {}
    flow.save()
    for number, published in ((1, config), (2, config), (3, {})):
        if number == 3:
            assert 'flow "F"' in refused_delete(client, resource, row)
        flow.versions.create(version=number, config=published)
    if policy is not None:
        made = factories.PolicyFactory(tenant=tenant, name="P", config={policy: listed})
        message = f'The {name} is used by contact policy "P".'
        assert refused_delete(client, resource, row) == message
        made.delete()
    assert client.delete(f"{API}{resource}/{row.public_id}").status_code == 204


def test_what_goes_along(client: APIClient, tenant: Tenant) -> None:
    placement = factories.PlacementFactory(tenant=tenant)
    creative = factories.CreativeFactory(
        tenant=tenant, channel=placement.channel, placement=placement
    )
    assert client.delete(f"{API}placements/{placement.public_id}").status_code == 204
    assert client.get(f"{API}creatives/{creative.public_id}").json()["placementId"] is None
    factories.PlacementFactory(tenant=tenant, channel=creative.channel)
    assert client.delete(f"{API}channels/{creative.channel.public_id}").status_code == 204
    assert not Channel.unscoped.exists()
    assert not Placement.unscoped.exists()
    assert not Creative.unscoped.exists()
    assert creative.history.first().history_type == "-"
    creative = factories.CreativeFactory(tenant=tenant)
    assert client.delete(f"{API}offers/{creative.offer.public_id}").status_code == 204
    assert not Creative.unscoped.exists()
    assert Offer.objects.of(tenant).count() == 1


def test_a_row_is_not_deleted_while_a_rule_begins_to_name_it(transactional_db: None) -> None:
    offer = factories.OfferFactory()
    client = api_client(offer.tenant, "admin")
    config = {"field": "age", "operator": "gt", "value": 1}
    rule = {"name": "R", "rule_type": "attribute_condition", "scope": "offer", "config": config}
    answers: list[str] = []

    def delete() -> None:
        try:
            answers.append(refused_delete(client, "offers", offer))
        finally:
            connection.close()

    with transaction.atomic():
        create_rule(offer.tenant, {**rule, "scope_id": offer.public_id})
        thread = Thread(target=delete)
        thread.start()
        with connection.cursor() as cursor:
            while thread.is_alive():
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone() != (0,):
                    break
        assert thread.is_alive()
    thread.join()
    assert answers == ['The offer is used by qualification rule "R".']


def test_a_creative_that_cannot_be_rendered_is_refused(client: APIClient, tenant: Tenant) -> None:
    creative = factories.CreativeFactory(tenant=tenant)
    found = change_faults(
        client,
        "creatives",
        creative.public_id,
        content={"subject": "Hi {{ first_name", "body": "{{ x | nope }}"},
        personalization=[{"variable": "x", "source": "segment.x"}],
    )
    assert {path: text[0].partition(";")[0] for path, text in found.items()} == {
        "content.body": 'unknown filter "nope"',
        "content.subject": "cannot be read: line 1: expected '}}', found end of file",
        "personalization[0].source": "must be customer.<column>, offer.<attribute>,"
        ' channel.<attribute> or personalization.<custom field>, got "segment.x"',
    }
    content = {"subject": "Hi {{ first_name | default: 'you' }}"}
    change(client, "creatives", creative.public_id, content=content)
