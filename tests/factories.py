"""Rows for tests, in sequence and without randomness."""

import factory
from django.contrib.auth import get_user_model

from campaigns import models
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


class CategoryFactory(Rows):
    class Meta:
        model = models.Category

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Category {n}")


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
