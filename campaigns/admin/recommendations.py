"""What the customers of one run got, a page at a time, in the order of their keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.admin.tables import NONE
from campaigns.models import CampaignRun, Channel, Creative, Offer, Recommendation

PAGE = 50
HEADERS = ("Customer", "Rank", "Offer", "Channel", "Creative", "Score")
MAX_RANK = 2**15 - 1


class Window(forms.Form):
    """Which recommendations to show; what makes no sense is as if it were not given."""

    customer = forms.CharField(
        required=False, strip=False, label="Customer", widget=UnfoldAdminTextInputWidget
    )
    #: The customer and rank that the page begins after, or ends before.
    key = forms.CharField(required=False, strip=False)
    rank = forms.IntegerField(required=False, min_value=1, max_value=MAX_RANK)
    back = forms.BooleanField(required=False)


@dataclass(frozen=True, slots=True)
class Page:
    search: forms.BoundField
    table: dict[str, Any]
    #: Query strings of the pages before and after; None where there is none.
    previous: str | None
    next: str | None


def read_page(run: CampaignRun, query: QueryDict) -> Page:
    """Read one page with at most four queries, however many recommendations there are."""
    window = Window(query)
    window.is_valid()
    given = window.cleaned_data
    customer, rank, back = given.get("customer"), given.get("rank"), given.get("back", False)
    rows = Recommendation.objects.filter(run_id=run.pk)
    if customer:
        rows = rows.filter(customer_key=customer)
    key = given.get("key", "") if rank is not None else None
    if key is not None:
        # Said in this way, PostgreSQL estimates it well and reads the page off the index.
        side, beyond = ("lte", "gte") if back else ("gte", "lte")
        rows = rows.filter(**{f"customer_key__{side}": key})
        rows = rows.exclude(**{"customer_key": key, f"rank__{beyond}": rank})
    order = ("-customer_key", "-rank") if back else ("customer_key", "rank")
    found = list(rows.order_by(*order)[: PAGE + 1])
    more, shown = len(found) > PAGE, found[:PAGE]
    if back:
        shown.reverse()
    # One who came from another page can go there again.
    has_previous = more if back else key is not None
    has_next = back or more
    return Page(
        search=window["customer"],
        table={"headers": HEADERS, "rows": named(run, shown)},
        previous=link(shown[0], customer, back=True) if shown and has_previous else None,
        next=link(shown[-1], customer) if shown and has_next else None,
    )


def link(row: Recommendation, customer: str | None, *, back: bool = False) -> str:
    values = {"key": row.customer_key, "rank": row.rank}
    values |= {"customer": customer} if customer else {}
    values |= {"back": "1"} if back else {}
    return f"?{urlencode(values)}#recommendations"


def named(run: CampaignRun, rows: Iterable[Recommendation]) -> list[list[Any]]:
    rows = list(rows)
    offers = names(Offer, run, {row.offer_id for row in rows})
    channels = names(Channel, run, {row.channel_id for row in rows})
    creatives = names(Creative, run, {row.creative_id for row in rows} - {None})
    return [
        [
            row.customer_key,
            row.rank,
            offers.get(row.offer_id, NONE),
            channels.get(row.channel_id, NONE),
            creatives.get(row.creative_id, NONE),
            f"{row.score:.6g}",
        ]
        for row in rows
    ]


def names(model: type, run: CampaignRun, keys: set[int]) -> dict[int, str]:
    """The present names of rows of the run's tenant; what has been deleted has none."""
    rows = model.objects.of(run.tenant_id).filter(pk__in=keys)
    return dict(rows.values_list("pk", "name")) if keys else {}
