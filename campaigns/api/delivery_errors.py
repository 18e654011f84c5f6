"""Whose recommendations of a run could not be delivered, and why, in the order of customers."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.filters import FilterSet, PublicIdFilter, TextFilter
from campaigns.api.runs_of_campaign import RUN_ID, RunOfCampaignViewSet
from campaigns.api.summaries import names_in
from campaigns.models import Channel, Creative, DeliveryError, Offer
from campaigns.services.progress import COMPLETED
from kaireon import ids
from kaireon.access.models import Tenant


@extend_schema_serializer(component_name="DeliveryError")
class DeliveryErrorSerializer(StrictSerializer):
    """A recommendation that was decided but not delivered. Only describes the answer."""

    customerId = serializers.CharField()
    offerId = fields.PublicId(Offer)
    offerName = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    channelId = fields.PublicId(Channel)
    channel = serializers.CharField(allow_null=True, help_text="Null once it is deleted.")
    creativeId = fields.PublicId(Creative, allow_null=True)
    reason = serializers.CharField()


class DeliveryErrorFilter(FilterSet):
    offerId = PublicIdFilter("offer_id", Offer)
    channelId = PublicIdFilter("channel_id", Channel)
    creativeId = PublicIdFilter("creative_id", Creative)
    customerId = TextFilter("customer_key")


class DeliveryErrorViewSet(RunOfCampaignViewSet):
    """Of each chunk of a run the first 1,000 are kept; the run's summary counts all."""

    filterset_class = DeliveryErrorFilter
    default_ordering = ("customer_key",)

    def known_parameters(self) -> list[str]:
        return [name for name in super().known_parameters() if name != "ordering"]

    @extend_schema(parameters=[RUN_ID], responses={200: DeliveryErrorSerializer})
    def list(self, request: Request, id: str, runId: str) -> Response:
        """Whose recommendations could not be delivered; none before the run has completed."""
        run = self.find_run()
        rows = DeliveryError.objects.filter(run=run)
        if run.status not in COMPLETED:
            rows = rows.none()
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(present(self.tenant, page or ()))


def present(tenant: Tenant, rows: Iterable[DeliveryError]) -> list[dict[str, Any]]:
    """Show rows with the names of offers and channels, in two queries whatever their number."""
    shown = [
        {
            "customerId": row.customer_key,
            "offerId": ids.encode("Offer", row.offer_id),
            "offerName": None,
            "channelId": ids.encode("Channel", row.channel_id),
            "channel": None,
            "creativeId": ids.encode("Creative", row.creative_id) if row.creative_id else None,
            "reason": row.reason,
        }
        for row in rows
    ]
    names = names_in(tenant, shown)
    for each in shown:
        each["offerName"] = names.offers.get(str(each["offerId"]))
        each["channel"] = names.channels.get(str(each["channelId"]))
    return shown
