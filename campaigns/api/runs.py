"""Runs of a campaign as they are read: progress, summary, files, and what each customer got."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import CamelModelSerializer
from campaigns.models import (
    Campaign,
    CampaignRun,
    Channel,
    Offer,
    Recommendation,
    RunEvent,
    RunFile,
)
from campaigns.services.progress import COMPLETED, measure_progress
from kaireon import ids
from kaireon.access.models import Tenant

SHOWN_RECOMMENDATIONS = 100
SHOWN_EVENTS = 200


class Triggered(CamelModelSerializer[CampaignRun]):
    """The answer to a trigger."""

    id = fields.OwnId()
    campaignId = fields.PublicId(Campaign, source="campaign")

    class Meta:
        model = CampaignRun
        fields = ["id", "campaignId", "run_number", "triggered_by", "status", "created_at"]


class File(CamelModelSerializer[RunFile]):
    id = fields.OwnId()
    downloadUrl = serializers.SerializerMethodField()

    class Meta:
        model = RunFile
        fields = [
            "id",
            "name",
            "format",
            "size_bytes",
            "row_count",
            "sha256",
            "created_at",
            "downloadUrl",
        ]

    def get_downloadUrl(self, file: RunFile) -> str:
        run = ids.encode("CampaignRun", file.run_id)
        return reverse("run-file-download", args=[run, file.public_id])


class Run(Triggered):
    """One run; needs `names` (of `NamesOf`) in the context, and prefetched files."""

    waitsFor = fields.TextOrNull(source="waits_for")
    error = fields.TextOrNull()
    progress = serializers.SerializerMethodField()
    summary = serializers.SerializerMethodField()
    files = File(many=True)

    class Meta(Triggered.Meta):
        fields = [
            *Triggered.Meta.fields,
            "phase",
            "waitsFor",
            "error",
            "scheduled_for",
            "started_at",
            "completed_at",
            "progress",
            "summary",
            "files",
        ]

    def get_progress(self, run: CampaignRun) -> dict[str, float | None]:
        progress = measure_progress(run, timezone.now())
        return {
            "percent": progress.percent,
            "customersPerSecond": progress.customers_per_second,
            "etaSeconds": progress.eta_seconds,
        }

    def get_summary(self, run: CampaignRun) -> dict[str, Any] | None:
        names: Names = self.context["names"]
        return None if run.summary is None else named_summary(run.summary, names)


class Event(CamelModelSerializer[RunEvent]):
    class Meta:
        model = RunEvent
        fields = ["at", "kind", "message", "data"]


@dataclass(frozen=True, slots=True)
class Names:
    """Names of offers and channels by public id; what has been deleted has none."""

    offers: Mapping[str, str]
    channels: Mapping[str, str]


def names_in(tenant: Tenant, parts: Iterable[Mapping[str, Any]]) -> Names:
    """Look up the names of all offers and channels that `parts` mention, with two queries."""
    parts = list(parts)
    return Names(
        names_of(Offer.objects.of(tenant), {part.get("offerId") for part in parts}),
        names_of(Channel.objects.of(tenant), {part.get("channelId") for part in parts}),
    )


def names_of(rows: QuerySet[Any], public_ids: set[Any]) -> dict[str, str]:
    kind = rows.model.__name__
    keys = {ids.decode(kind, public_id) for public_id in public_ids} - {None}
    found = rows.filter(pk__in=keys).values_list("pk", "name")
    return {ids.encode(kind, key): name for key, name in found}


def summary_parts(summary: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    summary = summary or {}
    return [part for key in ("offers", "channels", "caps") for part in summary.get(key, [])]


def named_summary(summary: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return the summary with offerName and channelName beside every id."""
    named = dict(summary)
    for key in ("offers", "channels", "caps"):
        if key in named:
            named[key] = [with_names(part, names) for part in named[key]]
    return named


def with_names(part: Mapping[str, Any], names: Names) -> dict[str, Any]:
    named = dict(part)
    if part.get("offerId") is not None:
        named["offerName"] = names.offers.get(part["offerId"])
    if part.get("channelId") is not None:
        named["channelName"] = names.channels.get(part["channelId"])
    return named


def present_runs(tenant: Tenant, runs: Iterable[CampaignRun]) -> list[dict[str, Any]]:
    """Show the runs with names resolved, in two queries whatever their number."""
    runs = list(runs)
    names = names_in(tenant, (part for run in runs for part in summary_parts(run.summary)))
    return [dict(row) for row in Run(runs, many=True, context={"names": names}).data]


def present_run(tenant: Tenant, run: CampaignRun) -> dict[str, Any]:
    """Show one run with its latest events, oldest first."""
    (data,) = present_runs(tenant, [run])
    latest = RunEvent.objects.filter(run=run).order_by("-id")[:SHOWN_EVENTS]
    return {**data, "events": Event(list(latest)[::-1], many=True).data}


def first_recommendations(tenant: Tenant, campaign: Campaign) -> list[dict[str, Any]]:
    """What the first customers by key got from the latest completed run."""
    finished = CampaignRun.objects.of(tenant).filter(campaign=campaign, status__in=COMPLETED)
    run_key = finished.order_by("-run_number").values_list("pk", flat=True).first()
    if run_key is None:
        return []
    rows = Recommendation.objects.filter(run_id=run_key).order_by("customer_key", "rank")
    shown = [recommendation(row) for row in rows[:SHOWN_RECOMMENDATIONS]]
    names = names_in(tenant, shown)
    for row in shown:
        row["offerName"] = names.offers.get(row["offerId"])
        row["channel"] = names.channels.get(row["channelId"])
    return shown


def recommendation(row: Recommendation) -> dict[str, Any]:
    return {
        "customerId": row.customer_key,
        "rank": row.rank,
        "offerId": ids.encode("Offer", row.offer_id),
        "offerName": None,
        "channelId": ids.encode("Channel", row.channel_id),
        "channel": None,
        "creativeId": ids.encode("Creative", row.creative_id) if row.creative_id else None,
        "score": row.score,
    }
