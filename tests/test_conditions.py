from datetime import UTC, date, datetime
from typing import Any

import pytest

from executor.errors import Rejected
from executor.flow import regex
from executor.flow.conditions import Group, Leaf, describe, fields, parse_condition, to_json
from executor.flow.operators import INT64_MAX, INT64_MIN, Op
from executor.flow.types import Kind

KINDS = {
    "age": Kind.INTEGER,
    "balance": Kind.NUMBER,
    "loan": Kind.TEXT,
    "vip": Kind.BOOLEAN,
    "born": Kind.DATE,
    "seen": Kind.DATETIME,
}
NEVER = (Op.IN, ())
ALWAYS = (Op.IS_NOT_NULL, None)


def leaf(field: object, operator: object, *value: object) -> dict[str, object]:
    data = {"field": field, "operator": operator}
    return {**data, "value": value[0]} if value else data


def folded(field: str, operator: str, *value: object) -> tuple[Op, Any]:
    condition = parse_condition(leaf(field, operator, *value), KINDS, "filters")
    assert isinstance(condition, Leaf)
    return condition.operator, condition.operand


def errors(data: object, kinds: Any = KINDS, path: str = "filters") -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        parse_condition(data, kinds, path)
    return caught.value.errors


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("gt", 1.5, (Op.GTE, 2)),
        ("gte", 1.5, (Op.GTE, 2)),
        ("lt", 1.5, (Op.LTE, 1)),
        ("lte", -1.5, (Op.LTE, -2)),
        ("gt", 2.0, (Op.GT, 2)),
        ("eq", 2.0, (Op.EQ, 2)),
        ("eq", 1.5, NEVER),
        ("neq", 1.5, ALWAYS),
        ("eq", 2**63, NEVER),
        ("neq", 2**63, ALWAYS),
        ("gt", INT64_MAX, (Op.GT, INT64_MAX)),
        ("gt", 2**63, NEVER),
        ("gte", 1e30, NEVER),
        ("lt", 10**400, ALWAYS),
        ("lte", INT64_MIN - 1, NEVER),
        ("gte", -1e30, ALWAYS),
        ("in", [1, 1.5, 2.0, 2**63, 1], (Op.IN, (1, 2))),
        ("in", [1.5], NEVER),
        ("not_in", [1.5], ALWAYS),
        ("not_in", [3, 1.5], (Op.NOT_IN, (3,))),
    ],
)
def test_folds_operands_of_whole_number_fields(operator: str, value: object, expected: Any) -> None:
    assert folded("age", operator, value) == expected


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("balance", "eq", 3, 3.0),
        ("balance", "in", [-0.0, 0, 1], (0.0, 1.0)),
        ("loan", "eq", "", ""),
        ("vip", "neq", False, False),
        ("born", "lt", "2000-02-29", date(2000, 2, 29)),
        ("seen", "lt", "2000-02-29", datetime(2000, 2, 29, tzinfo=UTC)),
        ("seen", "eq", "2000-02-29T10:00", datetime(2000, 2, 29, 10, tzinfo=UTC)),
        ("seen", "eq", "2000-02-29 10:00:00.25Z", datetime(2000, 2, 29, 10, 0, 0, 250_000, UTC)),
        ("seen", "eq", "2000-03-01T01:30+02:00", datetime(2000, 2, 29, 23, 30, tzinfo=UTC)),
    ],
)
def test_normalises_values_to_the_kind(
    field: str, operator: str, value: object, expected: object
) -> None:
    operand = folded(field, operator, value)[1]
    assert operand == expected
    assert type(operand) is type(expected)


@pytest.mark.parametrize(
    ("alias", "op"),
    [
        ("=", Op.EQ),
        ("==", Op.EQ),
        ("equals", Op.EQ),
        ("!=", Op.NEQ),
        (">", Op.GT),
        (">=", Op.GTE),
        ("<", Op.LT),
        ("<=", Op.LTE),
    ],
)
def test_accepts_aliases(alias: str, op: Op) -> None:
    assert folded("balance", alias, 1) == (op, 1.0)


def test_accepts_aliases_of_the_null_tests() -> None:
    assert folded("loan", "exists") == (Op.IS_NOT_NULL, None)
    assert folded("loan", "not_exists", None) == (Op.IS_NULL, None)


NUMBER = "must be a number, got"
FINITE = "must be a finite number between -1.8e308 and 1.8e308"
NULL_HINT = "; use is_null or is_not_null"
INSTANT = (
    "must have a time, as in 2026-01-31T09:00:00Z: a date alone works with gt, gte, lt and lte only"
)


