"""Templates: what is refused, what a missing value does, and the fast path against Liquid."""

import math
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.errors import Rejected
from executor.flow.formula_values import DTYPES, finite
from executor.flow.template_columns import Variable, compile_template
from executor.flow.templates import Number, Template, number_text, parse_template, render
from executor.flow.types import Kind

NOW = datetime.fromisoformat("2026-03-22 09:00")


def parsed(text: str, *, html: bool = False) -> Template:
    return parse_template(text, html=html, now=NOW)


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("Hi {{ first_name }}!", {"first_name": "Ana"}, "Hi Ana!"),
        ("{{ customer.city }}", {"customer.city": "Rome"}, "Rome"),
        ("{{ customer['home town'] }}", {"customer.home town": "Rome"}, "Rome"),
        ("{{ n }} {{ n | times: 2 }}", {"n": Number(5.0)}, "5 10.0"),
        ("{{ n | round }} {{ n | round: 1 }}", {"n": Number(2.45)}, "2 2.5"),
        ("{{ n | round }}", {"n": Number(-2.5)}, "-3"),
        ("{{ name | default: 'friend' }}", {}, "friend"),
        ("{% if name %}{{ name }}{% else %}you{% endif %}", {}, "you"),
        ("{% if name == 'a' or age < 3 %}a{% else %}b{% endif %}", {}, "b"),
        ("{{ 'now' | date: '%d.%m.%Y' }}", {}, "22.03.2026"),
        ("{{ d | date: '%d %B' }}", {"d": date(2026, 2, 1)}, "01 February"),
        ("{% for i in (1..3) %}{{ i }}{% endfor %}", {}, "123"),
        ("one\r\ntwo", {}, "one\r\ntwo"),
    ],
)
def test_what_a_template_renders(text: str, values: dict[str, Any], result: str) -> None:
    assert render(parsed(text), values) == (result, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{{ first_name }}", '"first_name" has no value'),
        ("{{ customer.city | upcase }}", '"customer.city" has no value'),
        ("{{ points | plus: 5 }}", '"points" has no value'),
        ("{{ 'a' | append: b }}", '"b" has no value'),
        ("{{ 1 | divided_by: 0 }}", "divided_by: can't divide by 0"),
        ("{{ 'x' | date: '%Y' }}", '"x" is no date'),
        ("{{ 'inf' | round }}", "round needs a number"),
        ("{% for i in (1..2000) %}x{% endfor %}", "loop iteration limit reached"),
        (
            "{% assign s = 'ab' %}{% for i in (1..99) %}{% assign s = s | append: s %}{% endfor %}",
            "local namespace limit reached",
        ),
    ],
)
def test_what_cannot_be_rendered_says_why(text: str, fault: str) -> None:
    assert render(parsed(text), {}) == (None, fault)


def test_only_values_are_escaped_and_only_in_html() -> None:
    text = "<b>{{ v }}</b>{{ w | default: '<i>' }}"
    assert render(parsed(text), {"v": "<&>"}) == ("<b><&></b><i>", None)
    assert render(parsed(text, html=True), {"v": "<&>"}) == ("<b>&lt;&amp;&gt;</b><i>", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ x", "cannot be read: line 1: expected '}}', found end of file"),
        ("a\n{% nope %}", "cannot be read: line 2: unexpected tag 'nope'"),
        ("{% include 'x' %}", "cannot be read: line 1: unexpected tag 'include'"),
        ("{{ x | nope }}", 'unknown filter "nope"; the filters are: abs, append, at_least,'),
        ("{{ x | safe }}", 'unknown filter "safe"; the filters are: abs,'),
        ("{{ customer }}", '"customer" is no variable but a group of them, as in customer.name'),
        ("{{ a[0] }}", '"a.0" is no variable; variables have names alone, such as first_name'),
        ("{{ a.b }}{{ a }}", '"a.b" is no variable: a value has no parts'),
        ("{{ (1..9) | join }}", "a range such as (1..3) may stand only in a for tag"),
        ("x" * 200_001, "has 200001 characters; a template may have at most 200000"),
    ],
)
def test_what_is_no_template_is_refused(text: str, message: str) -> None:
    with pytest.raises(Rejected) as refused:
        parsed(text)
    assert str(refused.value).startswith(message)


