"""What must be true of the stored bytes: frozen customers, files, and what lies around them."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from django.conf import settings
from django.db import connection

from campaigns.management.drill.checks import Check, Finding, Runs, name_of
from campaigns.management.drill.patience import NotInTime, wait_until
from campaigns.models import CampaignRun, RunFile
from executor.freeze import KEY, read_chunk
from executor.storage import open_storage
from kaireon import ids

CLEARED_SECONDS = 30.0
LINES = ("customer_id", "rank", "offer_id", "channel_id", "score")


def check(runs: Runs) -> list[Finding]:
    return [Finding(name, len(runs), list(look(runs))) for name, look in CHECKS.items()]


def frozen_rows_are_whole(runs: Runs) -> Iterator[str]:
    """The frozen customers are the ones that were frozen, each key once and in order."""
    storage = open_storage()
    for run in runs:
        last = ""
        for chunk in run.chunks.order_by("number"):
            data = storage.get(chunk.input_key)
            if hashlib.sha256(data).hexdigest() != chunk.input_sha256:
                yield f"{name_of(run)}: the frozen chunk {chunk.number} is not what was frozen"
                continue
            keys = read_chunk(storage, chunk.input_key, [KEY])[KEY]
            unsorted = keys.filter(keys <= keys.shift(1, fill_value=last))
            if not unsorted.is_empty():
                yield f"{name_of(run)}: customer {unsorted[0]} is not in order, or frozen twice"
            last = keys[-1]


def files_are_the_results(runs: Runs) -> Iterator[str]:
    """One file, whose bytes are those that were noted, and whose lines are the run's results."""
    for run in runs:
        files = list(RunFile.objects.of(run.tenant_id).filter(run=run))
        if len(files) != 1:
            yield f"{name_of(run)} has {len(files)} files"
            continue
        data = open_storage().get(files[0].storage_key)
        noted = (files[0].size_bytes, files[0].sha256)
        if (len(data), hashlib.sha256(data).hexdigest()) != noted:
            yield f"{name_of(run)}: the stored file is not what was noted of it"
        yield from _compare(run, files[0], _lines(files[0].format, data))


def _lines(form: str, data: bytes) -> pl.DataFrame:
    if form == "parquet":
        frame = pl.read_parquet(io.BytesIO(data))
    elif form == "json":
        frame = pl.read_json(io.BytesIO(data))
    else:
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False)
    return frame.select(
        pl.col("customer_id").cast(pl.String),
        pl.col("rank").cast(pl.Int64),
        pl.col("offer_id").cast(pl.String),
        pl.col("channel_id").cast(pl.String),
        pl.col("score").cast(pl.Float64),
    )


RESULTS = (
    "COPY (SELECT customer_key, rank, offer_id, channel_id, score FROM campaigns_recommendation"
    " WHERE run_id = {} ORDER BY customer_key, rank) TO STDOUT (FORMAT csv)"
)


def _results(run: CampaignRun) -> pl.DataFrame:
    with connection.cursor() as cursor, cursor.copy(RESULTS.format(int(run.pk))) as stream:
        data = b"".join(bytes(piece) for piece in stream)
    types = dict(zip(LINES, (pl.String, pl.Int64, pl.Int64, pl.Int64, pl.Float64), strict=True))
    frame = pl.read_csv(io.BytesIO(data), has_header=False, schema=types)
    return frame.with_columns(
        _spelled(frame, "offer_id", "Offer"), _spelled(frame, "channel_id", "Channel")
    )


def _spelled(frame: pl.DataFrame, column: str, model: str) -> pl.Expr:
    keys = frame[column].unique().to_list()
    names = [ids.encode(model, key) for key in keys]
    return pl.col(column).replace_strict(keys, names, return_dtype=pl.String)


def _compare(run: CampaignRun, file: RunFile, lines: pl.DataFrame) -> Iterator[str]:
    results = _results(run)
    if lines.height != results.height or lines.height != file.row_count:
        yield (
            f"{name_of(run)} has {results.height} results, its file {lines.height} lines and"
            f" {file.row_count} noted"
        )
    only = pl.concat(
        [lines.join(results, on=LINES, how="anti"), results.join(lines, on=LINES, how="anti")]
    )
    if not only.is_empty():
        yield f"{name_of(run)}: file and results differ for customer {only['customer_id'][0]}"
    elif not lines.equals(results):
        yield f"{name_of(run)}: the file is not in the order of the customers"


CHECKS: dict[str, Check] = {
    "frozen customers are whole": frozen_rows_are_whole,
    "file, its digest and results agree": files_are_the_results,
}


def cleared(runs: Runs) -> Finding:
    """Runs that nothing disturbed leave their frozen customers and their file.

    The scratch is deleted once the run has ended, so that is waited for.
    """

    def left() -> list[str]:
        return [f"{name_of(run)} has left {path}" for run in runs for path in left_over(run)]

    with suppress(NotInTime):
        wait_until(lambda: not left(), CLEARED_SECONDS, "the scratch is deleted")
    return Finding("calm runs leave no scratch behind", len(runs), left())


def left_over(run: CampaignRun) -> list[Path]:
    """Stored objects of the run that no row names; a lost attempt may leave some, to no harm."""
    root = Path(unquote(urlsplit(settings.STORAGE_URL).path))
    named = set(run.chunks.values_list("input_key", flat=True))
    named |= {file.storage_key for file in RunFile.objects.of(run.tenant_id).filter(run=run)}
    stored = sorted(path for path in (root / f"runs/{run.pk}").rglob("*") if path.is_file())
    return [path for path in stored if path.relative_to(root).as_posix() not in named]
