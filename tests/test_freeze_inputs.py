"""What is frozen beside the segment: rows of other tables, segment flags, and the history."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from django.db import connection

from executor.errors import Rejected
from executor.flow.inputs import Enrichment, Inputs, Metric, SegmentFlag
from executor.flow.types import Kind
from executor.freeze import KEY, freeze, freeze_sql, read_chunk
from executor.progress import claim
from executor.spec import make_spec
from executor.storage import open_storage
from tests import past
from tests import world as worlds
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")
NOW = datetime(2026, 3, 22, tzinfo=UTC)
ACCOUNTS = Enrichment(
    "account", "data", "accounts", "owner", "customer_id", {"iban": Kind.TEXT, "rate": Kind.NUMBER}
)
BANKS = Enrichment("bank", "data", "banks", "iban", "account.iban", {"name": Kind.TEXT})


def execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)


def frozen(world: World, columns: set[str], inputs: Inputs) -> pl.DataFrame:
    run = world.run()
    spec = make_spec(run, NOW)
    lease = claim(run.pk)
    assert lease is not None
    chunks = freeze(
        spec,
        frozenset(columns),
        hashed=True,
        storage=open_storage(),
        lease=lease,
        look=lambda _number, frame: frame,
        inputs=inputs,
    )
    return pl.concat([read_chunk(open_storage(), chunk.input_key) for chunk in chunks])


def test_rows_of_other_tables_are_found_in_a_chain() -> None:
    world = worlds.build(5)
    execute(
        "CREATE TABLE data.accounts (owner text PRIMARY KEY, iban varchar(10), rate numeric);"
        "INSERT INTO data.accounts VALUES ('C0000001', 'X1', 0.5), ('C0000002', 'X2', 7),"
        " ('C0000004', NULL, 1), ('elsewhere', 'X1', 9);"
        "CREATE TABLE data.banks (iban text UNIQUE, name text);"
        "INSERT INTO data.banks VALUES ('X1', 'One'), (NULL, 'none'), ('X3', 'Three');"
    )
    inputs = Inputs(enrichments=(ACCOUNTS, BANKS))
    frame = frozen(world, {"age", "account.rate", "bank.name"}, inputs)
    assert frame.select(KEY, "age", "account.rate", "bank.name").rows() == [
        ("C0000001", 19, 0.5, "One"),
        ("C0000002", 20, 7.0, None),
        ("C0000003", 21, None, None),
        ("C0000004", 22, 1.0, None),
        ("C0000005", 23, None, None),
    ]


def test_what_nothing_reads_is_not_joined() -> None:
    world = worlds.build(1)
    inputs = Inputs(enrichments=(ACCOUNTS, BANKS))  # none of these tables exists
    assert frozen(world, {"age"}, inputs).height == 1


def test_a_key_that_is_there_twice_multiplies_nobody() -> None:
    world = worlds.build(3)
    execute(
        "CREATE TABLE data.accounts (owner text, iban text, rate float8);"
        "INSERT INTO data.accounts VALUES ('C0000001', 'b', 1), ('C0000001', 'a', 9),"
        " ('C0000001', 'a', 2), ('C0000002', NULL, NULL), ('C0000002', NULL, 4)"
    )
    frame = frozen(world, {"account.iban", "account.rate"}, Inputs(enrichments=(ACCOUNTS,)))
    assert frame.select(KEY, "account.iban", "account.rate").rows() == [
        ("C0000001", "a", 2.0),
        ("C0000002", None, 4.0),
        ("C0000003", None, None),
    ]


@pytest.mark.parametrize("pg_type", ["bigint", "numeric", "text", "float8"])
def test_keys_are_compared_as_their_texts(pg_type: str) -> None:
    world = worlds.build(3)
    execute(
        f"CREATE TABLE data.ages (years {pg_type} UNIQUE, word text);"
        "INSERT INTO data.ages VALUES (19, 'nineteen'), (21, 'twenty-one')"
    )
    ages = Enrichment("age", "data", "ages", "years", "age", {"word": Kind.TEXT})
    frame = frozen(world, {"age.word"}, Inputs(enrichments=(ages,)))
    assert frame["age.word"].to_list() == ["nineteen", None, "twenty-one"]


def test_numbers_that_are_one_once_cast_multiply_nobody() -> None:
    world = worlds.build(1)
    execute(
        "CREATE TABLE data.ages (years numeric UNIQUE, word text);"
        "INSERT INTO data.ages VALUES (19, 'b'), (19.00000000000000000001, 'a')"
    )
    ages = Enrichment("age", "data", "ages", "years", "age", {"word": Kind.TEXT})
    assert frozen(world, {"age.word"}, Inputs(enrichments=(ages,)))["age.word"].to_list() == ["a"]


def test_a_name_that_postgresql_would_cut_is_kept() -> None:
    world = worlds.build(1)
    long = "x" * 60
    execute(f"CREATE TABLE data.accounts (owner text PRIMARY KEY, {long} int)")
    one = Enrichment("account", "data", "accounts", "owner", "customer_id", {long: Kind.INTEGER})
    frame = frozen(world, {f"account.{long}"}, Inputs(enrichments=(one,)))
    assert frame[f"account.{long}"].to_list() == [None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("SELECT", 'the table data.accounts of the enrichment "account" is gone'),
        (
            "CREATE TABLE data.accounts (owner text, iban text)",
            'the table data.accounts no longer has the column "rate" of the enrichment "account"',
        ),
    ],
)
def test_what_is_gone_is_named(change: str, told: str) -> None:
    world = worlds.build(1)
    execute(change)
    with pytest.raises(Rejected) as error:
        frozen(world, {"account.rate"}, Inputs(enrichments=(ACCOUNTS,)))
    assert str(error.value) == told


def test_a_segment_that_is_gone_is_named() -> None:
    world = worlds.build(1)
    with pytest.raises(Rejected, match='the view "seg_gone" of a segment is gone'):
        frozen(world, set(), Inputs(segments=(SegmentFlag("seg_gone", "customer_id"),)))


def test_segment_flags_are_true_or_false_and_never_null() -> None:
    world = worlds.build(4)
    execute(
        f"CREATE VIEW segments.seg_odd AS SELECT * FROM {world.table} WHERE age % 2 = 1"
        f" UNION ALL SELECT * FROM {world.table} WHERE age = 19;"
        f"CREATE VIEW segments.seg_ages AS SELECT NULL::int AS years UNION ALL SELECT 20"
    )
    odd, ages = SegmentFlag("seg_odd", "customer_id"), SegmentFlag("seg_ages", "years")
    frame = frozen(world, {"age"}, Inputs(segments=(odd, ages)))
    assert frame[odd.name].to_list() == [True, False, True, False]
    assert frame[ages.name].to_list() == [False] * 4


def test_metrics_stand_beside_the_customers() -> None:
    world = worlds.build(3)
    hours = [timedelta(hours=number) for number in (1, 30, 50)]
    past.contacts(world.tenant, [{"customer_key": "C0000002", "at": NOW - ago} for ago in hours])
    day = Metric("contacts", since=NOW - timedelta(days=1))
    last = Metric("contacts", "last")
    answers = Metric("outcomes")
    frame = frozen(world, {"age", day.name}, Inputs(metrics=(day, last, answers, day)))
    assert frame.select(KEY, day.name, last.name, answers.name).rows() == [
        ("C0000001", 0, None, 0),
        ("C0000002", 1, 3600.0, 0),
        ("C0000003", 0, None, 0),
    ]
    assert frame.schema[day.name] == pl.Int64
    assert frame.schema[last.name] == pl.Float64


def test_inputs_change_nothing_of_what_was_frozen_without() -> None:
    world = worlds.build(50)
    plain = frozen(world, {"age", "email_ok"}, Inputs())
    metric = Metric("contacts")
    beside = frozen(world, {"age", "email_ok"}, Inputs(metrics=(metric,)))
    assert beside.drop(metric.name).equals(plain)


def test_it_is_one_statement() -> None:
    world = worlds.build(1)
    spec = make_spec(world.run(), NOW)
    statement = freeze_sql(spec, frozenset(), Inputs(metrics=(Metric("contacts"),)), hashed=False)
    assert statement.startswith('SELECT (("s"."customer_id")::text)::text COLLATE "C" AS "_key"')
    assert statement.endswith('ORDER BY (("s"."customer_id")::text)::text COLLATE "C"')


def test_more_than_postgresql_can_return_is_refused() -> None:
    world = worlds.build(1)
    spec = make_spec(world.run(), NOW)
    metrics = tuple(Metric("contacts", offers=(number,)) for number in range(1700))
    with pytest.raises(Rejected, match="1700 counts of the history; together at most 1600"):
        freeze_sql(spec, frozenset({"age"}), Inputs(metrics=metrics), hashed=True)
