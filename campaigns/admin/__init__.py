"""Admin pages of what should happen and what has happened."""

from campaigns.admin import (
    campaign,
    channel,
    creative,
    flow,
    offer,
    rule,
    run,
    schema,
    segment,
)

__all__ = [
    "campaign",
    "channel",
    "creative",
    "flow",
    "offer",
    "rule",
    "run",
    "schema",
    "segment",
]
