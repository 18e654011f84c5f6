"""Every format holds what was decided, to the same bytes however the customers were cut."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from campaigns.models import CampaignRun, Recommendation, RunFile
from executor import fileformat, runner
from executor.fileformat import FORMATS
from executor.storage import Output, open_storage
from tests import world as worlds
from tests.clients import api_client
from tests.world import World

KINDS = ["csv", "json", "parquet"]
COLUMNS = ["customer_id", "rank", "score", "offer_name", "category", "channel", "creative_id"]
HARD = ["", "a,b", 'say "hi"', "two\nlines", "\r\n", "tab\t", "naïve 🎉", "ש", "\\n", "},{", None]
LINES = pl.DataFrame(
    {
        "customer_id": [f"C{number}" for number in range(1100)],
        "rank": pl.Series(range(1100), dtype=pl.Int16),
        "score": [number / 7 for number in range(1100)],
        "text": HARD * 100,
    }
)


def file_of(kind: str, chunks: Sequence[pl.DataFrame], schema: pl.Schema = LINES.schema) -> bytes:
    """The file of the lines, each part of it read in pieces of 64 bytes."""

    def pieces(part: bytes) -> Iterator[bytes]:
        yield from (part[at : at + 64] for at in range(0, len(part), 64))

    buffer = io.BytesIO()
    parts = (pieces(FORMATS[kind].encode(chunk)) for chunk in chunks)
    FORMATS[kind].join(schema, parts, Output(buffer))
    return buffer.getvalue()


def rows_of(kind: str, data: bytes) -> list[dict[str, Any]]:
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    if kind == "json":
        return list(json.loads(data))
    return pl.read_parquet(data).to_dicts()


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_texts_numbers_and_gaps_come_back(kind: str) -> None:
    assert rows_of(kind, file_of(kind, [LINES[:7], LINES[7:]])) == LINES.to_dicts()


def test_csv_quotes_what_it_must() -> None:
    rows = rows_of("csv", file_of("csv", [LINES]))
    texts = [row["text"] for row in rows[: len(HARD)]]
    assert texts == ["" if text is None else text for text in HARD]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_into_chunks_does_not_show(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fileformat, "GROUP_ROWS", 300)
    whole = file_of(kind, [LINES])
    empty = LINES[:0]
    for size in (1, 100, 299, 700):
        chunks = [LINES[at : at + size] for at in range(0, LINES.height, size)]
        assert file_of(kind, chunks) == whole
        assert file_of(kind, [empty, chunks[0], empty, *chunks[1:], empty]) == whole


@pytest.mark.parametrize("chunks", [[], [LINES[:0]], [LINES[:0]] * 2])
def test_a_file_without_lines_is_valid(chunks: list[pl.DataFrame]) -> None:
    assert file_of("csv", chunks) == b"customer_id,rank,score,text\r\n"
    assert json.loads(file_of("json", chunks)) == []
    parquet = pl.read_parquet(file_of("parquet", chunks))
    assert (parquet.height, parquet.schema) == (0, LINES.schema)


def test_json_has_an_object_on_each_line() -> None:
    lines = file_of("json", [LINES[:1], LINES[1:3]]).decode().split("\n")
    assert lines[0] == "["
    assert lines[1] == '{"customer_id":"C0","rank":0,"score":0.0,"text":""},'
    assert [json.loads(line.removesuffix(","))["customer_id"] for line in lines[1:4]] == [
        "C0",
        "C1",
        "C2",
    ]
    assert lines[4:] == ["]", ""]


def test_what_is_written_is_hashed_and_counted() -> None:
    with open_storage().create("x") as out:
        out.write(b"abc")
        out.write(b"")
    assert out.written == open_storage().put("y", b"abc")
    assert open_storage().get("x") == b"abc"


def finished(world: World, **changes: Any) -> tuple[CampaignRun, RunFile]:
    run = world.run(**changes)
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == ("completed", "")
    return run, RunFile.objects.of(run.tenant).get(run=run)


@pytest.mark.usefixtures("clean_relations")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_writes_its_format(kind: str) -> None:
    world = worlds.build(300, k=2)
    run, file = finished(world, file_format=kind, file_columns=COLUMNS)
    assert (file.name, file.format) == (f"weekly-cards-run-1.{kind}", kind)
    rows = rows_of(kind, open_storage().get(file.storage_key))
    assert file.row_count == len(rows)
    stored = Recommendation.objects.filter(run_id=run.pk).order_by("customer_key", "rank")
    offers = {offer.pk: offer.name for offer in world.offers}
    text = str if kind == "csv" else lambda value: value
    missing = "" if kind == "csv" else None
    assert [(row["customer_id"], row["rank"], row["offer_name"]) for row in rows] == [
        (row.customer_key, text(row.rank), offers[row.offer_id]) for row in stored
    ]
    assert [float(row["score"]) for row in rows] == [float(row.score) for row in stored]
    assert {row["category"] for row in rows} == {missing}
    assert [*rows[0]] == COLUMNS


@pytest.mark.usefixtures("clean_relations")
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_runs_of_any_chunk_size_write_the_same_bytes(kind: str, settings: Any) -> None:
    world = worlds.build(5000, k=2)
    hashes = set()
    for rows in (1024, 98_304):
        settings.KAIREON_CHUNK_ROWS = rows
        hashes.add(finished(world, file_format=kind, max_per_offer=700)[1].sha256)
    assert len(hashes) == 1


@pytest.mark.usefixtures("clean_relations")
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_an_empty_segment_writes_an_empty_file(kind: str) -> None:
    _, file = finished(worlds.build(0), file_format=kind)
    assert file.row_count == 0
    assert rows_of(kind, open_storage().get(file.storage_key)) == []


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("json", "application/json"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_a_download_names_its_type(kind: str, content_type: str, tenant: Any) -> None:
    run = worlds.factories.RunFactory(campaign__tenant=tenant, run_number=1)
    written = open_storage().put("key", b"data")
    RunFile.unscoped.create(
        tenant=tenant,
        run=run,
        name=f"x.{kind}",
        format=kind,
        storage_key="key",
        size_bytes=written.size_bytes,
        row_count=0,
        sha256=written.sha256,
    )
    response = api_client(tenant).get(f"/api/v1/campaign-runs/{run.public_id}/file")
    assert response["Content-Type"] == content_type
    assert response.getvalue() == b"data"
