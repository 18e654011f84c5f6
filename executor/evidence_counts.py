"""Counts how customers have answered each offer so far, for propensities by evidence."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count

from campaigns.models import Interaction, Offer
from executor.flow.catalog import Evidence
from executor.flow.outcomes import IMPRESSION, OUTCOMES, word
from kaireon.access.models import Tenant

#: Offer, type, outcome, how many.
Row = tuple[int, str, str, int]


def count_evidence(tenant: Tenant, now: datetime) -> Evidence:
    """Count the tenant's interactions up to `now`, with one grouped query over all of them.

    A chance is an impression; where a channel reports fewer impressions than answers, each answer
    is one. An offer's evidence counts for the category it is in today.
    """
    rows = (
        Interaction.objects.filter(tenant_id=tenant.pk, at__lte=now)
        .order_by()
        .values_list("offer_id", "interaction_type", "outcome")
        .annotate(count=Count("id"))
    )
    by_offer = tally(rows)
    categories = dict(
        Offer.objects.of(tenant).filter(category__isnull=False).values_list("pk", "category_id")
    )
    chances, positives = Counter[int](), Counter[int]()
    for key, total, positive in by_offer:
        if key in categories:
            chances[categories[key]] += total
            positives[categories[key]] += positive
    return Evidence(
        offers=by_offer,
        categories=tuple((key, chances[key], positives[key]) for key in sorted(chances)),
        total=sum(total for _, total, _ in by_offer),
        positive=sum(positive for _, _, positive in by_offer),
    )


def tally(rows: Iterable[Row]) -> tuple[tuple[int, int, int], ...]:
    """(offer, chances, positive answers) of every offer that has any, by key."""
    seen, positive, negative = Counter[int](), Counter[int](), Counter[int]()
    for offer, interaction_type, outcome, count in rows:
        said = word(outcome or interaction_type)
        if IMPRESSION in (word(interaction_type), said):
            seen[offer] += count
        if said in OUTCOMES["positive"]:
            positive[offer] += count
        elif said in OUTCOMES["negative"]:
            negative[offer] += count
    chances = {
        offer: max(seen[offer], positive[offer] + negative[offer])
        for offer in {*seen, *positive, *negative}
    }
    return tuple((offer, chances[offer], positive[offer]) for offer in sorted(chances))
