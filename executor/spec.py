"""The frozen specification of a run: everything it needs besides the frozen customers.

Stored on the run when it starts, so that history stays true after edits and every retry, on any
machine, decides the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from campaigns.models import (
    AlgorithmModel,
    Campaign,
    CampaignRun,
    Channel,
    Creative,
    Offer,
    QualificationRule,
    Segment,
    Status,
)
from campaigns.models.channel import BATCH_DELIVERY_MODES
from executor import s3
from executor.allocation import Caps
from executor.artifacts import facts_of
from executor.errors import Rejected
from executor.flow.catalog import (
    Catalog,
    ChannelFacts,
    CreativeFacts,
    OfferFacts,
    RuleFacts,
    read_places,
)
from executor.flow.custom_fields import with_defaults
from executor.flow.operators import quoted
from executor.flow.types import Kind, read_columns
from executor.policy_facts import (
    read_policies,
    read_segments,
    read_usage,
    terms_of,
    with_budget,
)
from executor.referred import with_referred
from executor.sampling import Sample, take_sample
from kaireon.access.models import Tenant

VIEW_SCHEMA = "segments"
#: Starts the names of the file's columns that the winners' creatives are rendered for.
PERSONAL = ("personalization.", "content.")


@dataclass(frozen=True, slots=True)
class FileSpec:
    format: str
    columns: tuple[str, ...]
    #: s3://bucket/folder that gets a copy of the file, or nothing.
    s3_path: str = ""
    #: Whether it has all personalization columns, besides those that are listed.
    include_personalization: bool = False

    @property
    def is_personal(self) -> bool:
        """Whether the creatives of the winners are to be rendered."""
        return self.include_personalization or any(
            name.startswith(PERSONAL) for name in self.columns
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "FileSpec":
        return cls(**{**data, "columns": tuple(data["columns"])})


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What is run, for whom, how much of it, and into which file. JSON-serialisable."""

    run_id: str
    campaign_id: str
    campaign_name: str
    #: Tenant salt of every customer hash, and what sets this campaign's hashes apart.
    salt: str
    seed: int
    #: The instant the run takes as "now", ISO 8601 in UTC.
    now: str
    view: str
    key_column: str
    kinds: dict[str, Kind]
    flow_key: str
    flow_version: int
    flow: dict[str, Any]
    catalog: Catalog
    caps: Caps
    allocation: str
    file: FileSpec
    chunk_rows: int
    #: The tenant, and the time zone of its days.
    tenant_key: int = 0
    zone: str = "UTC"
    #: Percent of the customers held out, of the tenant and of the campaign.
    holdout: tuple[float, float] = (0.0, 0.0)
    #: Of a dry run over a part of the segment; `caps` are in proportion.
    sample: Sample | None = None

    def to_json(self) -> dict[str, Any]:
        data = {name: getattr(self, name) for name in self.__slots__}
        data["kinds"] = {name: str(kind) for name, kind in self.kinds.items()}
        data["catalog"] = self.catalog.to_json()
        data["caps"] = asdict(self.caps)
        data["holdout"] = list(self.holdout)
        data["sample"] = self.sample and self.sample.to_json()
        data["file"] = asdict(self.file) | {"columns": list(self.file.columns)}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RunSpec":
        return cls(
            **{
                **data,
                "kinds": {name: Kind(kind) for name, kind in data["kinds"].items()},
                "catalog": Catalog.from_json(data["catalog"]),
                "caps": Caps(**{**data["caps"], "of_offers": ()}),
                "file": FileSpec.from_json(data["file"]),
                "holdout": tuple(data.get("holdout", (0.0, 0.0))),
                "sample": Sample.from_json(data.get("sample")),
            }
        )


def make_spec(run: CampaignRun, now: datetime) -> RunSpec:
    """Read everything the run needs. Raises Rejected for what cannot be run, naming it."""
    campaign = run.campaign
    flow, segment = run.flow or campaign.flow, run.segment or campaign.segment
    version = flow.published
    if version is None:
        raise Rejected(("decisionFlowId", f'the flow "{flow}" has no published version'))
    caps = Caps(
        total=campaign.max_total_per_run,
        per_offer=campaign.max_per_offer,
        per_channel=campaign.max_per_channel,
    )
    kinds = segment_kinds(segment)
    sample = take_sample(run.sample, (VIEW_SCHEMA, segment.view_name))
    return RunSpec(
        run_id=run.public_id,
        campaign_id=campaign.public_id,
        campaign_name=campaign.name,
        salt=run.tenant.salt,
        seed=campaign.pk,
        now=now.isoformat(),
        view=segment.view_name,
        key_column=segment.base_schema.key_column,
        kinds=kinds,
        flow_key=flow.key,
        flow_version=version.version,
        flow=version.config,
        catalog=with_referred(
            load_catalog(run.tenant, channel_keys(campaign), now),
            run.tenant,
            version.config,
            segment.base_schema,
            now,
        ),
        caps=caps,
        allocation=campaign.allocation,
        file=file_spec(campaign, run.tenant),
        chunk_rows=settings.KAIREON_CHUNK_ROWS,
        tenant_key=run.tenant_id,
        zone=run.tenant.timezone,
        holdout=(run.tenant.holdout_percent, campaign.holdout_percent),
        sample=sample,
    )


