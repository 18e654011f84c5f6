"""Who sees and does what in the admin: roles, and the wall between tenants."""

from collections.abc import Callable

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from campaigns.models import Campaign, Category, Channel, Creative, Offer, Tick
from kaireon.access.models import ApiKey, Membership, Tenant
from tests import factories
from tests.signed_in import errors, join, member, page, said, signed_in, superuser, text_of

MAKE: dict[str, Callable[..., Model]] = {
    "schema": factories.SchemaFactory,
    "schemajoin": factories.SchemaJoinFactory,
    "segment": factories.SegmentFactory,
    "flow": factories.FlowFactory,
    "category": factories.CategoryFactory,
    "offer": factories.OfferFactory,
    "channel": factories.ChannelFactory,
    "creative": factories.CreativeFactory,
    "qualificationrule": factories.RuleFactory,
    "campaign": factories.CampaignFactory,
    "tick": lambda tenant: Tick.unscoped.create(
        tenant=tenant,
        campaign=factories.CampaignFactory(tenant=tenant),
        scheduled_for="2026-03-22T09:00:00Z",
        outcome="missed",
        reason="3 h late",
    ),
    "campaignrun": lambda tenant: factories.RunFactory(
        campaign=factories.CampaignFactory(tenant=tenant), tenant=tenant
    ),
}
READ_ONLY = ("schema", "campaignrun", "tick")


@pytest.fixture
def other(db: None) -> Tenant:
    return factories.TenantFactory(name="Somebody else")


@pytest.mark.parametrize("model", MAKE)
def test_rows_of_another_tenant_do_not_exist(model: str, tenant: Tenant, other: Tenant) -> None:
    foreign = MAKE[model](tenant=other)
    admin = member(tenant, "admin")
    listed = admin.get(page(model, "changelist"))
    assert listed.status_code == 200
    assert listed.context["cl"].result_count == 0
    for name in ("change", "delete", "history"):
        assert admin.get(page(model, name, foreign.pk)).status_code in (302, 403, 404), name
        assert admin.post(page(model, name, foreign.pk), {"post": "yes"}).status_code != 200
    foreign.refresh_from_db()


@pytest.mark.parametrize("model", MAKE)
@pytest.mark.parametrize(
    ("role", "may_add", "may_delete"),
    [("viewer", 403, 403), ("editor", 200, 403), ("admin", 200, 200)],
)
def test_role_decides(model: str, role: str, may_add: int, may_delete: int, tenant: Tenant) -> None:
    row, client = MAKE[model](tenant=tenant), member(tenant, role)
    assert client.get(page(model, "changelist")).status_code == 200
    assert client.get(page(model, "change", row.pk)).status_code == 200
    read_only = model in READ_ONLY
    assert client.get(page(model, "add")).status_code == (403 if read_only else may_add)
    assert client.get(page(model, "delete", row.pk)).status_code == (
        403 if read_only else may_delete
    )


def test_viewer_changes_nothing(tenant: Tenant) -> None:
    category, client = (
        factories.CategoryFactory(tenant=tenant, name="Cards"),
        member(tenant, "viewer"),
    )
    response = client.post(page("category", "change", category.pk), {"name": "Loans"})
    assert response.status_code == 403
    category.refresh_from_db()
    assert category.name == "Cards"


def test_staff_without_membership_sees_nothing(tenant: Tenant) -> None:
    factories.CampaignFactory(tenant=tenant)
    stranger = signed_in(factories.UserFactory())
    assert stranger.get(page("campaign", "changelist")).status_code == 403
    assert stranger.get(reverse("admin:index")).context["app_list"] == []


def test_superuser_sees_all_tenants(tenant: Tenant, other: Tenant) -> None:
    for owner in (tenant, other):
        factories.CampaignFactory(tenant=owner)
    assert superuser().get(page("campaign", "changelist")).context["cl"].result_count == 2


def test_role_of_one_tenant_does_not_reach_another(tenant: Tenant, other: Tenant) -> None:
    mine, watched = factories.OfferFactory(tenant=tenant), factories.OfferFactory(tenant=other)
    client = member(tenant, "admin")
    join(client, other, "viewer")
    assert client.get(page("offer", "changelist")).context["cl"].result_count == 2
    assert client.get(page("offer", "delete", mine.pk)).status_code == 200
    assert client.get(page("offer", "delete", watched.pk)).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [watched.pk], "post": "yes"}
    assert client.post(page("offer", "changelist"), action).status_code == 403
    assert Offer.unscoped.count() == 2


def test_only_tenant_is_filled_in(tenant: Tenant, other: Tenant) -> None:
    client = member(tenant, "editor")
    join(client, other, "viewer")
    form = client.get(page("category", "add")).context["adminform"].form
    assert "tenant" not in form.fields
    client.post(
        page("category", "add"),
        {"name": "Cards", "status": "active", "ordinal": 0, "color": "red", "tenant": other.pk},
    )
    assert Category.unscoped.get().tenant == tenant


