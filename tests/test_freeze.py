"""The freeze: one snapshot, in key order, of whatever types a customer table has."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from django.db import connection

from campaigns.models import CampaignRun, RunChunk
from executor.errors import Broken, Rejected
from executor.freeze import HASH, KEY, freeze, freeze_sql, read_chunk
from executor.progress import Lease, claim
from executor.spec import RunSpec, make_spec
from executor.storage import open_storage
from tests import world as worlds

pytestmark = pytest.mark.usefixtures("clean_relations")

EVERY_TYPE = """
CREATE TYPE data.mood AS ENUM ('glad', 'sad');
CREATE DOMAIN data.cents AS numeric(12, 2);
CREATE TABLE data.ds_types (
    id uuid, n numeric, d data.cents, m money, i interval, e data.mood, a int[], u uuid,
    day date, at timestamptz, local timestamp, flag boolean, small smallint, real real,
    j jsonb, b bytea, t time, ip inet
);
INSERT INTO data.ds_types VALUES (
    '00000000-0000-0000-0000-00000000000a', 1.5, 12.34, 99.9::numeric::money, '1 day 1 second',
    'glad', '{1,2}', '00000000-0000-0000-0000-0000000000ff', 'infinity', '-infinity',
    '2026-01-02 03:04:05', true, 7, 0.5, '{"k": 1}', '\\x01ff', '09:30', '10.0.0.1'
);
"""
FROZEN = {
    KEY: "00000000-0000-0000-0000-00000000000a",
    "n": 1.5,
    "d": 12.34,
    "m": 99.9,
    "i": 86_401.0,
    "e": "glad",
    "a": "[1,2]",
    "u": "00000000-0000-0000-0000-0000000000ff",
    "day": date(9999, 12, 31),
    "at": datetime(1, 1, 1, tzinfo=UTC),
    "local": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "flag": True,
    "small": 7,
    "real": 0.5,
    "j": '{"k": 1}',
    "b": "01ff",
    "t": "09:30:00",
    "ip": "10.0.0.1",
}
# printf 'pepperC0000001' | md5sum, and so on
GOLDEN = ["4113e006f34f8b54", "641c22c41237be81", "e8824948f18f2bf2"]


def spec_and_lease(run: CampaignRun) -> tuple[RunSpec, Lease]:
    spec = make_spec(run, datetime(2026, 3, 22, tzinfo=UTC))
    lease = claim(run.pk)
    assert lease is not None
    return spec, lease


def frozen(run: CampaignRun, columns: set[str], *, hashed: bool = False) -> list[pl.DataFrame]:
    spec, lease = spec_and_lease(run)
    storage = open_storage()
    seen: dict[int, pl.DataFrame] = {}
    chunks = freeze(
        spec,
        frozenset(columns),
        hashed=hashed,
        storage=storage,
        lease=lease,
        look=lambda number, frame: seen.setdefault(number, frame),
    )
    read = [read_chunk(storage, chunk.input_key) for chunk in chunks]
    assert [chunk.number for chunk in chunks] == list(seen)
    assert all(frame.equals(seen[number]) for number, frame in enumerate(read))
    return read


def test_every_type_of_the_list_is_frozen() -> None:
    world = worlds.build(1)
    view = f"segments.{world.campaign.segment.view_name}"
    with connection.cursor() as cursor:
        cursor.execute(EVERY_TYPE)
        cursor.execute(f"DROP VIEW {view}; CREATE VIEW {view} AS SELECT * FROM data.ds_types")
    schema = world.campaign.segment.base_schema
    schema.key_column = "id"
    schema.save()
    (frame,) = frozen(world.run(), set(FROZEN) - {KEY})
    assert frame.row(0, named=True) == FROZEN


def test_chunks_are_cut_in_key_order(settings) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    frames = frozen(worlds.build(2500).run(), {"age"})
    assert [frame.height for frame in frames] == [1024, 1024, 452]
    keys = pl.concat(frames)[KEY].to_list()
    assert keys == [f"C{number:07d}" for number in range(1, 2501)]


def test_hash_is_the_first_8_bytes_of_md5() -> None:
    world = worlds.build(3)
    world.tenant.salt = "pepper"
    world.tenant.save()
    (frame,) = frozen(world.run(), {"age"}, hashed=True)
    assert [f"{value & 0xFFFFFFFFFFFFFFFF:016x}" for value in frame[HASH]] == GOLDEN


def test_reads_only_the_columns_the_flow_uses() -> None:
    run = worlds.build(3).run()
    spec, _ = spec_and_lease(run)
    statement = freeze_sql(spec, frozenset({"age"}), hashed=False)
    assert statement == (
        'SELECT (("customer_id")::text)::text COLLATE "C" AS "_key", ("age")::bigint AS "age"'
        f' FROM "segments"."{spec.view}" ORDER BY (("customer_id")::text)::text COLLATE "C"'
    )


def test_refuses_a_column_that_is_gone() -> None:
    run = worlds.build(3).run()
    with pytest.raises(Rejected, match='no longer has the column "shoe_size"'):
        frozen(run, {"shoe_size"})


def test_an_expired_chunk_says_so(storage: Path) -> None:
    with pytest.raises(Broken, match="has expired"):
        read_chunk(open_storage(), "runs/1/1/input/000000.parquet")


def test_nothing_is_true_before_the_manifest(settings) -> None:
    world = worlds.build(10)
    run = world.run()
    frozen(run, {"age"})
    assert not RunChunk.objects.filter(run=run).exists()
    run.refresh_from_db()
    assert run.audience_count is None