@pytest.mark.parametrize(
    ("field", "operator", "value", "message"),
    [
        ("age", "eq", True, f"{NUMBER} true"),
        ("age", "eq", "1", f'{NUMBER} "1"'),
        ("age", "eq", float("nan"), FINITE),
        ("balance", "eq", float("inf"), FINITE),
        ("balance", "eq", 10**400, FINITE),
        ("balance", "eq", None, f"{NUMBER} null{NULL_HINT}"),
        ("loan", "eq", 1, "must be text in quotes, got 1"),
        ("loan", "eq", "a\0b", "must not contain the character NUL"),
        ("loan", "eq", "\ud800", "must be valid Unicode, got half of a surrogate pair"),
        ("loan", "eq", "x" * 10_001, "has 10001 characters, at most 10000 are allowed"),
        ("loan", "eq", {1, 2}, "must be text in quotes, got a set"),
        ("vip", "eq", 1, "must be true or false, got 1"),
        ("born", "eq", "2000-02-30", '"2000-02-30" is not a date of the calendar'),
        ("born", "eq", "20000201", 'must be a date like 2026-01-31, got "20000201"'),
        ("born", "eq", None, f"must be a date like 2026-01-31, got null{NULL_HINT}"),
        (
            "born",
            "eq",
            "2000-02-01T00:00:00Z",
            'must be a date without a time, got "2000-02-01T00:00:00Z"',
        ),
        (
            "seen",
            "gt",
            "yesterday",
            'must be a date and time like 2026-01-31T09:00:00Z, got "yesterday"',
        ),
        (
            "seen",
            "gt",
            "0001-01-01T00:00+01:00",
            '"0001-01-01T00:00+01:00" is not a time between the years 1 and 9999',
        ),
        ("seen", "neq", "2000-02-01", INSTANT),
        ("loan", "in", "no", 'in takes a list of values, got "no"'),
        ("age", "in", [0] * 10_001, "has 10001 values, at most 10000 are allowed"),
        ("loan", "is_null", True, "is_null takes no value, remove it"),
    ],
)
def test_refuses_values(field: str, operator: str, value: object, message: str) -> None:
    assert errors(leaf(field, operator, value)) == [("filters.value", message)]


def test_names_the_position_of_each_bad_list_value() -> None:
    assert errors(leaf("age", "in", [1, "2", None])) == [
        ("filters.value[1]", f'{NUMBER} "2"'),
        ("filters.value[2]", f"{NUMBER} null{NULL_HINT}"),
    ]
    assert errors(leaf("seen", "in", ["2000-01-01"])) == [("filters.value[0]", INSTANT)]


def test_collects_every_fault() -> None:
    group = {"combinator": "XOR", "conditions": [leaf("age", "regex", "x"), 7], "not": 1}
    found = errors([leaf("balanse", "eq", 1), {"conditions": 3}, group, leaf("vip", "eq")])
    assert found == [
        (
            "filters[0].field",
            'unknown field "balanse"; did you mean "balance"?'
            " available: age, balance, born, loan, seen, vip",
        ),
        ("filters[1].conditions", "must be a list of conditions, got 3"),
        ("filters[2]", 'unknown key "not"; allowed: combinator, conditions'),
        ("filters[2].combinator", 'must be "AND" or "OR", got "XOR"'),
        (
            "filters[2].conditions[0].operator",
            '"regex" does not work on a field of kind integer; allowed: eq, neq, gt, gte, lt, lte,'
            " in, not_in, is_null, is_not_null",
        ),
        ("filters[2].conditions[1]", "must be a condition, a group or a list, got 7"),
        ("filters[3].value", "is required: eq takes one value"),
    ]


def test_refuses_malformed_leaves() -> None:
    assert errors({**leaf("age", "like", 1), "vaule": 2}, path="") == [
        ("", 'unknown key "vaule"; allowed: field, operator, value'),
        (
            "operator",
            'unknown operator "like"; allowed: eq, neq, gt, gte, lt, lte, in, not_in, is_null,'
            " is_not_null",
        ),
    ]
    assert errors({**leaf("age", "eq", 1), "x": 2})[0][0] == "filters"
    assert errors(leaf(None, "eq", 1)) == [("filters.field", "must name a field, got null")]
    assert errors(leaf("nothing", ["eq"], 1), {})[0] == (
        "filters.field",
        'unknown field "nothing"; available: none',
    )


def test_asks_a_function_for_the_kind_of_a_field() -> None:
    def kind(name: str) -> Kind | None:
        if name == "range":
            raise Rejected("type int4range is not supported")
        return KINDS.get(name)

    assert parse_condition(leaf("age", "eq", 1), kind, "f") == Leaf("age", Op.EQ, 1)
    assert errors([leaf("range", "eq", 1), leaf("agee", "eq", 1)], kind) == [
        ("filters[0].field", "type int4range is not supported"),
        ("filters[1].field", 'unknown field "agee"'),
    ]


def test_limits_depth_and_size() -> None:
    data: object = leaf("age", "eq", 1)
    for _ in range(10):
        data = [data]
    assert parse_condition(data, KINDS, "f") == Leaf("age", Op.EQ, 1)
    assert errors([data]) == [("filters" + "[0]" * 10, "groups are nested more than 10 deep")]
    assert errors([leaf("age", "eq", 1)] * 201) == [("filters", "has more than 200 conditions")]
    assert errors([leaf("age", "eq", "x")] * 100_000)[-1][1] == "has more than 200 conditions"
    assert len(errors([7] * 100_000)) == 201
    assert len(errors(leaf("age", "in", ["x"] * 10_000))) == 10


