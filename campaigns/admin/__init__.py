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
    schema_join,
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
    "schema_join",
    "segment",
    "tick",
]
