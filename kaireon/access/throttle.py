"""A limit of requests per minute for every API key and every signed-in user."""

import logging
import math
import time
from typing import TYPE_CHECKING, ClassVar

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from kaireon.access.authentication import Access

if TYPE_CHECKING:
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


#: Seconds for which a cache that did not answer is not asked again: asking costs a second.
LEFT_ALONE = 5.0


class CallerThrottle(SimpleRateThrottle):
    """Counts in the cache, so per server without Redis; a cache that fails lets requests pass."""

    scope = "caller"
    #: Of this process, by its monotonic clock.
    failed_at: ClassVar[float] = -LEFT_ALONE
    num_requests: int
    duration: int

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        access = request.auth
        if not isinstance(access, Access):
            return None
        return (
            f"rate-{access.api_key.public_part}" if access.api_key else f"rate-u{request.user.pk}"
        )

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if time.monotonic() - CallerThrottle.failed_at < LEFT_ALONE:
            return True
        try:
            return super().allow_request(request, view)
        except RedisError:
            CallerThrottle.failed_at = time.monotonic()
            logger.warning("requests are not counted: the cache does not answer", exc_info=True)
            return True

    def wait(self) -> float:
        """Whole seconds until the oldest request that stands in the way counts no more."""
        blocking: float = self.history[self.num_requests - 1]
        return max(1, math.ceil(self.duration - (self.now - blocking)))