def test_reads_empty_groups_only_at_the_root() -> None:
    assert parse_condition([], KINDS, "f") == Group("and", ())
    needs = "needs at least one condition"
    assert errors({"combinator": "or", "conditions": []}) == [("filters.conditions", needs)]
    assert errors([leaf("age", "eq", 1), []]) == [("filters[1]", needs)]


def test_describes_names_fields_and_writes_itself_back() -> None:
    data = {
        "combinator": "or",
        "conditions": [
            [leaf("balance", ">", 1000), leaf("loan", "eq", "n\u00e9")],
            leaf("seen", "gte", "2000-01-01T12:00+01:00"),
            leaf("age", "in", list(range(12))),
            leaf("born", "not_in", ["2000-01-01"]),
            leaf("vip", "is_null"),
        ],
    }
    condition = parse_condition(data, KINDS, "f")
    assert describe(condition) == (
        '(balance > 1000 and loan = "n\u00e9") or seen >= 2000-01-01T11:00:00Z'
        " or age in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more) or born not in (2000-01-01)"
        " or vip is null"
    )
    assert fields(condition) == frozenset(KINDS)
    written = to_json(condition)
    assert written["combinator"] == "OR"
    assert written["conditions"][1] == leaf("seen", "gte", "2000-01-01T11:00:00Z")
    assert parse_condition(written, KINDS, "f") == condition
    assert describe(Group("and", ())) == "always"


@pytest.mark.parametrize(
    ("pattern", "position", "problem"),
    [
        (r"a\1", 2, r"\1"),
        (r"\bword", 1, r"\b"),
        ("a\\", 2, r"a \ at the end"),
        ("(?=x)", 2, "a group that starts with (?"),
        ("(?i)x", 2, "a group that starts with (?"),
        ("(?P<n>x)", 2, "a group that starts with (?"),
        ("a+?", 3, "? after a repetition (lazy and possessive)"),
        ("a{2}{3}", 5, "{ after a repetition (lazy and possessive)"),
        ("*a", 1, "* has nothing to repeat; write \\* to match it"),
        ("^*", 2, "a repeated ^"),
        ("a{,3}", 2, "a { that is not {m}, {m,} or {m,n}; write \\{ to match it"),
        ("a{3", 2, "a { that is not {m}, {m,} or {m,n}; write \\{ to match it"),
        ("a{3,2}", 2, "{3,2} (m exceeds n, or n 255)"),
        ("a{256}", 2, "{256} (m exceeds n, or n 255)"),
        ("(a", 1, "a ( without its )"),
        ("a)", 2, "a ) without its ("),
        ("[a", 1, "a [ without its ]"),
        ("[]a]", 2, "] inside a class; write \\] to match it"),
        ("[[:alpha:]]", 2, "[ inside a class; write \\[ to match it"),
        ("[z-a]", 2, "a range that ends before it starts (z-a)"),
        ("[a-c-e]", 5, "- in the middle of a class; write \\- to match it"),
        (r"[\d-z]", 4, "a range that starts with a class"),
        (r"[\D]", 2, r"\D"),
        ("(" * 21 + ")" * 21, 22, "more than 20 nested groups"),
    ],
)
def test_refuses_patterns_naming_the_position(pattern: str, position: int, problem: str) -> None:
    message = f"pattern, position {position}: {problem} is not allowed; {regex.ALLOWED}"
    assert errors(leaf("loan", "regex", pattern)) == [("filters.value", message)]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a" * 501, "has 501 characters, at most 500 are allowed in a pattern"),
        (
            "(a{40}){40}",
            "repeats too much: written out it must have at most 1000 characters",
        ),
        (
            "(a?|b{0,2}|){64}",
            "repeats too much: written out it must have at most 255 optional parts",
        ),
    ],
)
def test_bounds_patterns(pattern: str, problem: str) -> None:
    assert errors(leaf("loan", "regex", pattern)) == [("filters.value", problem)]


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("", "(?:)"),
        (r"^\d+\.\w?$", r"(?:^[0-9]+\.[0-9A-Z_a-z]?$)"),
        (r"(?:a|b{2,})*\S", "(?:(?:a|b{2,})*[^\t-\r ])"),
        (r"[^\]a-c\-&\s]{3}", "(?:[^\\]a-c\\-\\&\t-\r ]{3,3})"),
        ("[a-][-b]}]\\n", "(?:[a\\-][\\-b]\\}\\]\n)"),
        ("(|x){0,2}.", "(?:(?:|x){0,2}.)"),
    ],
)
def test_writes_one_pattern_for_both_engines(pattern: str, written: str) -> None:
    assert regex.to_postgres(pattern) == written
    assert regex.to_rust(pattern) == f"(?s){written}"
