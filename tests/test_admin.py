"""Configuring in the admin: services decide, the form shows what they refuse, lists stay cheap."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from campaigns.models import Campaign, Flow, FlowVersion, Offer, QualificationRule, Segment
from kaireon.access.models import Tenant
from tests import factories
from tests.customer_tables import execute, make_schema
from tests.signed_in import errors, member, page, said, superuser, text_of
from tests.world import flow_config

#: Model -> the most queries its list may take, whatever the number of rows.
LISTS = {
    "schema": factories.SchemaFactory,
    "schemajoin": factories.SchemaJoinFactory,
    "segment": factories.SegmentFactory,
    "flow": factories.FlowFactory,
    "category": factories.CategoryFactory,
    "offer": lambda tenant: factories.OfferFactory(
        tenant=tenant, category=factories.CategoryFactory(tenant=tenant)
    ),
    "channel": factories.ChannelFactory,
    "creative": factories.CreativeFactory,
    "qualificationrule": lambda tenant: factories.RuleFactory(
        tenant=tenant, scope="offer", scope_key=factories.OfferFactory(tenant=tenant).pk
    ),
    "campaign": lambda tenant: factories.RunFactory(
        campaign=factories.CampaignFactory(tenant=tenant), tenant=tenant
    ),
    "campaignrun": lambda tenant: factories.RunFactory(
        campaign=factories.CampaignFactory(tenant=tenant), tenant=tenant
    ),
}

NO_INLINES = {"versions-TOTAL_FORMS": 0, "versions-INITIAL_FORMS": 0}


@pytest.fixture
def editor(tenant: Tenant) -> Client:
    return member(tenant, "editor")


@pytest.fixture
def flow(tenant: Tenant) -> Flow:
    """A flow that may run."""
    flow = factories.FlowFactory(tenant=tenant, name="Cross-Sell", status="active")
    FlowVersion.objects.create(flow=flow, version=1, config={})
    return flow


@pytest.fixture
def segment(tenant: Tenant) -> Segment:
    """A segment whose view exists."""
    segment = factories.SegmentFactory(tenant=tenant, name="High Value", customer_count=4521)
    execute(f"CREATE VIEW segments.{segment.view_name} AS SELECT 1 AS customer_id")
    return segment


def campaign_data(flow: Flow, segment: Segment, **changes: object) -> dict[str, object]:
    return {
        "name": "Weekly",
        "status": "draft",
        "flow": flow.pk,
        "segment": segment.pk,
        "schedule_type": "manual",
        "schedule_time": "09:00",
        "schedule_timezone": "America/New_York",
        "weekend_days": ["0", "6"],
        "misfire_policy": "run_once",
        "misfire_grace_minutes": 60,
        "overlap_policy": "skip",
        "priority": 50,
        "holdout_percent": 0,
        "allocation": "score",
        "file_columns": "customer_id, score",
        **changes,
    }


def test_campaign_is_made(editor: Client, flow: Flow, segment: Segment) -> None:
    channel = factories.ChannelFactory(tenant=flow.tenant)
    data = campaign_data(flow, segment, channels=[channel.pk], max_per_offer=500, name="")
    assert editor.post(page("campaign", "add"), data).status_code == 302
    made = Campaign.unscoped.get()
    assert made.name == "Cross-Sell · High Value"
    assert (made.tenant, made.file_columns) == (flow.tenant, ["customer_id", "score"])
    assert (made.max_per_offer, made.schedule_cron, made.version) == (500, None, 1)
    assert list(made.channels.all()) == [channel]


def test_campaign_is_changed(editor: Client, flow: Flow, segment: Segment) -> None:
    editor.post(page("campaign", "add"), campaign_data(flow, segment))
    made = Campaign.unscoped.get()
    data = campaign_data(flow, segment, schedule_type="weekly", schedule_day_of_week="1")
    assert editor.post(page("campaign", "change", made.pk), data).status_code == 302
    made.refresh_from_db()
    assert (made.schedule_type, made.schedule_day_of_week, made.version) == ("weekly", 1, 2)
    assert made.weekend_days == [0, 6]
    assert "Changed Schedule type" in text_of(editor.get(page("campaign", "history", made.pk)))


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"schedule_type": "weekly"}, "schedule_day_of_week", "A weekly schedule needs a day"),
        ({"schedule_type": "monthly"}, "schedule_day_of_month", "A monthly schedule needs a day"),
        ({"schedule_time": "9"}, "schedule_time", "Must be a time of day"),
        ({"schedule_cron": "* * *"}, "schedule_cron", "Must have five fields"),
        ({"holiday_calendar": "XX"}, "holiday_calendar", ""),
        ({"weekend_days": list("0123456")}, "weekend_days", "Must leave at least one day"),
        ({"misfire_grace_minutes": 10081}, "misfire_grace_minutes", "from 0 to 10080"),
        ({"misfire_policy": "x"}, "misfire_policy", "Select a valid choice"),
        ({"overlap_policy": "x"}, "overlap_policy", "Select a valid choice"),
        ({"priority": 101}, "priority", "Must be an integer from 0 to 100"),
        ({"holdout_percent": 101}, "holdout_percent", "Must be a number from 0 to 100"),
        ({"max_total_per_run": 0}, "max_total_per_run", "Must be an integer from 1"),
        ({"file_columns": "customer_id, shoe"}, "file_columns", "Is not a column"),
        ({"file_columns": " , "}, "file_columns", "cannot be blank"),
        ({"name": " "}, "name", "is required"),
    ],
)
def test_campaign_faults_are_on_their_fields(
    changes: dict, field: str, text: str, editor: Client, flow: Flow, segment: Segment
) -> None:
    editor.post(page("campaign", "add"), campaign_data(flow, segment))
    made = Campaign.unscoped.get()
    data = campaign_data(flow, segment, **changes)
    refused = editor.post(page("campaign", "change", made.pk), data)
    assert list(errors(refused)) == [field]
    assert text in errors(refused)[field][0]
    made.refresh_from_db()
    assert (made.version, made.schedule_type, made.file_columns[0]) == (1, "manual", "customer_id")


def test_campaign_without_published_flow_cannot_be_active(
    editor: Client, tenant: Tenant, segment: Segment
) -> None:
    draft = factories.FlowFactory(tenant=tenant)
    data = campaign_data(draft, segment, status="active")
    refused = editor.post(page("campaign", "add"), data)
    assert "has no published version" in errors(refused)["status"][0]
    assert not Campaign.unscoped.exists()


def test_campaign_cannot_use_an_inactive_channel(
    editor: Client, flow: Flow, segment: Segment
) -> None:
    paused = factories.ChannelFactory(tenant=flow.tenant, status="paused")
    data = campaign_data(flow, segment, channels=[paused.pk])
    refused = editor.post(page("campaign", "add"), data)
    assert "it must be active" in errors(refused)["channels"][0]
    assert not Campaign.unscoped.exists()


def test_segment_is_made_with_its_view(editor: Client, tenant: Tenant) -> None:
    schema = make_schema(tenant, "people", "id text PRIMARY KEY, age int", ("a", 20), ("b", 40))
    data = {
        "name": "Adults",
        "base_schema": schema.pk,
        "filters": '[{"field": "age", "operator": "gt", "value": 30}]',
        "joins": "[]",
    }
    after = editor.post(page("segment", "add"), data, follow=True)
    made = Segment.unscoped.get()
    assert "The segment has 1 customers." in said(after)
    assert execute(f"SELECT id FROM segments.{made.view_name}") == [("b",)]
    data["filters"] = "[]"
    editor.post(page("segment", "change", made.pk), data)
    made.refresh_from_db()
    assert made.customer_count == 2


def test_segment_faults_are_on_the_filters(editor: Client, tenant: Tenant) -> None:
    schema = make_schema(tenant, "people", "id text PRIMARY KEY, age int")
    data = {"name": "Adults", "base_schema": schema.pk, "joins": "[]"}
    wrong = [{"field": "shoe", "operator": "gt", "value": 30}]
    refused = editor.post(page("segment", "add"), {**data, "filters": json.dumps(wrong)})
    assert list(errors(refused)) == ["filters"]
    assert errors(refused)["filters"][0].startswith("filters[0].field")
    assert not Segment.unscoped.exists()


def test_segment_is_refreshed_and_dropped(tenant: Tenant) -> None:
    schema = make_schema(tenant, "people", "id text PRIMARY KEY", ("a",))
    admin = member(tenant, "admin")
    data = {"name": "All", "base_schema": schema.pk, "filters": "", "joins": ""}
    admin.post(page("segment", "add"), data)
    made = Segment.unscoped.get()
    execute("INSERT INTO data.people VALUES ('b')")
    assert "anew" in text_of(admin.get(page("segment", "refresh", made.pk)))
    after = admin.post(page("segment", "refresh", made.pk), follow=True)
    assert said(after)[-1] == "All has 2 customers."
    admin.post(page("segment", "delete", made.pk), {"post": "yes"})
    assert not Segment.unscoped.exists()
    assert execute("SELECT to_regclass(%s)", f"segments.{made.view_name}") == [(None,)]


def test_segment_in_use_is_kept(tenant: Tenant, segment: Segment) -> None:
    factories.RuleFactory(tenant=tenant, name="VIP", scope="segment", scope_key=segment.pk)
    admin = member(tenant, "admin")
    after = admin.post(page("segment", "delete", segment.pk), {"post": "yes"}, follow=True)
    assert 'is used by the rule "VIP"' in said(after)[0]
    action = {"action": "delete_selected", "_selected_action": [segment.pk], "post": "yes"}
    after = admin.post(page("segment", "changelist"), action, follow=True)
    assert 'is used by the rule "VIP"' in said(after)[0]
    assert Segment.unscoped.filter(pk=segment.pk).exists()
    assert "Deleted" not in text_of(admin.get(page("segment", "history", segment.pk)))


def test_flow_is_drafted_and_published(editor: Client, tenant: Tenant) -> None:
    data = {"key": "cards", "name": "Cards", "draft_config": json.dumps(flow_config(1))}
    editor.post(page("flow", "add"), data)
    flow = Flow.unscoped.get()
    assert (flow.status, flow.is_default, flow.draft_config) == ("draft", True, flow_config(1))
    url = page("flow", "publish", flow.pk)
    assert "nothing yet" in text_of(editor.get(url))
    assert not flow.versions.exists()
    after = editor.post(url, {"notes": "first"}, follow=True)
    assert "Version 1 is published." in said(after)
    assert "first" in text_of(after)
    flow.refresh_from_db()
    assert (flow.published.config, flow.published.notes) == (flow_config(1), "first")


def test_flow_faults_are_on_the_draft(editor: Client, tenant: Tenant) -> None:
    flow = factories.FlowFactory(tenant=tenant, draft_config=flow_config(1))
    wrong = flow_config(1)
    wrong["nodes"][0]["config"] = {"scope": "moon"}
    data = {"name": "Renamed", "draft_config": json.dumps(wrong), **NO_INLINES}
    refused = editor.post(page("flow", "change", flow.pk), data)
    assert list(errors(refused)) == ["draft_config"]
    assert errors(refused)["draft_config"][0].startswith("nodes[0]")
    assert "moon" in text_of(refused)
    stored = Flow.unscoped.get()
    assert (stored.name, stored.draft_config) == (flow.name, flow_config(1))


def test_flow_is_redrafted(editor: Client, tenant: Tenant) -> None:
    flow = factories.FlowFactory(tenant=tenant, draft_config=flow_config(1))
    data = {"name": "Renamed", "draft_config": json.dumps(flow_config(2)), **NO_INLINES}
    assert editor.post(page("flow", "change", flow.pk), data).status_code == 302
    stored = Flow.unscoped.get()
    assert (stored.name, stored.draft_config) == ("Renamed", flow_config(2))
    assert (stored.key, stored.version) == (flow.key, 2)


def test_flow_that_cannot_be_published_says_why(editor: Client, tenant: Tenant) -> None:
    flow = factories.FlowFactory(tenant=tenant)
    refused = editor.post(page("flow", "publish", flow.pk), {"notes": ""})
    assert "draftConfig: is empty" in text_of(refused)
    assert not flow.versions.exists()


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '"x"', '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[" * 100_000,
     '{"a": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_json_that_cannot_be_stored_is_refused(text: str, editor: Client, tenant: Tenant) -> None:
    offer = factories.OfferFactory(tenant=tenant, metadata={"kept": 1})
    data = {"name": "Gold", "status": "active", "priority": 1, "weight": 1, "business_value": 1}
    url = page("offer", "change", offer.pk)
    refused = editor.post(url, {**data, "tags": "[]", "metadata": text})
    assert list(errors(refused)) == ["metadata"]
    offer.refresh_from_db()
    assert offer.metadata == {"kept": 1}


def test_offer_faults(editor: Client, tenant: Tenant) -> None:
    outer = factories.CategoryFactory(tenant=tenant)
    inner = tenant_sub_category(tenant)
    data = {"name": "Gold", "status": "active", "priority": 101, "weight": 1, "business_value": -1}
    data |= {"category": outer.pk, "sub_category": inner.pk}
    refused = editor.post(page("offer", "add"), data)
    assert sorted(errors(refused)) == ["business_value", "priority", "sub_category"]
    assert not Offer.unscoped.exists()


def tenant_sub_category(tenant: Tenant):
    category = factories.CategoryFactory(tenant=tenant)
    return category.sub_categories.create(tenant=tenant, name="inner")


def rule_data(**changes: object) -> dict[str, object]:
    return {
        "name": "Adults",
        "status": "active",
        "rule_type": "attribute_condition",
        "config": '{"attribute": "age", "operator": "gt", "value": 17}',
        "on_missing": "fail",
        "applies_to": "",
        "stage": "eligibility",
        "priority": 50,
        **changes,
    }


def test_rule_applies_to_one_choice(editor: Client, tenant: Tenant) -> None:
    offer = factories.OfferFactory(tenant=tenant)
    editor.post(page("qualificationrule", "add"), rule_data(applies_to=offer.public_id))
    rule = QualificationRule.unscoped.get()
    assert (rule.scope, rule.scope_key) == ("offer", offer.pk)
    shown = editor.get(page("qualificationrule", "change", rule.pk))
    assert shown.context["adminform"].form.initial["applies_to"] == offer.public_id
    editor.post(page("qualificationrule", "change", rule.pk), rule_data())
    rule.refresh_from_db()
    assert (rule.scope, rule.scope_key) == ("global", None)


def test_rule_whose_target_is_gone_does_not_become_global(editor: Client, tenant: Tenant) -> None:
    rule = factories.RuleFactory(tenant=tenant, scope="offer", scope_key=12345)
    url = page("qualificationrule", "change", rule.pk)
    kept = editor.get(url).context["adminform"].form.initial["applies_to"]
    editor.post(url, rule_data(applies_to=kept))
    rule.refresh_from_db()
    assert (rule.name, rule.scope, rule.scope_key) == ("Adults", "offer", 12345)
    assert "offer: gone" in text_of(editor.get(page("qualificationrule", "changelist")))


def test_viewer_reads_every_field(tenant: Tenant, flow: Flow, segment: Segment) -> None:
    campaign = factories.CampaignFactory(
        tenant=tenant, flow=flow, segment=segment, schedule_day_of_week=1, max_per_offer=77
    )
    shown = text_of(member(tenant, "viewer").get(page("campaign", "change", campaign.pk)))
    for text in ("Cross-Sell", "High Value", "77", "4,521", campaign.public_id):
        assert text in shown
    assert "run_now" not in shown


@pytest.mark.parametrize("model", LISTS)
def test_lists_cost_the_same_for_any_number_of_rows(
    model: str, tenant: Tenant, django_assert_max_num_queries
) -> None:
    client, url = member(tenant, "editor"), page(model, "changelist")
    LISTS[model](tenant=tenant)
    client.get(url)
    with django_assert_max_num_queries(100) as once:
        assert client.get(url).context["cl"].result_count == 1
    for _ in range(19):
        LISTS[model](tenant=tenant)
    with django_assert_max_num_queries(len(once)):
        assert client.get(url).context["cl"].result_count == 20
    assert len(once) <= 12


def test_forms_cost_the_same_for_any_number_of_choices(
    tenant: Tenant, django_assert_max_num_queries
) -> None:
    client, url = member(tenant, "editor"), page("offer", "add")
    tenant_sub_category(tenant)
    with django_assert_max_num_queries(100) as once:
        client.get(url)
    for _ in range(19):
        tenant_sub_category(tenant)
    with django_assert_max_num_queries(len(once)):
        client.get(url)


def test_superuser_pages(tenant: Tenant) -> None:
    client = superuser()
    factories.TenantFactory()
    for model in LISTS:
        LISTS[model](tenant=tenant)
        assert client.get(page(model, "changelist")).status_code == 200
        if model not in ("schema", "campaignrun"):
            assert 'name="tenant"' in text_of(client.get(page(model, "add")))
    for model in ("placement", "subcategory", "contactpolicy"):
        assert client.get(page(model, "changelist")).status_code == 200
        assert client.get(page(model, "add")).status_code == 200


def test_internals_are_not_registered(db: None) -> None:
    models = {
        model["object_name"]
        for app in superuser().get(reverse("admin:index")).context["app_list"]
        for model in app["models"]
    }
    assert models.isdisjoint({"Recommendation", "Contact", "Interaction", "RunChunk"})
    assert {"Campaign", "CampaignRun", "ApiKey", "Tenant", "User"} <= models


def test_lost_race_is_told(editor: Client, tenant: Tenant) -> None:
    """The form has found a name to be free, and then another request takes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION take_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE unique_violation; END $$;"
            " CREATE TRIGGER race BEFORE INSERT ON campaigns_category"
            " FOR EACH ROW EXECUTE FUNCTION take_name()"
        )
    data = {"name": "Cards", "status": "active", "ordinal": 0, "color": "red"}
    refused = editor.post(page("category", "add"), data)
    assert "Another request changed the same data first" in errors(refused)["__all__"][0]


def test_placeholders_of_file_columns_are_shown(editor: Client) -> None:
    text = editor.get("/admin/campaigns/campaign/add/").content.decode()
    assert "personalization.&lt;variable&gt;, content.&lt;field&gt;." in text