def test_several_tenants_are_a_choice_of_own_ones(tenant: Tenant, other: Tenant) -> None:
    foreign = factories.TenantFactory()
    client = member(tenant, "editor")
    join(client, other, "admin")
    data = {"name": "Cards", "status": "active", "ordinal": 0, "color": "red"}
    refused = client.post(page("category", "add"), {**data, "tenant": foreign.pk})
    assert errors(refused)["tenant"]
    client.post(page("category", "add"), {**data, "tenant": other.pk})
    assert Category.unscoped.get().tenant == other


def test_choices_hold_own_rows_only(tenant: Tenant, other: Tenant) -> None:
    mine, foreign = factories.ChannelFactory(tenant=tenant), factories.ChannelFactory(tenant=other)
    client = member(tenant, "editor")
    form = client.get(page("creative", "add")).context["adminform"].form
    assert list(form.fields["channel"].queryset) == [mine]
    data = {
        "name": "C",
        "offer": factories.OfferFactory(tenant=tenant).pk,
        "channel": foreign.pk,
        "status": "draft",
        "template_type": "x",
        "weight": 1,
    }
    assert "channel" in errors(client.post(page("creative", "add"), data))
    assert not Creative.unscoped.exists()


def test_rows_of_two_own_tenants_do_not_mix(tenant: Tenant, other: Tenant) -> None:
    client = superuser()
    data = {
        "tenant": tenant.pk,
        "name": "C",
        "offer": factories.OfferFactory(tenant=other).pk,
        "channel": factories.ChannelFactory(tenant=tenant).pk,
        "status": "draft",
        "template_type": "x",
        "weight": 1,
    }
    refused = client.post(page("creative", "add"), data)
    assert errors(refused) == {"offer": ["Belongs to another tenant."]}
    assert not Creative.unscoped.exists()


def test_autocomplete_finds_own_rows_only(tenant: Tenant, other: Tenant) -> None:
    mine = factories.OfferFactory(tenant=tenant, name="Gold")
    factories.OfferFactory(tenant=other, name="Gold too")
    query = {"app_label": "campaigns", "model_name": "creative", "field_name": "offer"}
    found = member(tenant, "viewer").get(reverse("admin:autocomplete"), {**query, "term": "Gold"})
    assert [row["text"] for row in found.json()["results"]] == [mine.name]


def test_autocomplete_of_tenants_and_users_tells_nothing(tenant: Tenant, other: Tenant) -> None:
    client = member(tenant, "admin")
    query = {"app_label": "campaigns", "model_name": "creative", "field_name": "tenant"}
    found = client.get(reverse("admin:autocomplete"), query).json()["results"]
    assert [row["text"] for row in found] == [tenant.name]
    query = {"app_label": "access", "model_name": "membership", "field_name": "user"}
    assert client.get(reverse("admin:autocomplete"), query).status_code == 403


@pytest.mark.parametrize("model", ["offer", "creative", "campaign"])
def test_lists_and_their_filters_name_no_other_tenant(
    model: str, tenant: Tenant, other: Tenant
) -> None:
    MAKE[model](tenant=tenant)
    factories.CategoryFactory(tenant=other, name="Hidden category")
    factories.ChannelFactory(tenant=other, name="Hidden channel")
    for role in ("viewer", "admin"):
        client = member(tenant, role)
        shown = text_of(client.get(page(model, "changelist")))
        assert "Hidden" not in shown
        assert other.name not in shown


def test_rule_cannot_name_a_foreign_target(tenant: Tenant, other: Tenant) -> None:
    foreign = factories.OfferFactory(tenant=other, name="Hidden")
    client = member(tenant, "editor")
    assert "Hidden" not in text_of(client.get(page("qualificationrule", "add")))
    data = {
        "name": "R",
        "status": "active",
        "rule_type": "attribute_condition",
        "config": '{"attribute": "age"}',
        "on_missing": "fail",
        "applies_to": foreign.public_id,
        "stage": "eligibility",
        "priority": 1,
    }
    assert list(errors(client.post(page("qualificationrule", "add"), data))) == ["applies_to"]


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_api_keys_are_for_admins(role: str, tenant: Tenant) -> None:
    key, _ = ApiKey.issue(tenant, name="k", role="viewer")
    client = member(tenant, role)
    for url in (
        page("apikey", "changelist"),
        page("apikey", "add"),
        page("apikey", "change", key.pk),
    ):
        assert client.get(url).status_code == 403


def test_api_key_is_shown_once(tenant: Tenant) -> None:
    client = member(tenant, "admin")
    data = {"name": "robot", "role": "editor"}
    after = client.post(page("apikey", "add"), data, follow=True)
    key = ApiKey.unscoped.get()
    (text,) = [word for line in said(after) for word in line.split() if word.startswith("krn_")]
    secret = text.rpartition(f"{key.public_part}_")[2]
    assert key.matches(secret)
    assert (key.tenant, key.name, key.role) == (tenant, "robot", "editor")
    for url in (page("apikey", "changelist"), page("apikey", "change", key.pk)):
        shown = text_of(client.get(url))
        assert secret not in shown
        assert key.secret_hash not in shown


