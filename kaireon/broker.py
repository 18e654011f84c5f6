"""What the broker says of itself, asked with short timeouts; never its address, which may hold a
password.
"""

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds for connecting, and for the answer.
PATIENCE = 0.5


def eviction_policy() -> str:
    """The broker's `maxmemory-policy`; "" if it does not tell. Raises redis.RedisError.

    INFO tells it also where a hosted Redis forbids CONFIG.
    """
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        return str(client.info("memory").get("maxmemory_policy", ""))


def keeps_messages(policy: str) -> bool:
    """Whether messages stay when the memory is full. A policy that is not told is believed."""
    return policy in ("", "noeviction")
