"""Formulas: what the parser refuses, and columns against an interpreter of one row at a time."""

import math
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.errors import Rejected
from executor.flow.formula import MAX_LENGTH, UNITS, parse_formula
from executor.flow.formula_columns import evaluate
from executor.flow.formula_values import DTYPES, Clock
from executor.flow.types import Kind
from tests.formula_oracle import Row

CLOCK = Clock(datetime(2026, 3, 22, 23, 30, tzinfo=UTC), "Asia/Tokyo")
LOCAL = CLOCK.local


def value_of(text: str, output: str = "text", **names: Any) -> Any:
    names = {name.replace("__", "."): value for name, value in names.items()}
    return evaluate(parse_formula(text), names, 1, CLOCK, output).item()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-2 * -3 - 1", "5"),
        ("7 % 4", "3"),
        ("-7 % 4", "-3"),
        ("1 / 0", None),
        ("1 % 0", None),
        ("70530 / 100", "705.3"),
        ("round(705.3, 2)", "705.3"),
        ("date_diff('2026-01-01', '2026-02-12', 'weeks')", "6"),
        ("1e308 * 10", None),
        ("sqrt(-1)", None),
        ("sqrt(2.25)", "1.5"),
        ("pow(2, 10)", "1024"),
        ("'a' + 1", "a1"),
        ("1 + '1'", "11"),
        ("'3' * '4'", "12"),
        ("'x' * 2", None),
        ("1 < 2", "1"),
        ("1 = 2", "0"),
        ("1 <> 2", "1"),
        ("'b' > 'a' && !('a' == 'b')", "1"),
        ("not 1 == 2 and true", "1"),
        ("0 || false or ''", "0"),
        ("1 > 2 ? 'a' : 2 > 1 ? 'b' : 'c'", "b"),
        ("null ? 1 : 2", "2"),
        ("null == null", "1"),
        ("null + 1", None),
        ("concat('a', null, 2, 0.5)", "a20.5"),
        ("coalesce(null, 1 / 0, 'x')", "x"),
        ("min(3, 1, 2) + max(1, 5)", "6"),
        ("min(1, null)", None),
        ("round(2.5) + round(-2.5)", "0"),
        ("round(2.345, 2)", "2.35"),
        ("round(1e300, 2) == 1e300", "1"),
        ("upper('straße') + lower('ÄB') + trim('  x ')", "STRASSEäbx"),
        ("length('a€😀')", "3"),
        ("left('abc', 2) + right('abc', 2) + substring('abc', 2, 1)", "abbcb"),
        ("contains('abc', 'bc') + starts_with('abc', 'ab') + ends_with('abc', 'x')", "2"),
        ("if(2, 'y', 'n')", "y"),
        ("text(today())", "2026-03-23"),
        ("text(now())", "2026-03-23 08:30:00"),
        ("hour(now())", "8"),
        ("weekday('2026-03-22')", "0"),
        ("year('2026-03-22') + month('2026-03-22') + day('2026-03-22')", "2051"),
        ("year('2026-13-01')", None),
        ("days_between('2026-03-01', today())", "22"),
        ("date_diff('2000-02-29', '2026-02-28', 'years')", "25"),
        ("date_diff('2026-03-31', '2026-02-28', 'months')", "-1"),
        ("text(add_days('2024-02-28', 2))", "2024-03-01"),
        ("add_days('2024-02-28', 1e12)", None),
        ("date('2026-03-22') < '2026-04-01'", "1"),
    ],
)
def test_what_a_formula_means(text: str, value: str | None) -> None:
    assert value_of(text) == value


def test_names_are_columns_or_one_value_for_all() -> None:
    names = {
        "customer.balance": pl.Series([1.5, None, math.nan]),
        "customer.number": pl.Series([2**62 + 1, 2, 3]),
        "customer.vip": pl.Series([True, False, None]),
        "bonus": 2,
    }
    formula = parse_formula("customer.balance * bonus")
    assert evaluate(formula, names, 3, CLOCK, "number").to_list() == [3.0, None, None]
    formula = parse_formula("concat(customer.number, customer.vip ? '*' : '')")
    expected = ["4611686018427387905*", "2", "3"]
    assert evaluate(formula, names, 3, CLOCK, "text").to_list() == expected
    assert formula.names == ("customer.number", "customer.vip")
    assert evaluate(parse_formula("bonus"), names, 3, CLOCK, "text").to_list() == ["2"] * 3
    assert evaluate(
        formula, {n: pl.Series(names[n][:0]) for n in formula.names}, 0, CLOCK, "text"
    ).is_empty()


def test_a_division_by_one_value_is_exact() -> None:
    column = pl.Series([float(n) for n in range(1, 2_000)])
    found = evaluate(parse_formula("x / 100"), {"x": column}, len(column), CLOCK, "number")
    assert found.to_list() == [n / 100 for n in range(1, 2_000)]
    found = evaluate(parse_formula("round(x / 7, 2)"), {"x": column}, len(column), CLOCK, "number")
    assert found.to_list() == [float(f"{n / 7:.2f}") for n in range(1, 2_000)]


