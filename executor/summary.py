"""Counts of a run -> the summary a reader sees. Pure, and it must add up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from executor.allocation import CapReport
from executor.errors import Broken
from executor.flow.plan import Plan
from kaireon import ids


def summarize(
    plan: Plan,
    audience: int,
    counts: Mapping[str, Any],
    *,
    given_up: int,
    stored: tuple[int, int],
    caps: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Build the summary. `stored` is (recommendations, customers) as counted in the results.

    `given_up` are the customers of chunks that could not be done; `counts` are of all others.

    Raises Broken unless every customer of the audience ends in exactly one place of the funnel
    and the results hold what was decided.
    """
    recommendations, served = stored
    funnel = _funnel(plan, audience, counts, given_up)
    remaining = funnel[-1]["remainingCustomers"] if funnel else audience
    if remaining != served:
        raise Broken(
            f"the funnel leaves {remaining} of {audience} customers, but {served} have results"
        )
    if recommendations != sum(counts["candidates"]):
        raise Broken(
            f"{sum(counts['candidates'])} recommendations were decided,"
            f" but {recommendations} are stored"
        )
    return _errors(counts.get("undelivered")) | {
        "audience": audience,
        "eligible": counts["eligible"],
        "heldOut": counts["held"],
        "customersWithRecommendations": served,
        "totalRecommendations": recommendations,
        "averagePerCustomer": round(recommendations / served, 4) if served else 0.0,
        "offers": _breakdown(
            "offerId", "Offer", [plan.offers[c.offer].key for c in plan.candidates], counts
        ),
        "channels": _breakdown(
            "channelId", "Channel", [plan.channels[c.channel].key for c in plan.candidates], counts
        ),
        "funnel": funnel,
        "caps": list(caps),
    }


def cap_lines(
    plan: Plan, reports: Sequence[CapReport], per_offer: int | None = None
) -> list[dict[str, Any]]:
    """The caps as the summary shows them; an offer with another limit than all has it by budget."""
    names = {"total": "maxTotalPerRun", "offer": "maxPerOffer", "channel": "maxPerChannel"}
    lines = []
    for report in reports:
        offer = channel = None
        if report.kind == "offer" and report.index is not None:
            offer = ids.encode("Offer", plan.offers[report.index].key)
        if report.kind == "channel" and report.index is not None:
            channel = ids.encode("Channel", plan.channels[report.index].key)
        lines.append(
            {
                "cap": "offerBudget" if offer and report.limit != per_offer else names[report.kind],
                "offerId": offer,
                "channelId": channel,
                "limit": report.limit,
                "used": report.used,
                "bound": report.bound,
            }
        )
    return lines


def _funnel(
    plan: Plan, audience: int, counts: Mapping[str, Any], given_up: int
) -> list[dict[str, Any]]:
    """Chunks that were given up, if any; each step in order; worthless scores; holdout; caps."""
    steps = [(step.stage, step.node, step.label) for step in plan.steps]
    below = f" or below {plan.score.floor:g}" if plan.score.floor else ""
    steps.append(("score", "score", f"every candidate scored zero{below}"))
    lines, remaining = [], audience - given_up
    if given_up:
        label = "their chunk was given up after errors"
        lines.append(_line("chunks", "deadLetter", label, (given_up, None), remaining))
    for (stage, node, label), (customers, candidates) in zip(steps, counts["removed"], strict=True):
        remaining -= customers
        lines.append(_line(stage, node, label, (customers, candidates), remaining))
    held = counts["held"]
    if held:
        remaining -= held
        label = "held out, to measure what the campaign does"
        lines.append(_line("holdout", "holdout", label, (held, None), remaining))
    capped = counts["capped"]
    label = "volume caps were full"
    remaining -= capped
    lines.append(_line("caps", "volumeConstraints", label, (capped, None), remaining))
    if undelivered := counts.get("undelivered"):
        customers, lost = undelivered["customers"], undelivered["recommendations"]
        label = "nothing could be delivered"
        line = _line("personalize", "creatives", label, (customers, lost), remaining - customers)
        lines.append(line)
    return lines


def _errors(undelivered: Mapping[str, Any] | None) -> dict[str, Any]:
    """What could not be delivered and why, most first, and how often computed fields were null."""
    if undelivered is None:
        return {}
    reasons = sorted(undelivered["reasons"].items(), key=lambda each: (-each[1], each[0]))
    return {
        "deliveryErrors": {
            "count": undelivered["recommendations"],
            "byReason": [{"reason": reason, "count": count} for reason, count in reasons],
        },
        "computedFields": [
            {"field": field, "missing": count} for field, count in undelivered["missing"].items()
        ],
    }


def _line(
    stage: str, node: str, label: str, removed: tuple[int, int | None], remaining: int
) -> dict[str, Any]:
    return {
        "stage": stage,
        "node": node,
        "label": label,
        "removedCustomers": removed[0],
        "removedCandidates": removed[1],
        "remainingCustomers": remaining,
    }


def _breakdown(
    field: str, model: str, keys: Sequence[int], counts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Count and percent of all recommendations, most first."""
    sums: Counter[int] = Counter()
    for key, number in zip(keys, counts["candidates"], strict=True):
        sums[key] += number
    whole = sum(sums.values())
    return [
        {
            field: ids.encode(model, key),
            "count": number,
            "percent": round(100 * number / whole, 1) if whole else 0.0,
        }
        for key, number in sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    ]
