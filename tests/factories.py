"""Rows for tests, in sequence and without randomness."""

from datetime import UTC, datetime

import factory
from django.contrib.auth import get_user_model
from django.db import connection

from campaigns import models
from executor.storage import open_storage
from kaireon.access.models import ApiKey, Membership, Tenant


class Rows(factory.django.DjangoModelFactory):
    class Meta:
        abstract = True

    @classmethod
    def _get_manager(cls, model_class):
        # `objects` needs a tenant; what the default manager makes has it as a field.
        return model_class._default_manager


class TenantFactory(Rows):
    class Meta:
        model = Tenant

    slug = factory.Sequence(lambda n: f"tenant-{n}")
    name = factory.Sequence(lambda n: f"Tenant {n}")
    salt = factory.Sequence(lambda n: f"{n:032x}")


class UserFactory(Rows):
    class Meta:
        model = get_user_model()

    username = factory.Sequence(lambda n: f"user{n}")
    is_staff = True


class MembershipFactory(Rows):
    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    tenant = factory.SubFactory(TenantFactory)


class SchemaFactory(Rows):
    class Meta:
        model = models.Schema

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"customers {n}")
    origin = "imported"
    relation_schema = "data"
    relation_name = factory.Sequence(lambda n: f"ds_{n}")
    key_column = "customer_id"


class SchemaJoinFactory(Rows):
    """Of schemas whose tables nobody has made."""

    class Meta:
        model = models.SchemaJoin

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"join_{n}")
    primary_schema = factory.SubFactory(SchemaFactory, tenant=factory.SelfAttribute("..tenant"))
    primary_key = "customer_id"
    foreign_schema = factory.SubFactory(SchemaFactory, tenant=factory.SelfAttribute("..tenant"))
    foreign_key = "customer_id"


class SegmentFactory(Rows):
    class Meta:
        model = models.Segment

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"segment {n}")
    base_schema = factory.SubFactory(SchemaFactory, tenant=factory.SelfAttribute("..tenant"))
    view_name = factory.Sequence(lambda n: f"seg_{n:012x}")


class FlowFactory(Rows):
    class Meta:
        model = models.Flow

    tenant = factory.SubFactory(TenantFactory)
    key = factory.Sequence(lambda n: f"flow-{n}")
    name = factory.Sequence(lambda n: f"Flow {n}")


class FlowVersionFactory(Rows):
    class Meta:
        model = models.FlowVersion

    flow = factory.SubFactory(FlowFactory, status="active")
    version = 1
    config = factory.LazyFunction(dict)


class RankingProfileFactory(Rows):
    class Meta:
        model = models.RankingProfile

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Profile {n}")
    key = factory.Sequence(lambda n: f"profile-{n}")
    weights = factory.LazyFunction(lambda: {"propensity": 0.5})


class AlgorithmModelFactory(Rows):
    class Meta:
        model = models.AlgorithmModel

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Model {n}")
    key = factory.Sequence(lambda n: f"model-{n}")
    model_type = "scorecard"


class CategoryFactory(Rows):
    class Meta:
        model = models.Category

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Category {n}")


class SubCategoryFactory(Rows):
    class Meta:
        model = models.SubCategory

    tenant = factory.SubFactory(TenantFactory)
    category = factory.SubFactory(CategoryFactory, tenant=factory.SelfAttribute("..tenant"))
    name = factory.Sequence(lambda n: f"Sub-category {n}")


class OfferFactory(Rows):
    class Meta:
        model = models.Offer

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Offer {n}")
    status = "active"


class ChannelFactory(Rows):
    class Meta:
        model = models.Channel

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Channel {n}")
    delivery_mode = "file"


class PlacementFactory(Rows):
    class Meta:
        model = models.Placement

    tenant = factory.SubFactory(TenantFactory)
    channel = factory.SubFactory(ChannelFactory, tenant=factory.SelfAttribute("..tenant"))
    key = factory.Sequence(lambda n: f"placement-{n}")
    name = factory.Sequence(lambda n: f"Placement {n}")


