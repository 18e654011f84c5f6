"""What is allowed but worth a warning at start-up."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning


def storage_is_shared(**_: Any) -> list[CheckMessage]:
    """With a broker there may be many machines, and a folder is on one of them."""
    if not settings.REDIS_URL or not settings.STORAGE_URL.startswith("file:"):
        return []
    return [
        Warning(
            "One machine only: REDIS_URL allows workers on other machines, "
            "but STORAGE_URL is a folder.",
            hint="Keep all processes on one machine, or mount the folder on every machine.",
            id="kaireon.W001",
        )
    ]
