"""Computed fields of winners: offer by offer, in the order they need each other."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from executor.compute import compile_computed
from executor.errors import Rejected
from executor.flow.catalog import Catalog, ChannelFacts, CreativeFacts, OfferFacts
from executor.flow.formula_values import Clock
from executor.flow.types import Kind

CLOCK = Clock(datetime(2026, 3, 22, 12, tzinfo=UTC), "UTC")
CHANNELS = (ChannelFacts(1, "Email"), ChannelFacts(2, "Text", channel_type="sms"))
KINDS = {"balance": Kind.NUMBER, "first_name": Kind.TEXT}
FRAME = pl.DataFrame({"balance": [100.0, None, 300.0], "first_name": ["Ana", "Bo", None]})


def offer(key: int, *computed: tuple[str, str, str], **fields: object) -> OfferFacts:
    return OfferFacts(key, f"Offer {key}", custom_fields=fields, computed=computed)


OFFERS = (
    offer(
        1,
        ("line", "concat(first_name_or, ': ', bonus)", "text"),
        ("bonus", "customer.balance * rate", "number"),
        ("first_name_or", "coalesce(customer.first_name, 'you')", "text"),
        rate=0.5,
    ),
    offer(2, ("bonus", "channel.channelType + ' ' + offer.priority", "text")),
    offer(3),
)


def test_each_winner_has_the_fields_of_its_offer() -> None:
    computed = compile_computed(OFFERS, CHANNELS, KINDS, CLOCK)
    assert computed.columns == {"balance", "first_name"}
    assert computed.outputs == {"bonus": "text", "first_name_or": "text", "line": "text"}
    found = computed.values(
        FRAME, np.array([2, 1, 0, 0]), np.array([0, 0, 1, 2]), np.array([0, 0, 1, 0])
    )
    assert {name: column.to_list() for name, column in found.columns.items()} == {
        "personalization.bonus": ["150", None, "sms 50", None],
        "personalization.first_name_or": ["you", "Bo", None, None],
        "personalization.line": ["you: 150", "Bo: ", None, None],
    }
    assert found.failures == {"bonus": 1, "first_name_or": 0, "line": 0}


def test_numbers_stay_numbers_where_all_offers_agree() -> None:
    computed = compile_computed([offer(1, ("n", "1 / 4", "number"))], CHANNELS, {}, CLOCK)
    none, two = np.array([], dtype=np.int64), np.array([0, 0])
    column = "personalization.n"
    assert computed.columns == frozenset()
    assert computed.values(FRAME, none, none, none).columns[column].dtype == pl.Float64
    assert computed.values(FRAME, two, two, two).columns[column].to_list() == [0.25] * 2


def test_a_column_there_is_not_is_refused_by_offer_and_field() -> None:
    with pytest.raises(Rejected) as refused:
        compile_computed([offer(1, ("n", "customer.balanse", "number"))], CHANNELS, KINDS, CLOCK)
    ((path, message),) = refused.value.errors
    assert path == 'offers["Offer 1"].customFields.n'
    assert message.startswith('the customers have no column "balanse"; did you mean "balance"?')


def test_the_catalog_keeps_custom_fields_and_content_in_json() -> None:
    creative = CreativeFacts(
        1, "c", 1, 1, content={"subject": "Hi"}, personalization=({"variable": "x"},)
    )
    catalog = Catalog(offers=OFFERS, creatives=(creative,))
    assert Catalog.from_json(catalog.to_json()) == catalog
