"""Admin pages of what should happen and what has happened."""

from campaigns.admin import (
    campaign,
    channel,
    creative,
    dead_letter,
    flow,
    offer,
    rule,
    run,
    schema,
    segment,
    tick,
)

__all__ = [
    "campaign",
    "channel",
    "creative",
    "dead_letter",
    "flow",
    "offer",
    "rule",
    "run",
    "schema",
    "segment",
    "tick",
]