def test_api_key_is_revoked_after_asking(tenant: Tenant) -> None:
    key, _ = ApiKey.issue(tenant, name="k", role="viewer")
    client, url = member(tenant, "admin"), page("apikey", "revoke", key.pk)
    assert "Revoke" in text_of(client.get(url))
    key.refresh_from_db()
    assert key.revoked_at is None
    client.post(url)
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_foreign_api_key_cannot_be_revoked(tenant: Tenant, other: Tenant) -> None:
    key, _ = ApiKey.issue(other, name="k", role="viewer")
    client = member(tenant, "admin")
    assert client.post(page("apikey", "revoke", key.pk)).status_code == 403
    action = {"action": "revoke_selected", "_selected_action": [key.pk]}
    client.post(page("apikey", "changelist"), action)
    key.refresh_from_db()
    assert key.revoked_at is None


def test_membership_is_changed_by_admins_and_made_by_superusers(tenant: Tenant) -> None:
    editor, admin = member(tenant, "editor"), member(tenant, "admin")
    mine = Membership.objects.get(role="editor")
    url = page("membership", "change", mine.pk)
    assert editor.post(url, {"role": "admin"}).status_code == 403
    assert admin.get(page("membership", "add")).status_code == 403
    admin.post(url, {"role": "viewer"})
    mine.refresh_from_db()
    assert mine.role == "viewer"
    user = factories.UserFactory()
    added = {"tenant": tenant.pk, "user": user.pk, "role": "admin"}
    superuser().post(page("membership", "add"), added)
    assert Membership.objects.get(user=user).role == "admin"


def test_tenant_admin_renames_own_tenant_only(tenant: Tenant, other: Tenant) -> None:
    client = member(tenant, "admin")
    assert client.get(page("tenant", "changelist")).context["cl"].result_count == 1
    data = {"name": "New", "timezone": "Europe/Berlin", "slug": "stolen", "holdout_percent": "2.5"}
    client.post(page("tenant", "change", tenant.pk), data)
    client.post(page("tenant", "change", other.pk), data)
    tenant.refresh_from_db()
    other.refresh_from_db()
    assert (tenant.name, other.name) == ("New", "Somebody else")
    assert (tenant.slug == "stolen", tenant.timezone) == (False, "Europe/Berlin")
    assert tenant.holdout_percent == 2.5
    too_much = client.post(page("tenant", "change", tenant.pk), {**data, "holdout_percent": "101"})
    assert too_much.status_code == 200
    tenant.refresh_from_db()
    assert tenant.holdout_percent == 2.5
    refused = client.post(page("tenant", "change", tenant.pk), {**data, "timezone": "Moon"})
    assert list(errors(refused)) == ["timezone"]


def test_users_are_for_superusers(tenant: Tenant) -> None:
    assert member(tenant, "admin").get(reverse("admin:auth_user_changelist")).status_code == 403
    client = superuser()
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 200
    assert client.get(reverse("admin:auth_user_add")).status_code == 200


def test_revoked_membership_ends_a_session_at_once(tenant: Tenant) -> None:
    client = member(tenant, "admin")
    Membership.objects.all().delete()
    assert client.get(page("campaign", "changelist")).status_code == 403


def test_running_needs_an_editor_of_the_tenant(tenant: Tenant, other: Tenant) -> None:
    campaign = factories.CampaignFactory(tenant=tenant)
    url = page("campaign", "run_now", campaign.pk)
    both = member(tenant, "viewer")
    join(both, other, "admin")
    for client in (member(tenant, "viewer"), member(other, "admin"), both):
        assert client.get(url).status_code == 403
        assert client.post(url).status_code == 403
    assert not Campaign.unscoped.get(pk=campaign.pk).runs.exists()


def test_anonymous_is_sent_to_the_login_and_from_there_to_the_index(db: None) -> None:
    client = Client()
    sent = client.get(page("campaign", "changelist"))
    assert sent.headers["Location"].startswith(reverse("admin:login"))
    login = text_of(client.get(reverse("admin:login")))
    assert f'name="next" value="{reverse("admin:index")}"' in login


def test_channel_of_another_tenant_stays_hidden_behind_a_shared_name(
    tenant: Tenant, other: Tenant
) -> None:
    factories.ChannelFactory(tenant=other, name="Email")
    data = {
        "name": "Email",
        "channel_type": "email",
        "status": "active",
        "delivery_mode": "file",
        "impression_mode": "explicit",
    }
    client = member(tenant, "editor")
    assert client.post(page("channel", "add"), data).status_code == 302
    again = client.post(page("channel", "add"), data)
    assert errors(again) == {"name": ["There is a channel with this name already."]}
    assert Channel.unscoped.count() == 2