def file_spec(campaign: Campaign, tenant: Tenant) -> FileSpec:
    """Raises Rejected if the tenant may no longer write to where the campaign wants its file."""
    fault = s3.find_fault(campaign.s3_path, tenant.s3_locations) if campaign.s3_path else None
    if fault:
        raise Rejected(("fileConfig.s3Path", fault))
    return FileSpec(
        campaign.file_format,
        tuple(campaign.file_columns),
        campaign.s3_path,
        campaign.include_personalization,
    )


def segment_kinds(segment: Segment) -> dict[str, Kind]:
    """The columns a flow may use for the segment. Raises Rejected if the view is gone."""
    with connection.cursor() as cursor:
        columns = read_columns(cursor, VIEW_SCHEMA, segment.view_name)
    return {name: column.kind for name, column in columns.items() if column.kind is not None}


def channel_keys(campaign: Campaign) -> list[int]:
    return list(campaign.channels.order_by("pk").values_list("pk", flat=True))


def load_catalog(
    tenant: Tenant, channel_keys: Sequence[int] = (), now: datetime | None = None
) -> Catalog:
    """Read what the tenant's flows decide by, with the batch channels named (or all of them).

    `now` is the present instant unless given. Raises Rejected for an offer whose schedule cannot be
    read.
    """
    at = now or timezone.now()
    offers = _offers(tenant)
    policies = read_policies(tenant)
    rules = _rules(tenant)
    channels = Channel.objects.of(tenant).filter(
        status=Status.ACTIVE, delivery_mode__in=BATCH_DELIVERY_MODES
    )
    if channel_keys:
        channels = channels.filter(pk__in=channel_keys)
    return Catalog(
        offers=tuple(_offer(row, tenant.timezone, at) for row in offers),
        channels=tuple(
            ChannelFacts(row.pk, row.name, row.channel_type, row.delivery_mode)
            for row in channels.order_by("pk")
        ),
        creatives=tuple(
            _creative(row)
            for row in Creative.objects.of(tenant).filter(status=Status.ACTIVE).order_by("pk")
        ),
        rules=rules,
        policies=policies,
        segments=read_segments(tenant, (*rules, *policies)),
        models=tuple(
            facts_of(row)
            for row in AlgorithmModel.objects.of(tenant).filter(status=Status.ACTIVE).order_by("pk")
        ),
        usage=read_usage(tenant, with_budget(offers), at),
    )


def _rules(tenant: Tenant) -> tuple[RuleFacts, ...]:
    rows = QualificationRule.objects.of(tenant).filter(status=Status.ACTIVE)
    return tuple(_rule(row) for row in rows.order_by("-priority", "pk"))


def _offers(tenant: Tenant) -> Sequence[Offer]:
    offers = Offer.objects.of(tenant).select_related("category", "sub_category")
    return list(offers.order_by("pk"))


def _offer(row: Offer, zone: str, now: datetime) -> OfferFacts:
    try:
        terms = terms_of(row, zone, now)
    except (ValueError, LookupError) as error:
        raise Rejected(f"the schedule of the offer {quoted(row.name)}: {error}") from error
    definitions = [
        *(row.category.custom_fields if row.category else ()),
        *(row.sub_category.custom_fields if row.sub_category else ()),
    ]
    return OfferFacts(
        key=row.pk,
        name=row.name,
        status=row.status,
        category_key=row.category_id,
        category_name=row.category.name if row.category else "",
        sub_category_key=row.sub_category_id,
        sub_category_name=row.sub_category.name if row.sub_category else "",
        priority=row.priority,
        weight=row.weight,
        business_value=row.business_value,
        margin=row.margin,
        revenue_value=row.revenue_value,
        product_type=row.product_type,
        tags=tuple(row.tags),
        metadata=row.metadata,
        **terms,
        custom_fields=with_defaults(definitions, row.custom_fields),
        computed=tuple(
            (field["key"], field["formula"], field["outputType"])
            for field in definitions
            if field["type"] == "computed"
        ),
    )


def _creative(row: Creative) -> CreativeFacts:
    return CreativeFacts(
        key=row.pk,
        name=row.name,
        offer_key=row.offer_id,
        channel_key=row.channel_id,
        placement_key=row.placement_id,
        weight=row.weight,
        template_type=row.template_type,
        content=row.content,
        personalization=tuple(row.personalization),
        ab_test_variant=row.ab_test_variant,
    )


def _rule(row: QualificationRule) -> RuleFacts:
    return RuleFacts(
        key=row.pk,
        name=row.name,
        rule_type=row.rule_type,
        scope=row.scope,
        scope_key=row.scope_key,
        config=row.config,
        priority=row.priority,
        stage=row.stage,
        on_missing=row.on_missing,
        scopes=read_places(row.scopes),
    )
