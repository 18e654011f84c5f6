"""Creatives of winners: where variables come from, what stands for missing values, who fails."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from executor.errors import Rejected
from executor.flow.catalog import Catalog, ChannelFacts, CreativeFacts, OfferFacts
from executor.flow.creatives import creative_faults
from executor.flow.formula_values import Clock
from executor.flow.plan import Candidate, Plan, Ranking, ScorePlan
from executor.flow.types import Kind
from executor.personalize import Personalizer, compile_personalization
from kaireon import ids

CLOCK = Clock(datetime(2026, 3, 22, 12, tzinfo=UTC), "Asia/Tokyo")
KINDS = {
    "first_name": Kind.TEXT,
    "balance": Kind.NUMBER,
    "visits": Kind.INTEGER,
    "vip": Kind.BOOLEAN,
    "seen": Kind.DATETIME,
}
FRAME = pl.DataFrame(
    {
        "_key": ["C1", "C2", "C3"],
        "first_name": ["Ana & Co", "", None],
        "balance": [1200.0, float("nan"), 0.5],
        "visits": [3, None, 4],
        "vip": [True, False, None],
        "seen": [datetime(2026, 3, 1, 20, tzinfo=UTC)] * 3,
    },
    schema_overrides={"seen": pl.Datetime("us", "UTC")},
)
OFFERS = (
    OfferFacts(
        1,
        "Gold",
        tags=("a", "b"),
        custom_fields={"rate": 0.5, "hint": ""},
        computed=(("bonus", "customer.balance * rate", "number"),),
    ),
    OfferFacts(2, "Silver"),
)
OFFER_ID = ids.encode("Offer", 1)
CHANNELS = (ChannelFacts(1, "Email"),)


def made(content: dict[str, Any], *items: dict[str, Any], kind: str = "email_text") -> Personalizer:
    creative = CreativeFacts(
        7, "Spring", 1, 1, template_type=kind, content=content, personalization=items
    )
    plan = Plan(
        offers=OFFERS,
        channels=CHANNELS,
        candidates=(Candidate(0, 0, 7), Candidate(1, 0, None)),
        steps=(),
        dropped=(),
        score=ScorePlan((), ()),
        ranking=Ranking(),
        columns=frozenset(),
    )
    return compile_personalization(plan, Catalog(creatives=(creative,)), KINDS, CLOCK)


def lines(personalizer: Personalizer, name: str = "content.body") -> list[str | None]:
    """The column for the three customers, and why one fails in place of it."""
    everybody = np.arange(3)
    found = personalizer.render(FRAME, everybody, np.zeros(3, dtype=np.int16), [name])
    assert found.failed.tolist() == [reason is not None for reason in found.reasons]
    pairs = zip(found.columns[name], found.reasons, strict=True)
    return [text if reason is None else reason for text, reason in pairs]


@pytest.mark.parametrize("tail", ["", "{{ 'x' | capitalize | remove: 'X' }}"])
@pytest.mark.parametrize(
    ("body", "items", "expected"),
    [
        ("{{ customer_id }} {{ offer_id }}", [], [f"C{n} {OFFER_ID}" for n in (1, 2, 3)]),
        ("{{ visits }}", [], ["3", '"visits" has no value', "4"]),
        ("{{ customer.balance }}", [], ["1200", '"customer.balance" has no value', "0.5"]),
        ("{{ n }}", [{"variable": "n", "source": "customer.first_name", "fallback": "you"}],
         ["Ana & Co", "you", "you"]),
        ("{{ first_name }}", [{"key": "first_name", "fallback": "you"}],
         ["Ana & Co", "you", "you"]),
        ("{{ first_name | default: 'you' }}", [], ["Ana & Co", "you", "you"]),
        ("{{ offer.tags }} {{ channel.name }} {{ personalization.rate }}", [],
         ["a, b Email 0.5"] * 3),
        ("{{ b }}", [{"variable": "b", "source": "personalization.bonus"}],
         ["600", '"b" has no value', "0.25"]),
        ("{{ personalization.hint }}", [], ['"personalization.hint" has no value'] * 3),
        ("{{ visits }}", [{"variable": "visits", "fallback": 0}], ["3", "0", "4"]),
        ("{{ visits }}", [{"variable": "visits", "fallback": "none"}], ["3", "none", "4"]),
        ("{{ no_such }}", [{"variable": "no_such", "fallback": "-"}], ["-"] * 3),
        ("{{ seen }}", [], ["2026-03-02 05:00:00"] * 3),
        ("{% if vip %}VIP{% else %}all{% endif %}", [], ["VIP", "all", "all"]),
    ],
)  # fmt: skip
def test_where_a_value_comes_from(
    body: str, items: list[dict[str, Any]], expected: list[str], tail: str
) -> None:
    found = lines(made({"body": body + tail}, *items))
    found = [line.removeprefix('creative "Spring", body: ') for line in found if line is not None]
    assert found == expected


def test_values_are_escaped_in_html_but_not_in_subjects_and_addresses() -> None:
    fields = dict.fromkeys(("body", "subject", "ctaUrl"), "{{ first_name | default: '<i>' }}")
    html = made(fields, kind="email_html")
    assert lines(html, "content.body")[:2] == ["Ana &amp; Co", "<i>"]
    assert lines(html, "content.subject")[:2] == ["Ana & Co", "<i>"]
    assert lines(html, "content.ctaUrl")[:2] == ["Ana & Co", "<i>"]


def test_a_variable_that_only_the_target_system_reads_must_have_a_value() -> None:
    handed_on = made({}, {"variable": "name", "source": "customer.first_name"})
    assert handed_on.names == ("personalization.bonus", "personalization.name")
    fault = 'creative "Spring": "name" has no value'
    assert lines(handed_on, "personalization.name") == ["Ana & Co", fault, fault]


def test_winners_without_a_creative_have_computed_fields_alone() -> None:
    found = made({"body": "x"}).render(
        FRAME, np.array([0, 0]), np.array([1, 0]), ["personalization.bonus", "content.body"]
    )
    assert [column.to_list() for column in found.columns.values()] == [[None, "600"], [None, "x"]]
    assert not found.failed.any()
    assert found.failures == {"bonus": 0}
    none = made({"body": "x"}).render(FRAME, np.array([], int), np.array([], int), ["content.body"])
    assert none.columns["content.body"].to_list() == []


def test_what_no_customer_can_have_is_refused_by_name() -> None:
    with pytest.raises(Rejected) as refused:
        made({"body": "{{ first_nam }}{{ personalization.x }}"})
    (first, second) = refused.value.errors
    assert first[0] == 'creatives["Spring"].first_nam'
    assert first[1].startswith('the customers have no column "first_nam"; did you mean "first_na')
    assert second[1] == 'the offer "Gold" has no custom field "x"'


@pytest.mark.parametrize(
    ("content", "items", "fault"),
    [
        ({"subject": "{{ x"}, [], ("content.subject", "cannot be read: line 1: expected '}}'")),
        ({"body": "{{ x | nope }}"}, [], ("content.body", 'unknown filter "nope"; the filters')),
        ({"data": {"a": ["{{ x }}"]}}, [], ("content.data", "only a text may have variables")),
        ({}, ["x"], ("personalization[0]", "must be a JSON object")),
        ({}, [{"source": "customer.x"}], ("personalization[0].variable", "must be a name of 1")),
        ({}, [{"variable": "offer"}], ("personalization[0].variable", '"offer" is no name of')),
        ({}, [{"variable": "x", "size": 1}], ("personalization[0].size", "is unknown; a variable")),
        ({}, [{"variable": "x", "fallback": []}], ("personalization[0].fallback", "must be a te")),
        ({}, [{"variable": "x", "source": "a.b"}], ("personalization[0].source", "must be custo")),
        ({}, [{"variable": "x"}, {"key": "x"}], ("personalization[1].variable", '"x" is there al')),
    ],
)
def test_what_no_segment_could_make_right(
    content: dict[str, Any], items: list[Any], fault: tuple[str, str]
) -> None:
    ((path, message),) = creative_faults("email_html", content, items)
    assert path == fault[0]
    assert message.startswith(fault[1])
