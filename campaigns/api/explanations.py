"""Why a customer got an offer from a run, or did not; the serializers only describe the answer."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.runs_of_campaign import RUN_ID, RunOfCampaignViewSet
from campaigns.models import (
    Campaign,
    CampaignRun,
    Channel,
    ContactPolicy,
    Creative,
    Offer,
    Placement,
    QualificationRule,
)
from campaigns.services.explanations import explain_customer

OUTCOMES = (
    "got",
    "wouldGet",
    "heldOut",
    "capped",
    "undelivered",
    "otherCandidate",
    "notInTop",
    "worthless",
    "removed",
    "otherVariant",
    "dropped",
)
CUSTOMER_ID = OpenApiParameter(
    "customerId", {"type": "string", "minLength": 1}, required=True, description="Whom to explain."
)
ERROR: dict[str, Any] = {"$ref": "#/components/schemas/Error"}


class AnyValue(serializers.JSONField):
    """A value of a customer, or what it is compared with; null too."""


class ExplainedStep(StrictSerializer):
    """A step of the flow: of a rule, of a policy, or of a node alone."""

    stage = serializers.CharField()
    node = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # only describes an answer
    ruleId = fields.PublicId(QualificationRule, allow_null=True)
    policyId = fields.PublicId(ContactPolicy, allow_null=True)


class ExplainedCheck(StrictSerializer):
    """A comparison that kept a step from being met."""

    field = serializers.CharField()
    description = serializers.CharField(help_text="What the field is, in words.")
    operator = serializers.CharField()
    threshold = AnyValue()
    negated = serializers.BooleanField(help_text="Whether it would have had to fail.")
    needs = serializers.CharField(help_text="The comparison in words.")
    value = AnyValue(help_text="What it saw.")


class FailedStep(ExplainedStep):
    checks = ExplainedCheck(many=True, help_text="None of a step that nobody meets.")


class ExplainedFactor(StrictSerializer):
    """share to the power of weight."""

    field = serializers.CharField()
    description = serializers.CharField()
    value = AnyValue()
    share = serializers.FloatField(help_text="The value brought to 0 to 1, or its default.")
    weight = serializers.FloatField()
    multiplier = serializers.FloatField()
    contribution = serializers.FloatField(
        allow_null=True, help_text="To the logarithm of the score; null is minus infinity."
    )


class ExplainedPenalty(StrictSerializer):
    ruleId = fields.PublicId(QualificationRule)
    rule = serializers.CharField()
    multiplier = serializers.FloatField()
    applied = serializers.BooleanField()


class ExplainedScore(StrictSerializer):
    """value = constant x all factors x the penalties that applied."""

    value = serializers.FloatField()
    constant = serializers.FloatField(help_text="The product of all that is no customer's.")
    factors = ExplainedFactor(many=True)
    penalties = ExplainedPenalty(many=True)
    floor = serializers.FloatField(allow_null=True)
    mandatoryLift = serializers.BooleanField(
        help_text="Whether the offer goes before all that are not mandatory."
    )


class ExplainedCap(StrictSerializer):
    cap = serializers.ChoiceField(["maxTotalPerRun", "maxPerOffer", "offerBudget", "maxPerChannel"])
    limit = serializers.IntegerField()
    used = serializers.IntegerField()


class NearestChange(StrictSerializer):
    """Another value of one field with which nothing would have removed the candidate."""

    field = serializers.CharField()
    description = serializers.CharField()
    value = AnyValue()
    to = AnyValue()
    difference = serializers.FloatField(allow_null=True)
    text = serializers.CharField()


class ExplainedCandidate(StrictSerializer):
    """An offer in a channel, through a creative."""

    channelId = fields.PublicId(Channel)
    channel = serializers.CharField()
    creativeId = fields.PublicId(Creative, allow_null=True)
    placementId = fields.PublicId(Placement, allow_null=True)
    outcome = serializers.ChoiceField(OUTCOMES)
    reason = serializers.CharField()
    rank = serializers.IntegerField(allow_null=True)
    position = serializers.IntegerField(
        allow_null=True, help_text="Place of the offer among the customer's, by score."
    )
    variantPercent = serializers.FloatField(
        allow_null=True, help_text="Of the customers are assigned this creative; null: all."
    )
    variantDrawn = serializers.BooleanField(allow_null=True)
    removedBy = FailedStep(allow_null=True)
    failed = FailedStep(many=True, help_text="Every step it does not meet.")
    passed = ExplainedStep(many=True)
    score = ExplainedScore(allow_null=True)
    caps = ExplainedCap(many=True, help_text="The full ones that turned it away.")
    nearestChange = NearestChange(allow_null=True)


class DroppedCandidate(StrictSerializer):
    """What no customer can have."""

    stage = serializers.CharField()
    node = serializers.CharField()
    reason = serializers.CharField()
    channel = serializers.CharField(allow_null=True, help_text="Null: in all.")


class ExplainedOffer(StrictSerializer):
    offerId = fields.PublicId(Offer, allow_null=True, help_text="Null if it is unknown.")
    offerName = serializers.CharField()
    mandatory = serializers.BooleanField()
    outcome = serializers.ChoiceField(OUTCOMES, help_text="The best of its candidates'.")
    primaryReason = serializers.CharField()
    candidates = ExplainedCandidate(many=True)
    dropped = DroppedCandidate(many=True)


class ExplainedSummary(StrictSerializer):
    """Offers by outcome."""

    totalOffers = serializers.IntegerField()
    got = serializers.IntegerField()
    wouldGet = serializers.IntegerField()
    heldOut = serializers.IntegerField()
    capped = serializers.IntegerField()
    undelivered = serializers.IntegerField()
    otherCandidate = serializers.IntegerField()
    notInTop = serializers.IntegerField()
    worthless = serializers.IntegerField()
    removed = serializers.IntegerField()
    otherVariant = serializers.IntegerField()
    dropped = serializers.IntegerField()


class CustomerExplanation(StrictSerializer):
    """Every offer of a run, and why the customer got it or did not."""

    runId = fields.PublicId(CampaignRun)
    campaignId = fields.PublicId(Campaign)
    customerId = serializers.CharField()
    runStatus = serializers.ChoiceField(CampaignRun.Status.values)
    now = serializers.CharField(help_text="The instant that the run takes as now.")
    chunk = serializers.IntegerField()
    chunkGivenUp = serializers.BooleanField(
        help_text="The customer got nothing, as the chunk could not be done."
    )
    isFinal = serializers.BooleanField(help_text="Whether it is told what the customer really got.")
    heldOut = serializers.BooleanField()
    summary = ExplainedSummary()
    offers = ExplainedOffer(many=True)


class ExplainViewSet(RunOfCampaignViewSet):
    query_params = {"explain": ("customerId",)}

    @extend_schema(
        parameters=[RUN_ID, CUSTOMER_ID],
        responses={
            200: CustomerExplanation,
            409: OpenApiResponse(ERROR, description="The run has not frozen its customers."),
            410: OpenApiResponse(ERROR, description="The frozen customers are not kept any more."),
        },
    )
    def explain(self, request: Request, id: str, runId: str) -> Response:
        """Why a customer got each offer, or did not, and what would have had to be different."""
        run = self.find_run()
        customer = request.query_params.get("customerId", "")
        if not customer:
            raise ValidationError({"customerId": ["This parameter is required."]})
        return Response(explain_customer(run, customer))
