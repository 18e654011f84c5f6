"""Chunks that cannot be done, and runs brought to where they stop."""

from datetime import datetime

from django.db import connection
from django.db.models.functions import Now

from campaigns.models import CampaignRun, Contact, Recommendation, RunChunk, RunFile
from executor import runner
from executor.storage import open_storage

TO_DO = (RunChunk.Status.FROZEN, RunChunk.Status.DECIDED)


def advance_to(run: CampaignRun, phase: str) -> None:
    """Execute the run until it has entered the phase."""
    while CampaignRun.unscoped.get(pk=run.pk).phase != phase:
        assert runner.advance(run.pk) or runner.work(run.pk)


def corrupt(run: CampaignRun, *numbers: int) -> dict[str, bytes]:
    """Spoil what is stored of frozen chunks; returns what `restore` needs."""
    storage, kept = open_storage(), {}
    for key in run.chunks.filter(number__in=numbers).values_list("input_key", flat=True):
        kept[key] = storage.get(key)
        storage.put(key, b"no Parquet file")
    return kept


def restore(kept: dict[str, bytes]) -> None:
    for key, data in kept.items():
        open_storage().put(key, data)


def execute_all(run: CampaignRun) -> list[tuple[int, datetime]]:
    """Execute to the end, attempt after attempt without waiting in between.

    Returns the number of each chunk that was to wait, and until when.
    """
    waits: list[tuple[int, datetime]] = []
    while True:
        runner.execute(run.pk)
        run.refresh_from_db()
        waiting = RunChunk.objects.filter(run=run, status__in=TO_DO, not_before__isnull=False)
        if run.status != CampaignRun.Status.RUNNING or not waiting:
            return waits
        waits += waiting.order_by("number").values_list("number", "not_before")
        waiting.update(not_before=Now())


def file_of(run: CampaignRun) -> tuple[str, int]:
    file = RunFile.objects.of(run.tenant_id).get(run=run)
    assert len(open_storage().get(file.storage_key)) == file.size_bytes
    return file.sha256, file.row_count


def results_of(run: CampaignRun) -> list[tuple[object, ...]]:
    columns = ("customer_key", "rank", "chunk", "offer_id", "channel_id", "creative_id", "score")
    return [*Recommendation.objects.filter(run_id=run.pk).order_by(*columns).values_list(*columns)]


def contacts_of(run: CampaignRun) -> list[tuple[object, ...]]:
    """All contacts of the run that are true; they are of one instant."""
    columns = ("customer_key", "offer_id", "channel_id", "creative_id", "campaign_id")
    rows = Contact.objects.filter(run_id=run.pk).order_by(*columns)
    assert {*rows.values_list("at", flat=True)} <= {run.contacts_at}
    return [*rows.values_list(*columns)]


def outcome(run: CampaignRun) -> dict[str, object]:
    """All that the run came to, but for how long it took."""
    run.refresh_from_db()
    timeless = {k: v for k, v in run.summary.items() if k not in ("stages", "durationSeconds")}
    return {
        "summary": timeless,
        "file": file_of(run),
        "results": results_of(run),
        "contacts": contacts_of(run),
    }


def tables_of(run: CampaignRun) -> list[str]:
    """The run's own tables of results."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ %s ORDER BY 1",
            [f"^campaigns_recommendation_r{run.pk}(_[0-9]+)?$"],
        )
        return [row[0] for row in cursor.fetchall()]


def expire(run: CampaignRun) -> None:
    """As if whoever holds leases on the run had been silent for too long."""
    CampaignRun.unscoped.filter(pk=run.pk, lease_until__isnull=False).update(lease_until=Now())
    RunChunk.objects.filter(run=run, lease_until__isnull=False).update(lease_until=Now())