def test_a_number_is_written_as_in_columns() -> None:
    values = [1e-5, 1.5e-5, -1.25e-5, 0.0001, 1e-7, 1e16, -1e300, 0.1, 5e-324, 12.0, -0.0, 2.0**53]
    column = Variable(pl.col("n"), Kind.NUMBER).text
    assert pl.DataFrame({"n": values}).select(column)["n"].to_list() == [*map(number_text, values)]


texts = st.text(alphabet="aBß€é<>&'\" \r\n12", min_size=1, max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.5, -2.5, 1e-5, 2.45, 1e16, 3.0, -0.0]
)
KINDS: dict[str, tuple[Kind, Any]] = {
    "t": (Kind.TEXT, texts),
    "customer.u": (Kind.TEXT, texts),
    "n": (Kind.NUMBER, numbers),
    "offer.i": (Kind.INTEGER, st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    "b": (Kind.BOOLEAN, st.booleans()),
    "d": (Kind.DATE, st.dates()),
}
names = st.sampled_from([*KINDS])
literals = st.sampled_from(["'a'", "'<b>'", "''", "7"])
filters = (
    st.sampled_from(["upcase", "downcase", "round", "round: 2", "round: 0"])
    | st.builds(lambda literal: f"default: {literal}", literals)
    | st.just("capitalize")
)
outputs = st.builds(
    lambda name, chain: "{{ " + " | ".join([name, *chain]) + " }}",
    names,
    st.lists(filters, max_size=3),
)
questions = names | st.builds(
    lambda name, operator, literal: f"{name} {operator} {literal}",
    names,
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["'a'", "'B1'", "2", "-1", "2.5"]),
)
conditions = questions | st.builds(
    lambda a, word, b: f"{a} {word} {b}", questions, st.sampled_from(["and", "or"]), questions
)
pieces = st.recursive(
    outputs | st.sampled_from(["text ", "\r\n", "<i>", " "]),
    lambda inner: (
        st.builds(
            lambda c, a, b: f"{{% if {c} %}}{a}{{% else %}}{b}{{% endif %}}",
            conditions,
            inner,
            inner,
        )
        | st.builds(
            lambda c, a, d, b: f"{{% if {c} %}}{a}{{% elsif {d} %}}{b}{{% endif %}}",
            conditions,
            inner,
            conditions,
            inner,
        )
        | st.builds(lambda a, b: a + b, inner, inner)
    ),
    max_leaves=6,
)
rows = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in KINDS.items()})


@settings(max_examples=300, deadline=None)
@given(pieces, st.booleans(), st.lists(rows, min_size=1, max_size=4))
def test_both_paths_render_the_same(text: str, html: bool, table: list[dict[str, Any]]) -> None:
    template = parsed(text, html=html)
    frame = pl.DataFrame(
        [
            pl.Series(name, [row[name] for row in table], DTYPES.get(kind, pl.Boolean()))
            for name, (kind, _) in KINDS.items()
        ]
    )
    variables = {name: Variable(frame_column(name), kind) for name, (kind, _) in KINDS.items()}
    fast = compile_template(template, variables)
    if fast is None:
        return
    found = frame.select(fast.text.alias("text"), fast.fault.alias("fault"))
    found = pl.concat([found] * len(table)) if len(found) < len(table) else found
    for row, (result, fault) in zip(table, found.rows(), strict=True):
        values = {name: python(value) for name, value in row.items() if value is not None}
        slow = render(template, values)
        assert (None if fault else result, fault) == slow


def frame_column(name: str) -> pl.Expr:
    return finite(pl.col(name)) if KINDS[name][0] is Kind.NUMBER else pl.col(name)


def python(value: Any) -> Any:
    return Number(value) if isinstance(value, float) and math.isfinite(value) else value


def test_common_templates_take_the_fast_path() -> None:
    variables = {name: Variable(pl.col(name), kind) for name, (kind, _) in KINDS.items()}
    for text in (
        "no variable",
        "Hi {{ t }}, {{ n | round: 2 }}",
        "{{ t | default: 'friend' | upcase }}",
        "{% if n > 100 and b %}{{ customer.u }}{% elsif t == 'a' %}x{% else %}y{% endif %}",
    ):
        assert compile_template(parsed(text), variables), text
    assert compile_template(parsed("{{ t | capitalize }}"), variables) is None