def test_an_output_type_is_what_comes_out() -> None:
    assert value_of("'12.50'", "number") == 12.5
    assert value_of("'1_000'", "number") is None
    assert value_of("'inf'", "number") is None
    assert value_of("today()", "number") is None
    assert value_of("'" + "a" * 1900 + "'") == "a" * 1900
    assert value_of("concat(x, x)", x="a" * 5_000) == "a" * 10_000
    assert value_of("concat(x, x)", x="a" * 5_001) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "position 1: found the end, expected a value"),
        ("1 +", "position 4: found the end, expected a value"),
        ("1 2", "position 3: found 2, expected an operator or the end"),
        ("(1", 'position 3: found the end, expected an operator or ")"'),
        ("a ? b", 'position 6: found the end, expected a ":" and what holds otherwise'),
        ("'abc", "position 1: found a text without its closing quote, expected a value or an"),
        ("a # b", "position 3: found #, expected a value or an operator"),
        ("nope(1)", 'position 1: found the function "nope", expected one of: abs, add_days,'),
        ("sqrt(1, 2)", "position 1: found 2 arguments of sqrt, expected 1"),
        ("round(1, x)", "position 1: found another second argument of round, expected an integer"),
        ("date_diff(a, b, 'eons')", "position 1: found another third argument of date_diff"),
        ("__import__('os')", 'position 1: found the function "__import__", expected one of'),
        ("1e999", "position 1: found 1e999, expected a number below 1.8e308"),
        ("a" * (MAX_LENGTH + 1), "has 2001 characters; a formula may have at most 2000"),
        ("(" * 60 + "1" + ")" * 60, "position 51: more than 50 levels within one another"),
        ("-" * 60 + "1", "position 51: more than 50 levels within one another"),
        ("+".join("a" * 60), "has more than 50 operations within one another"),
    ],
)
def test_what_is_no_formula_says_where(text: str, message: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_formula(text)
    assert str(refused.value).startswith(message)


texts = st.text(alphabet="aBß€😀 é0159.-'", max_size=6) | st.sampled_from(
    ["", "12", "-3.5", "1e3", "2026-02-28", "2024-02-29", "0001-01-01", "inf", "nan", "9" * 400]
)
numbers = (
    st.floats()
    | st.integers(-20, 20).map(float)
    | st.sampled_from([0.5, -2.5, 1e308, -1e308, 5e-324, 0.00001234, 2.0**53, 1e16, -0.0])
)
days = st.dates(date(1, 1, 1), date(9999, 12, 31)) | st.dates(date(2020, 1, 1), date(2030, 1, 1))
COLUMNS: dict[str, tuple[Kind, Any]] = {
    "customer.n": (Kind.NUMBER, numbers),
    "m": (Kind.NUMBER, numbers),
    "customer.i": (Kind.INTEGER, st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)),
    "customer.t": (Kind.TEXT, texts),
    "u": (Kind.TEXT, texts),
    "customer.d": (Kind.DATE, days),
    "e": (Kind.DATE, days),
    "customer.s": (Kind.DATETIME, st.datetimes(LOCAL.replace(1900), LOCAL.replace(2100))),
}
leaves = (
    st.sampled_from([*COLUMNS, "missing", "null", "true", "false", "today()", "now()"])
    | st.integers(0, 12).map(str)
    | st.sampled_from(["0.1", "2.5", "1e300", "'a'", "''", "'7'", "'2026-03-01'"])
)


def composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]
    one = ["abs", "floor", "ceil", "sqrt", "number", "text", "date", "upper", "lower", "trim"]
    one += ["length", "year", "month", "day", "hour", "weekday", "-", "!"]
    two = ["contains", "starts_with", "ends_with", "left", "right", "days_between", "add_days"]
    many = ["min", "max", "coalesce", "concat"]
    call = st.builds(lambda f, a: f"{f}({a})", st.sampled_from(one), inner)
    units = st.sampled_from(UNITS)
    return (
        st.builds(lambda a, o, b: f"({a} {o} {b})", inner, st.sampled_from(operators), inner)
        | call
        | st.builds(lambda f, a, b: f"{f}({a}, {b})", st.sampled_from(two), inner, inner)
        | st.builds(
            lambda f, a: f"{f}({', '.join(a)})",
            st.sampled_from(many),
            st.lists(inner, min_size=1, max_size=3),
        )
        | st.builds(lambda a, n: f"round({a}, {n})", inner, st.integers(0, 10))
        | st.builds(lambda a, b, c: f"({a} ? {b} : {c})", inner, inner, inner)
        | st.builds(lambda a, b, c: f"if({a}, {b}, {c})", inner, inner, inner)
        | st.builds(lambda a, b, c: f"substring({a}, {b}, {c})", inner, inner, inner)
        | st.builds(lambda a, b, u: f"date_diff({a}, {b}, '{u}')", inner, inner, units)
    )


rows = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in COLUMNS.items()})


@settings(max_examples=150, deadline=None)
@given(st.recursive(leaves, composed, max_leaves=8), st.lists(rows, min_size=1, max_size=4))
def test_columns_agree_with_an_interpreter_of_rows(text: str, table: list[dict[str, Any]]) -> None:
    formula = parse_formula(text)
    names = {
        name: pl.Series([row[name] for row in table], dtype=DTYPES[kind], strict=True)
        for name, (kind, _) in COLUMNS.items()
    }
    names["customer.s"] = (
        names["customer.s"]
        .dt.replace_time_zone("Asia/Tokyo", ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    )
    kinds: dict[str, str | None] = {name: str(kind) for name, (kind, _) in COLUMNS.items()}
    kinds["missing"] = None
    for output in ("text", "number"):
        found = evaluate(formula, {**names, "missing": None}, len(table), CLOCK, output)  # type: ignore[arg-type]
        expected = [
            Row({**cleaned(row), "missing": None}, kinds, LOCAL).output(formula.root, output)
            for row in table
        ]
        assert found.to_list() == expected, text


def cleaned(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
