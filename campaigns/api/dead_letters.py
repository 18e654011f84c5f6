"""The dead letters of a tenant, for its administrators: work that was given up."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.pagination import read_integer
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.models import Campaign, CampaignRun, DeadLetter
from campaigns.services.dead_letters import (
    alert,
    choose,
    count_by_topic,
    purge_letters,
    retry_letters,
)
from kaireon.access.models import Role

TOPICS = DeadLetter.Topic.values
DEFAULT_LIMIT, MAX_LIMIT = 50, 200
RETRY, PURGE = "retry", "purge"


class DeadWork(StrictSerializer):
    """What was given up: a chunk of a run, or with the chunk null a whole run."""

    runId = fields.PublicId(CampaignRun, source="run")
    campaignId = fields.PublicId(Campaign, source="run.campaign")
    runNumber = serializers.IntegerField(source="run.run_number", min_value=1)
    chunk = serializers.IntegerField(min_value=0, allow_null=True)
    customers = serializers.IntegerField(min_value=0)

    def to_representation(self, letter: DeadLetter) -> dict[str, Any]:
        return {
            "runId": letter.run.public_id,
            "campaignId": letter.run.campaign.public_id,
            "runNumber": letter.run.run_number,
            "chunk": letter.chunk,
            "customers": letter.customers,
        }


@extend_schema_serializer(component_name="DeadLetter")
class DeadLetterSerializer(StrictSerializer):
    id = fields.OwnId()
    topic = serializers.ChoiceField(TOPICS)
    payload = DeadWork(source="*")
    error = serializers.CharField()
    retryCount = serializers.SerializerMethodField()
    failedAt = fields.UtcDateTime(source="failed_at")

    def get_retryCount(self, letter: DeadLetter) -> int:
        """How often it was taken up after the first time."""
        return max(letter.attempts - 1, 0)


@extend_schema_serializer(component_name="DeadLetters", many=False)
class DeadLetters(StrictSerializer):
    """The newest dead letters, and how many there are."""

    totalEvents = serializers.IntegerField(min_value=0, help_text="Of all topics.")
    byTopic = serializers.DictField(child=serializers.IntegerField(min_value=0))
    alert = serializers.ChoiceField(
        ["OK", "WARNING", "CRITICAL"], help_text="WARNING from 11 on, CRITICAL from 101 on."
    )
    events = DeadLetterSerializer(many=True)


@extend_schema_serializer(component_name="DeadLetterAction")
class Act(StrictSerializer):
    """Which dead letters to retry or purge: these of this topic, of all without either."""

    action = fields.Choice(choices=[RETRY, PURGE])
    eventIds = fields.PublicIds(DeadLetter, required=False, source="letters")
    topic = fields.Choice(choices=TOPICS, required=False)


@extend_schema_serializer(component_name="DeadLetterActionDone")
class Done(StrictSerializer):
    action = serializers.ChoiceField([RETRY, PURGE])
    requeued = serializers.IntegerField(required=False, help_text="With retry.")
    deleted = serializers.IntegerField(required=False, help_text="With purge.")


LIMIT = OpenApiParameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    description="Most events to show.",
)
TOPIC = OpenApiParameter("topic", {"type": "string", "enum": TOPICS})


class TopicQuery(StrictSerializer):
    topic = fields.Choice(choices=TOPICS, required=False)


class DeadLetterViewSet(TenantViewSet):
    """Work that was given up, until somebody retries or purges it."""

    model = DeadLetter
    roles = {"list": Role.ADMIN, "act": Role.ADMIN}
    filter_backends = ()
    pagination_class = None  # type: ignore[assignment]  # the newest only, as documented

    def known_parameters(self) -> list[str]:
        return ["limit", "topic"] if self.action == "list" else []

    @extend_schema(parameters=[LIMIT, TOPIC], responses={200: DeadLetters})
    def list(self, request: Request) -> Response:
        """How many dead letters there are, and the newest of them."""
        limit = read_integer(request, "limit", DEFAULT_LIMIT, (1, MAX_LIMIT))
        given = request.query_params.dict()
        read = TopicQuery(data={k: v for k, v in given.items() if k != "limit"})
        read.is_valid(raise_exception=True)
        letters = choose(self.tenant, None, read.validated_data.get("topic"))
        newest = letters.select_related("run__campaign").defer("traceback", "run__spec")[:limit]
        counts = count_by_topic(self.tenant)
        total = sum(counts.values())
        found = {"totalEvents": total, "byTopic": counts, "alert": alert(total), "events": newest}
        return Response(DeadLetters(found).data)

    @extend_schema(request=Act, responses={200: Done})
    def act(self, request: Request) -> Response:
        """Retry or purge dead letters.

        A chunk is done again, and its run adds to what it has delivered; for a run that failed
        there is a new one. What is named and cannot be retried now is a 409, and nothing is
        retried; of what is not named it stays in the list.
        """
        body = read_body(Act, request)
        letters = choose(self.tenant, body.get("letters"), body.get("topic"))
        if body["action"] == PURGE:
            return Response({"action": PURGE, "deleted": purge_letters(letters)})
        done = retry_letters(letters, strict="letters" in body)
        return Response({"action": RETRY, "requeued": done})
