"""Propensity by evidence: what counts, and who decides while there is little of it."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns.services.interactions import record_interactions
from executor.evidence_counts import count_evidence, tally
from executor.flow.catalog import Evidence
from executor.flow.outcomes import CONVERTS, OUTCOMES
from executor.models.evidence import Propensities, Share
from kaireon.access.models import Tenant
from tests import factories

OFFER, CATEGORY = 1, 7
NOTHING = (0, 0)
Pair = tuple[int, int]


def propensities(
    offer: Pair = NOTHING, category: Pair = NOTHING, overall: Pair = NOTHING
) -> Propensities:
    counts = ((OFFER, *offer),), ((CATEGORY, *category),)
    return Propensities(Evidence(*counts, *overall))


@pytest.mark.parametrize(
    ("offer", "category", "overall", "expected"),
    [
        ((50, 10), (500, 400), (900, 1), 0.2),
        ((49, 7), (20, 8), (900, 1), (7 + 10 * 0.4) / 59),
        ((1, 1), (19, 19), (10, 3), (1 + 10 * 0.3) / 11),
        ((30, 6), NOTHING, (9, 9), (6 + 10 * 0.6) / 40),
        (NOTHING, (20, 5), (900, 1), 0.25),
        (NOTHING, (19, 19), (10, 1), 0.1),
        (NOTHING, (19, 19), (9, 9), 0.6),
    ],
)
def test_most_specific_evidence_decides(
    offer: Pair, category: Pair, overall: Pair, expected: float
) -> None:
    known = propensities(offer, category, overall)
    assert known.share(OFFER, CATEGORY).at(0.6) == pytest.approx(expected, rel=1e-15)


def test_model_is_asked_where_evidence_is_not_enough() -> None:
    assert propensities().share(OFFER, None).model == 1
    assert propensities((50, 6)).share(OFFER, CATEGORY) == Share(0.12, 0.0)
    assert propensities().share(99, None).at(0.3) == 0.3
    share = propensities((30, 6)).share(OFFER, CATEGORY)
    assert (share.known, share.model) == (6 / 40, 10 / 40)


def test_smoothing_weight() -> None:
    evidence = Evidence(((OFFER, 10, 5),), (), 100, 20)
    assert Propensities(evidence, 30).share(OFFER, None).at(0.9) == pytest.approx((5 + 6) / 40)
    assert Propensities(evidence, 0).share(OFFER, None).at(0.9) == 0.5


def test_what_counts() -> None:
    rows = [
        (2, "impression", "", 100),
        (2, "outcome", "Click", 7),
        (2, "outcome", "deferred", 50),
        (2, "impression", "accept", 3),
        (1, "conversion", "", 4),
        (1, "outcome", "opt_out", 6),
        (3, "outcome", "expired", 9),
    ]
    assert tally(rows) == ((1, 10, 4), (2, 103, 10))
    assert {*CONVERTS} < {*OUTCOMES["positive"]}
    assert not {*OUTCOMES["positive"]} & {*OUTCOMES["negative"]}


def test_counts_of_a_tenant(tenant: Tenant) -> None:
    category = factories.CategoryFactory(tenant=tenant)
    first, second = factories.OfferFactory.create_batch(2, tenant=tenant, category=category)
    loose = factories.OfferFactory(tenant=tenant)
    foreign = factories.OfferFactory()
    now = datetime.now(UTC)

    def item(offer: int, kind: str, outcome: str = "", minutes: int = 5) -> dict[str, object]:
        at = now - timedelta(minutes=minutes)
        return {
            "offer": offer,
            "interaction_type": kind,
            "outcome": outcome,
            "customer_key": "c",
            "at": at,
        }

    record_interactions(
        tenant,
        [
            *[item(first.pk, "impression")] * 3,
            item(first.pk, "outcome", "click"),
            item(second.pk, "outcome", "reject"),
            item(loose.pk, "impression"),
            item(loose.pk, "impression", minutes=-1),
        ],
    )
    record_interactions(foreign.tenant, [item(foreign.pk, "impression")])
    found = count_evidence(tenant, now)
    assert found.offers == ((first.pk, 3, 1), (second.pk, 1, 0), (loose.pk, 1, 0))
    assert found.categories == ((category.pk, 4, 1),)
    assert (found.total, found.positive) == (5, 1)
    assert count_evidence(factories.TenantFactory(), now) == Evidence()
