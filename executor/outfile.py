"""Winners -> the file a marketer gets: a part per chunk, joined in chunk order."""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from executor.allocation import Winners
from executor.deliver import Delivery
from executor.fileformat import FORMATS
from executor.flow.plan import Candidate, Plan
from executor.job import Job
from executor.results import ResultRows
from executor.spec import RunSpec
from executor.storage import Written
from kaireon import ids


def _creative_id(spec: RunSpec, plan: Plan, candidate: Candidate) -> str | None:
    return ids.encode("Creative", candidate.creative_key) if candidate.creative_key else None


#: File columns that depend on the candidate alone.
CANDIDATE_COLUMNS: Mapping[str, Callable[[RunSpec, Plan, Candidate], str | None]] = {
    "offer_id": lambda _, plan, c: ids.encode("Offer", plan.offers[c.offer].key),
    "offer_name": lambda _, plan, c: plan.offers[c.offer].name,
    "category": lambda _, plan, c: plan.offers[c.offer].category_name or None,
    "channel": lambda _, plan, c: plan.channels[c.channel].name,
    "channel_id": lambda _, plan, c: ids.encode("Channel", plan.channels[c.channel].key),
    "creative_id": _creative_id,
}
#: File columns that are the same in every line.
RUN_COLUMNS: Mapping[str, Callable[[RunSpec], str]] = {
    "run_id": lambda spec: spec.run_id,
    "campaign": lambda spec: spec.campaign_name,
}
CREATIVE = "creative"
FILE_COLUMNS = ("customer_id", "rank", "score", *CANDIDATE_COLUMNS, CREATIVE, *RUN_COLUMNS)
#: What is a number; all else is text.
NUMBERS: Mapping[str, pl.DataType] = {"rank": pl.Int16(), "score": pl.Float64()}


def part(job: Job, rows: ResultRows, delivery: Delivery) -> bytes:
    """The lines of one chunk, ready to be joined with those of the others."""
    spec = job.spec
    given = {"customer_id": rows.keys, "rank": rows.ranks, "score": rows.scores}
    given |= delivery.columns
    columns = {
        name: given[name] if name in given else _looked_up(name, spec, job.plan, delivery.winners)
        for name in job.file_columns
    }
    lines = pl.DataFrame(columns, schema=_schema(job.file_columns))
    return FORMATS[spec.file.format].encode(lines)


def _schema(columns: Sequence[str]) -> pl.Schema:
    return pl.Schema({name: NUMBERS.get(name, pl.String()) for name in columns})


def _looked_up(name: str, spec: RunSpec, plan: Plan, winners: Winners) -> pl.Series:
    if name in RUN_COLUMNS:
        return pl.repeat(RUN_COLUMNS[name](spec), len(winners.row), eager=True)
    if name == CREATIVE:
        names = {creative.key: creative.name for creative in spec.catalog.creatives}
        found = [names.get(c.creative_key or 0) for c in plan.candidates]
    else:
        found = [CANDIDATE_COLUMNS[name](spec, plan, c) for c in plan.candidates]
    return pl.Series(found, dtype=pl.String).gather(winners.candidate)


def write(job: Job, key: str, part_keys: Sequence[str]) -> Written:
    """Join the parts into the whole file, an object of its own."""
    parts = (job.storage.stream(part_key) for part_key in part_keys)
    with job.storage.create(key) as out:
        FORMATS[job.spec.file.format].join(_schema(job.file_columns), parts, out)
    return out.written


def file_name(spec: RunSpec, run_number: int) -> str:
    return f"{file_stem(spec)}-run-{run_number}.{spec.file.format}"


def file_stem(spec: RunSpec) -> str:
    """The campaign's name as the start of a file name that is safe on every file system."""
    words = "".join(c if c.isascii() and c.isalnum() else "-" for c in spec.campaign_name.lower())
    return "-".join(word for word in words.split("-") if word)[:60] or "campaign"
