"""Probes for whoever runs the processes: alive, and able to serve.

`ready` answers 503 only if this process cannot serve, that is, if the database does not answer.
Everything else that is wrong makes the answer "degraded", with 200: a broker that is down, or
workers that are gone, must not take the web servers out of rotation, because runs are accepted and
kept all the same. Alarms belong on "degraded"; load balancers look at the code alone.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from kaireon import broker, vitals
from kaireon.database.base import probing

logger = logging.getLogger(__name__)

#: Seconds after which something that should move has stopped. The pulse comes every 15 s.
PULSE_STALE = 120
WAITING_LONG = 60

#: Seconds that the database gets for all its answers; connecting may take 2 s more.
PATIENCE = 2


@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process answers at all; touches nothing else."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Say how each part is; 503 if the database does not answer, else 200.

    Anybody may ask, so the answer has no addresses and no error texts of servers.
    """
    try:
        with probing(PATIENCE) as own:
            own.execute("SELECT 1")
            parts = _parts(own)
    except psycopg.Error:
        logger.warning("the database does not answer", exc_info=True)
        part = {"status": "unavailable", "reason": "The database does not answer."}
        return _answer("unavailable", {"database": part}, 503)
    well = all(part["status"] == "ok" for part in parts.values())
    return _answer("ok" if well else "degraded", parts, 200)


def _answer(status: str, parts: dict[str, Any], code: int) -> JsonResponse:
    reasons = [part["reason"] for part in parts.values() if "reason" in part]
    return JsonResponse({"status": status, "reasons": reasons, **parts}, status=code)


def _part(reason: str | None, **facts: Any) -> dict[str, Any]:
    """One part of the answer: well, unless there is a reason."""
    return (
        {"status": "degraded", "reason": reason, **facts} if reason else {"status": "ok", **facts}
    )


def _parts(own: psycopg.Connection) -> dict[str, Any]:
    parts = {"database": _part(None)}
    if settings.REDIS_URL:
        parts["broker"] = _part(_broker())
    try:
        now = vitals.read(own)
    except psycopg.Error:
        logger.warning("the state of the work cannot be read", exc_info=True)
        return parts | {"work": _part("The state of the work cannot be read; see the log.")}
    return parts | {
        "pulse": _pulse(now.pulse),
        "runs": _part(_waiting(now), oldestUndispatchedSeconds=round(now.undispatched_seconds, 1)),
        "chunks": _part(_stalled(now), oldestRunnableSeconds=round(now.runnable_seconds, 1)),
        "workers": _part(_missing(now), seen=now.seen()),
    }


def _broker() -> str | None:
    try:
        policy = broker.eviction_policy()
    except redis.RedisError:
        return "The broker does not answer; runs are taken up without it, some seconds later."
    if broker.keeps_messages(policy):
        return None
    return f"The broker's maxmemory-policy is {policy}; it must be noeviction."


def _pulse(last: vitals.Process | None) -> dict[str, Any]:
    if last is None:
        return _part("The scheduler's pulse has not been seen for a day.", lastPulseAt=None)
    at = datetime.fromtimestamp(last.seen_at, UTC).isoformat(timespec="milliseconds")
    stale = last.seen_age > PULSE_STALE
    reason = f"The scheduler's pulse is {last.seen_age:.0f} s old." if stale else None
    return _part(reason, lastPulseAt=at.replace("+00:00", "Z"))


def _waiting(now: vitals.Vitals) -> str | None:
    if now.undispatched_seconds <= WAITING_LONG:
        return None
    return (
        f"A run has been waiting for {now.undispatched_seconds:.0f} s for somebody to take it up."
    )


def _stalled(now: vitals.Vitals) -> str | None:
    """Chunks may well wait long, behind others; but not while nobody ends any."""
    ages = [process.worked_age for process in now.processes if process.worked_age is not None]
    idle = min([now.runnable_seconds, *ages])
    if now.chunks.get("leased") or idle <= WAITING_LONG:
        return None
    return f"Chunks wait, and none has been ended for {idle:.0f} s."


def _missing(now: vitals.Vitals) -> str | None:
    if not settings.REDIS_URL or now.seen()["worker"]:
        return None
    return f"No worker has been seen for {vitals.SEEN_SECONDS} s."