class CreativeFactory(Rows):
    class Meta:
        model = models.Creative

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Creative {n}")
    offer = factory.SubFactory(OfferFactory, tenant=factory.SelfAttribute("..tenant"))
    channel = factory.SubFactory(ChannelFactory, tenant=factory.SelfAttribute("..tenant"))
    status = "active"


class RuleFactory(Rows):
    class Meta:
        model = models.QualificationRule

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Rule {n}")
    rule_type = "attribute_condition"


class PolicyFactory(Rows):
    class Meta:
        model = models.ContactPolicy

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Policy {n}")
    rule_type = "cooldown"
    scope = "global"
    config = factory.Dict({"cooldownHours": 24})


class VolumeConstraintFactory(Rows):
    """Of an offer that nobody needs to make."""

    class Meta:
        model = models.VolumeConstraint

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Volume constraint {n}")
    scope = "offer"
    scope_key = factory.Sequence(lambda n: n + 1)
    max_volume = 1000
    period = "daily"
    reset_at = datetime(2020, 1, 1, tzinfo=UTC)


class CampaignFactory(Rows):
    class Meta:
        model = models.Campaign

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Campaign {n}")
    flow = factory.SubFactory(FlowFactory, tenant=factory.SelfAttribute("..tenant"))
    segment = factory.SubFactory(SegmentFactory, tenant=factory.SelfAttribute("..tenant"))


class RunFactory(Rows):
    class Meta:
        model = models.CampaignRun

    campaign = factory.SubFactory(CampaignFactory)
    tenant = factory.SelfAttribute("campaign.tenant")
    run_number = factory.Sequence(lambda n: n + 1)


def api_key(tenant: Tenant, role: str = "editor") -> str:
    """Issue a key and return its text."""
    return ApiKey.issue(tenant, name="test", role=role)[1]


def published_flow(tenant: Tenant, **fields: object) -> models.Flow:
    """A flow that may run."""
    flow = FlowFactory(tenant=tenant, status="active", **fields)
    models.FlowVersion.objects.create(flow=flow, version=1, config={})
    return flow


def segment_with_view(tenant: Tenant, **fields: object) -> models.Segment:
    """A segment whose table and view exist; they have no customers."""
    segment = SegmentFactory(tenant=tenant, **fields)
    table, view = segment.base_schema.relation_name, segment.view_name
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE data.{table} (customer_id text)")
        cursor.execute(f"CREATE VIEW segments.{view} AS SELECT * FROM data.{table}")
    return segment


def runnable_campaign(tenant: Tenant, **fields: object) -> models.Campaign:
    flow, segment = published_flow(tenant), segment_with_view(tenant)
    return CampaignFactory(tenant=tenant, flow=flow, segment=segment, **fields)


def recommend(run: models.CampaignRun, rows: list[tuple[str, int, int, int, float]]) -> None:
    """Results of a run: (customer, rank, offer key, channel key, score)."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE campaigns_recommendation_r{run.pk}"
            f" PARTITION OF campaigns_recommendation FOR VALUES IN ({run.pk})"
        )
        cursor.executemany(
            "INSERT INTO campaigns_recommendation"
            " (run_id, customer_key, rank, offer_id, channel_id, score, chunk)"
            f" VALUES ({run.pk}, %s, %s, %s, %s, %s, 0)",
            rows,
        )


def add_file(run: models.CampaignRun, data: bytes, name: str = "run-1.csv") -> models.RunFile:
    """A published file of a run, with its bytes stored."""
    key = f"runs/{run.pk}/1/{name}"
    written = open_storage().put(key, data)
    return models.RunFile.unscoped.create(
        tenant=run.tenant,
        run=run,
        name=name,
        format=name.rpartition(".")[2],
        storage_key=key,
        size_bytes=written.size_bytes,
        row_count=max(data.count(b"\n") - 1, 0),
        sha256=written.sha256,
    )
