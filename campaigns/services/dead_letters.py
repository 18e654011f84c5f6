"""Work of a tenant that was given up: counted, shown, retried, or forgotten."""

from collections import defaultdict
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Count, QuerySet

from campaigns.models import CampaignRun, DeadLetter
from campaigns.services.errors import Conflict
from campaigns.services.retrying import retry_failed_chunks
from campaigns.services.runs import retry_run
from kaireon.access.models import Tenant

#: Up to so many are normal; up to so many deserve a look; what is more is an alarm.
OK_AT_MOST, WARNING_AT_MOST = 10, 100


def count_by_topic(tenant: Tenant) -> dict[str, int]:
    """All topics, also those without dead letters."""
    rows = DeadLetter.objects.of(tenant).order_by().values_list("topic")
    return dict.fromkeys(DeadLetter.Topic.values, 0) | dict(rows.annotate(Count("pk")))


def alert(total: int) -> str:
    if total <= OK_AT_MOST:
        return "OK"
    return "WARNING" if total <= WARNING_AT_MOST else "CRITICAL"


def choose(
    tenant: Tenant, letters: Iterable[DeadLetter] | None, topic: str | None
) -> QuerySet[DeadLetter]:
    """Those of the letters (None: of all) that are of the topic (None: of any)."""
    rows: QuerySet[DeadLetter] = DeadLetter.objects.of(tenant)
    if letters is not None:
        rows = rows.filter(pk__in=[letter.pk for letter in letters])
    return rows if topic is None else rows.filter(topic=topic)


def retry_letters(letters: QuerySet[DeadLetter], *, strict: bool) -> int:
    """Have the work of the letters done again, and forget them; return how many those were.

    A run's chunks are retried together. What cannot be retried now raises Conflict, and then
    nothing is, or it stays where it is unless `strict`.
    """
    by_run: dict[CampaignRun, list[DeadLetter]] = defaultdict(list)
    related = letters.select_related("run__campaign").defer("run__spec", "run__summary")
    for letter in related.order_by("run__campaign_id", "run_id", "chunk"):
        by_run[letter.run].append(letter)
    done = 0
    with transaction.atomic():
        for run, of_run in by_run.items():
            try:
                with transaction.atomic():
                    retry_of_run(run, of_run)
            except Conflict:
                if strict:
                    raise
            else:
                done += len(of_run)
    return done


def retry_of_run(run: CampaignRun, letters: list[DeadLetter]) -> None:
    """A run's letters are its chunks', or one of the whole run."""
    chunks = [letter.chunk for letter in letters if letter.chunk is not None]
    if chunks:
        retry_failed_chunks(run, chunks)
    else:
        retry_run(run)
        DeadLetter.objects.of(run.tenant_id).filter(pk__in=[one.pk for one in letters]).delete()


def purge_letters(letters: QuerySet[DeadLetter]) -> int:
    """Forget the letters; what they tell of stays as it is. Returns how many those were."""
    return letters.delete()[0]
