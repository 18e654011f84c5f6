"""The summary of a run as it is read: what it came to, with the names of offers and channels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.models import Channel, Offer
from kaireon import ids
from kaireon.access.models import Tenant


class OfferShare(StrictSerializer):
    offerId = fields.PublicId(Offer)
    offerName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    count = serializers.IntegerField()
    percent = serializers.FloatField()


class ChannelShare(StrictSerializer):
    channelId = fields.PublicId(Channel)
    channelName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    count = serializers.IntegerField()
    percent = serializers.FloatField()


class FunnelStep(StrictSerializer):
    """How many customers a step of the flow left."""

    stage = serializers.CharField()
    node = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # only describes an answer
    removedCustomers = serializers.IntegerField()
    removedCandidates = serializers.IntegerField(allow_null=True)
    remainingCustomers = serializers.IntegerField()


class CapUse(StrictSerializer):
    """A volume constraint, how far it was used, and whether it turned anybody away."""

    cap = serializers.ChoiceField(["maxTotalPerRun", "maxPerOffer", "offerBudget", "maxPerChannel"])
    offerId = fields.PublicId(Offer, allow_null=True)
    offerName = serializers.CharField(required=False, allow_null=True)
    channelId = fields.PublicId(Channel, allow_null=True)
    channelName = serializers.CharField(required=False, allow_null=True)
    limit = serializers.IntegerField()
    used = serializers.IntegerField()
    bound = serializers.BooleanField()


class ReasonCount(StrictSerializer):
    reason = serializers.CharField()
    count = serializers.IntegerField()


class DeliveryErrors(StrictSerializer):
    """Recommendations whose creative could not be rendered: they count nowhere else."""

    count = serializers.IntegerField()
    byReason = ReasonCount(many=True)


class ComputedField(StrictSerializer):
    """For how many recommendations a computed field came to nothing."""

    field = serializers.CharField()
    missing = serializers.IntegerField()


class Estimated(StrictSerializer):
    """A number of the whole segment, and its interval."""

    estimate = serializers.IntegerField()
    low = serializers.IntegerField()
    high = serializers.IntegerField()


class EstimatedOffer(Estimated):
    offerId = fields.PublicId(Offer)
    offerName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")


class EstimatedChannel(Estimated):
    channelId = fields.PublicId(Channel)
    channelName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")


class Estimate(StrictSerializer):
    """What a sample says of the whole segment, within the volume constraints of a whole run."""

    population = serializers.IntegerField(help_text="Customers of the segment.")
    sampled = serializers.IntegerField()
    confidence = serializers.FloatField(help_text="That a number is in its interval: 0.95.")
    eligible = Estimated()
    heldOut = Estimated()
    customersWithRecommendations = Estimated()
    totalRecommendations = Estimated()
    offers = EstimatedOffer(many=True)
    channels = EstimatedChannel(many=True)


class RunSummary(StrictSerializer):
    """What a run came to. Only describes the answer, which is made when the run completes."""

    audience = serializers.IntegerField()
    eligible = serializers.IntegerField()
    heldOut = serializers.IntegerField(
        required=False, help_text="Customers who would have got something; not in older runs."
    )
    customersWithRecommendations = serializers.IntegerField()
    totalRecommendations = serializers.IntegerField()
    averagePerCustomer = serializers.FloatField()
    offers = OfferShare(many=True)
    channels = ChannelShare(many=True)
    funnel = FunnelStep(many=True)
    caps = CapUse(many=True)
    deliveryErrors = DeliveryErrors(required=False, help_text="If the run personalizes.")
    computedFields = ComputedField(many=True, required=False, help_text="If it personalizes.")
    estimate = Estimate(required=False, help_text="Of a dry run over a sample.")
    stages = serializers.DictField(child=serializers.FloatField(), help_text="Seconds by stage.")
    durationSeconds = serializers.FloatField()


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
    if "estimate" in named:
        named["estimate"] = named_summary(named["estimate"], names)
    return named


def with_names(part: Mapping[str, Any], names: Names) -> dict[str, Any]:
    named = dict(part)
    if part.get("offerId") is not None:
        named["offerName"] = names.offers.get(part["offerId"])
    if part.get("channelId") is not None:
        named["channelName"] = names.channels.get(part["channelId"])
    return named
