"""What a sample says of the whole segment, with intervals of 95 % confidence. Pure.

A share x / n is given Wilson's score interval, with the sample size corrected for a finite
population: n (N - 1) / (N - n) in place of n (Wilson 1927; Cochran, "Sampling Techniques", 2.7).
Where customers may have several recommendations, the number of each is a value from 0 to k; no
such value varies more than one that is only 0 or k, so Wilson's interval of its mean over k is at
least as wide as it has to be.
"""

from collections.abc import Mapping
from math import ceil, floor, sqrt
from typing import Any

from executor.allocation import Caps

#: The 97.5 % point of the normal distribution.
Z = 1.959963984540054
CONFIDENCE = 0.95


def estimated(
    summary: Mapping[str, Any],
    population: int,
    k: int,
    caps: Caps,
    of_offers: Mapping[str, int | None],
) -> dict[str, Any]:
    """The estimate for `population` customers, of whom the summary's audience is a sample.

    `k` is how many recommendations a customer gets at most, `caps` those of a whole run, and
    `of_offers` the limit of each offer in one, by id.
    """
    n = int(summary["audience"])
    whole = max(population, n)

    def of(count: int, most: int = 1, cap: int | None = None) -> dict[str, int]:
        return _scaled(count, n, whole, most, cap)

    return {
        "population": whole,
        "sampled": n,
        "confidence": CONFIDENCE,
        "eligible": of(summary["eligible"]),
        "heldOut": of(summary["heldOut"]),
        "customersWithRecommendations": of(summary["customersWithRecommendations"], cap=caps.total),
        "totalRecommendations": of(summary["totalRecommendations"], k, caps.total),
        "offers": [
            {"offerId": row["offerId"], **of(row["count"], 1, of_offers[row["offerId"]])}
            for row in summary["offers"]
        ],
        "channels": [
            {"channelId": row["channelId"], **of(row["count"], k, caps.per_channel)}
            for row in summary["channels"]
        ],
    }


def wilson(x: float, n: int, population: int) -> tuple[float, float]:
    """The interval of the share x / n in a sample of n out of `population`, in 0 to 1."""
    share = x / n
    if n >= population:
        return share, share
    size = n * (population - 1) / (population - n)
    middle = share + Z * Z / (2 * size)
    half = Z * sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
    scale = 1 + Z * Z / size
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _scaled(count: int, n: int, population: int, most: int, cap: int | None) -> dict[str, int]:
    """How many there are in the population; at least those that were seen."""
    if n == 0:
        return {"estimate": 0, "low": 0, "high": population * most}
    low, high = wilson(count / most, n, population)
    bounds = {
        "estimate": round(count * population / n),
        "low": max(count, floor(low * population * most)),
        "high": ceil(round(high * population * most, 6)),
    }
    ceiling = population * most if cap is None else cap
    return {name: min(value, ceiling) for name, value in bounds.items()}
