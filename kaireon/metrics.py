"""/metrics for Prometheus: gauges over all tenants, read from the database when they are asked for.

Any number of web processes gives the same answer, and none has to keep files for it. What could
fall when a campaign is deleted is told for the last hour instead of as a counter: Prometheus would
take the fall for a restart and count everything again.
"""

import hmac
import logging
from collections.abc import Iterable, Mapping

import psycopg
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kaireon import vitals
from kaireon.database.base import probing

logger = logging.getLogger(__name__)

#: Seconds that the database gets for all its answers; connecting may take 2 s more.
PATIENCE = 4

UNFINISHED = ("pending", "running", "paused", "cancelling")
ENDED = ("completed", "completed_with_errors", "failed", "cancelled")
TOPICS = ("campaign_chunks", "campaign_runs")
OUTCOMES = ("run", "skipped", "missed", "refused")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer whoever has the token; in production nobody if there is none."""
    if not _may_read(request):
        raise Http404
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Work())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    token: str = settings.KAIREON_METRICS_TOKEN
    if not token:
        return not settings.PRODUCTION
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


class Work(Collector):
    """The state of the work at the moment of the scrape; only `kaireon_database_up` without one."""

    def collect(self) -> Iterable[Metric]:
        try:
            with probing(PATIENCE) as own:
                now = vitals.read(own)
        except psycopg.Error:
            logger.warning("the metrics cannot be read", exc_info=True)
            return [_gauge("database_up", "Whether the database answers.", 0)]
        up = _gauge("database_up", "Whether the database answers.", 1)
        return [up, *_runs(now), *_chunks(now), *_scheduler(now), *_processes(now)]


def _runs(now: vitals.Vitals) -> list[Metric]:
    ended = {status: now.ended.get(status, vitals.Ended(0, 0, 0)) for status in ENDED}
    return [
        _by("runs", "Unfinished runs.", "status", UNFINISHED, now.runs),
        _gauge(
            "oldest_pending_run_seconds",
            "Age of the oldest run that waits to be taken up, 0 without one.",
            now.undispatched_seconds,
        ),
        _by(
            "runs_ended_last_hour",
            "Runs that ended in the last hour.",
            "status",
            ENDED,
            {status: one.runs for status, one in ended.items()},
        ),
        _gauge(
            "run_customers_last_hour",
            "Customers of the runs that ended in the last hour.",
            sum(one.customers for one in ended.values()),
        ),
        _gauge(
            "run_longest_seconds_last_hour",
            "The longest of the runs that ended in the last hour.",
            max(one.longest_seconds for one in ended.values()),
        ),
    ]


def _chunks(now: vitals.Vitals) -> list[Metric]:
    states = ("to_do", "leased", "retry")
    return [
        _by(
            "chunks",
            "Chunks to do in the present phases: free, being done, waiting for another attempt.",
            "state",
            states,
            now.chunks,
        ),
        _gauge(
            "oldest_runnable_chunk_seconds",
            "At most so long has a chunk waited that could be done, 0 without one.",
            now.runnable_seconds,
        ),
        _by("dlq_depth", "Entries of the dead-letter list.", "topic", TOPICS, now.dead_letters),
    ]


def _scheduler(now: vitals.Vitals) -> list[Metric]:
    ticks = "Scheduled instants that were decided on in the last hour; missed: came to too late."
    found: list[Metric] = [
        _by("ticks_last_hour", ticks, "outcome", OUTCOMES, now.ticks),
        _gauge(
            "scheduler_lag_seconds",
            "How long ago the campaign that waits longest was due, 0 if none is.",
            now.scheduler_lag,
        ),
    ]
    if last := now.pulse:
        found.append(
            _gauge("last_pulse_age_seconds", "Since the scheduler last ran.", last.seen_age)
        )
    return found


def _processes(now: vitals.Vitals) -> list[Metric]:
    steps = CounterMetricFamily(
        "kaireon_worker_steps",
        "Steps of runs, and chunks, that a living process has ended.",
        labels=["kind", "process"],
    )
    for process in now.processes:
        if process.seen_age <= vitals.SEEN_SECONDS:
            steps.add_metric([process.kind, process.name], process.done)
    about = f"Processes seen in the last {vitals.SEEN_SECONDS} s."
    return [_by("workers", about, "kind", ("worker", "drain", "pulse"), now.seen()), steps]


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"kaireon_{name}", about, value=value)


def _by(
    name: str, about: str, label: str, known: Iterable[str], values: Mapping[str, float]
) -> Metric:
    """A gauge with one series for each known value of the label, so that none ever vanishes."""
    family = GaugeMetricFamily(f"kaireon_{name}", about, labels=[label])
    for value in known:
        family.add_metric([value], values.get(value, 0))
    return family
