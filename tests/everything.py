"""A tenant that has something of everything the API knows, for tests of all operations."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.contrib.auth import get_user_model

from campaigns import models
from executor import runner
from kaireon import ids
from kaireon.access.models import ApiKey, Membership, Tenant
from tests import world as worlds
from tests.world import World

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Everything:
    world: World
    #: Public ids by the first part of the path they belong to.
    rows: dict[str, list[str]]

    @property
    def tenant(self) -> Tenant:
        return self.world.tenant


def build(table: str = "ds_everything") -> Everything:
    """Customers, a finished run with its file, and a row of every other resource."""
    world = worlds.build(50, table=table)
    run = world.run()
    assert runner.execute(run.pk)
    tick = models.Tick.unscoped.create(
        tenant=world.tenant,
        campaign=world.campaign,
        run=run,
        scheduled_for=run.created_at,
        outcome="run",
    )
    letter = models.DeadLetter.unscoped.create(
        tenant=world.tenant,
        run=failed_run(world),
        topic="campaign_runs",
        attempts=1,
        error="internal error",
    )
    rows = {
        "admin": [letter.public_id],
        "campaign-runs": [run.public_id],
        "files": [run.files.get().public_id],
        "runs": [world.campaign.public_id],
        "ticks": [tick.public_id],
        "segments": [world.campaign.segment.public_id],
        "views": [world.campaign.segment.view_name],
        "schemas": [world.campaign.segment.base_schema.public_id],
        "decision-flows": [world.campaign.flow.public_id],
        "offers": [offer.public_id for offer in world.offers],
        **catalog(world),
        **people(world.tenant),
    }
    return Everything(world, rows)


def failed_run(world: World) -> models.CampaignRun:
    run = world.run()
    run.status, run.error = "failed", "internal error"
    run.save()
    return run


def catalog(world: World) -> dict[str, list[str]]:
    tenant, offer = world.tenant, world.offers[0]
    channel = models.Channel.objects.of(tenant).order_by("pk")[0]
    category = models.Category.unscoped.create(tenant=tenant, name="Everyday banking")
    scope = {"tenant": tenant, "scope": "offer", "scope_key": offer.pk}
    schema = world.campaign.segment.base_schema
    made = {
        "channels": channel,
        "categories": category,
        "sub-categories": models.SubCategory.unscoped.create(
            tenant=tenant, category=category, name="Accounts"
        ),
        "placements": models.Placement.unscoped.create(
            tenant=tenant, channel=channel, key="top", name="Top"
        ),
        "creatives": models.Creative.unscoped.create(
            tenant=tenant, name="A creative more", offer=offer, channel=channel
        ),
        "qualification-rules": models.QualificationRule.unscoped.create(
            **scope,
            name="Adults",
            rule_type="attribute_condition",
            config={"attribute": "age", "operator": "gte", "value": 18},
        ),
        "contact-policies": models.ContactPolicy.unscoped.create(
            **scope, name="Rest a day", rule_type="cooldown", config={"cooldownHours": 24}
        ),
        "volume-constraints": models.VolumeConstraint.unscoped.create(
            **scope, name="A thousand a day", max_volume=1000, period="daily", reset_at=LATER
        ),
        "schema-joins": models.SchemaJoin.unscoped.create(
            tenant=tenant,
            name="again",
            primary_schema=schema,
            primary_key=schema.key_column,
            foreign_schema=schema,
            foreign_key=schema.key_column,
        ),
        "ranking-profiles": models.RankingProfile.unscoped.create(
            tenant=tenant, name="Balanced", key="balanced", weights={"propensity": 1}
        ),
        "algorithm-models": models.AlgorithmModel.unscoped.create(
            tenant=tenant, key="card", name="Scorecard", model_type="scorecard"
        ),
    }
    return {path: [row.public_id] for path, row in made.items()} | {
        "frequency-caps": [made["volume-constraints"].public_id]
    }


def people(tenant: Tenant) -> dict[str, list[str]]:
    user = get_user_model().objects.create(username=f"member of {tenant.slug}")
    member = Membership.objects.create(user=user, tenant=tenant, role="viewer")
    key, _ = ApiKey.issue(tenant, name="of somebody", role="viewer")
    public_id = ids.encode("Membership", member.pk)
    return {"api-keys": [key.public_id], "members": [public_id], "users": [public_id]}
