"""What is allowed but worth a warning at start-up, and what a worker must not start with."""

from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from kaireon import broker


def storage_is_shared(**_: Any) -> list[CheckMessage]:
    """With a broker there may be many machines, and a folder is on one of them."""
    if not settings.REDIS_URL or not settings.STORAGE_URL.startswith("file:"):
        return []
    return [
        Warning(
            "One machine only: REDIS_URL allows workers on other machines, "
            "but STORAGE_URL is a folder.",
            hint="Keep all processes on one machine, or mount the folder on every machine, "
            "or set STORAGE_URL to s3://bucket/folder.",
            id="kaireon.W001",
        )
    ]


def broker_keeps_messages(**_: Any) -> list[CheckMessage]:
    """A broker that evicts keys drops messages. One that cannot be reached is no fault."""
    return [Warning(fault.msg, hint=fault.hint, id="kaireon.W002") for fault in broker_faults()]


def refuse_faults() -> None:
    """End this Celery process if its broker has a fault: Celery takes no notice of checks."""
    faults = broker_faults()
    if faults:
        raise SystemExit("\n".join(f"{fault.msg} {fault.hint}" for fault in faults))


def broker_faults() -> list[CheckMessage]:
    """Errors with which a Celery process refuses to start; one that is away is no fault."""
    if not settings.REDIS_URL:
        return []
    try:
        policy = broker.eviction_policy()
    except redis.RedisError:
        return []
    if broker.keeps_messages(policy):
        return []
    return [
        Error(
            f"The broker's maxmemory-policy is {policy}: when its memory is full, "
            "it drops messages without a word.",
            hint="Set maxmemory-policy to noeviction in the configuration of Redis.",
            id="kaireon.E002",
        )
    ]
