"""What interactions say: which are impressions, and which outcomes count as positive or negative.

The word of an interaction is its `outcome`, or its `interactionType` if it has none, in lower case
(of A to Z). Its word makes it an outcome, unless that is `impression`; its type or its word makes
it an impression. So {"interactionType": "impression", "outcome": "click"} is both.
"""

from collections.abc import Iterable, Mapping

IMPRESSION = "impression"
#: Outcomes that make somebody a customer; all of them are positive too.
CONVERTS = ("conversion", "convert", "converted", "purchase", "purchased")
#: Metric of a policy -> the words it counts. What is in no list is counted only by its own name.
OUTCOMES: Mapping[str, tuple[str, ...]] = {
    "positive": (
        "accept",
        "accepted",
        "click",
        "clicked",
        *CONVERTS,
        "like",
        "open",
        "opened",
        "positive",
        "reply",
        "save",
        "share",
    ),
    "negative": (
        "complaint",
        "decline",
        "declined",
        "dislike",
        "dismiss",
        "dismissed",
        "hard_bounce",
        "negative",
        "opt_out",
        "reject",
        "rejected",
        "spam_report",
        "unsubscribe",
        "unsubscribed",
    ),
    "neutral": (
        "deferred",
        "delivered",
        "expired",
        "ignore",
        "ignored",
        "not_presented",
        "sent",
        "soft_bounce",
        "view",
        "viewed",
    ),
    "converts": CONVERTS,
}

_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


def word(outcome: str) -> str:
    """The word as it is compared; the same as PostgreSQL's lower() in collation "C"."""
    return outcome.translate(_LOWER)


def words(outcomes: Iterable[str]) -> tuple[str, ...]:
    """Distinct words, sorted."""
    return tuple(sorted({word(outcome) for outcome in outcomes}))
