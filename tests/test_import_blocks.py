"""The fast cut of a CSV file into blocks against the slow reading of its records one by one."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.services.imports.blocks import Shape, good_records
from campaigns.services.imports.csvfile import CsvFile
from campaigns.services.imports.records import Record, scan

PIECES = [
    "a",
    "b\\.",
    ",",
    "\n",
    "\r\n",
    "\r",
    '"',
    '""',
    '"x,\ny"',
    "1,2\n",
    "1,2\r\n",
    '"q""",z\n',
]
BYTES = [piece.encode() for piece in PIECES] + [b"\xc3\xa9", b"\xff", b"\0"]
HEADER = b"h,i\n"


def read(file: CsvFile) -> tuple[list[Record], list[tuple[int, bytes]]]:
    """All records and bad rows; the records of a batch must be those of its data."""
    records, bad = [], []
    for batch in file.batches():
        found = batch.records()
        in_data = scan(batch.data, ",", final=True).records
        assert [record.fields for record in found] == [record.fields for record in in_data]
        assert len(found) == batch.row_count
        records += found
        bad += [(row.line, row.raw) for row in batch.bad]
    return records, bad


@settings(
    derandomize=True,
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(BYTES), max_size=40), st.integers(1, 50))
def test_block_size_changes_nothing(tmp_path: Path, pieces: list[bytes], size: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER + b"".join(pieces))
    file = CsvFile.open(path, delimiter=",", encoding="utf-8")
    whole = read(file)
    assert read(file) == whole
    small = CsvFile.open(path, delimiter=",", encoding="utf-8")
    small.piece_bytes = size
    assert read(small) == whole
    assert read(small) == whole
    assert whole[0] == good_records(b"".join(pieces), 2, Shape(",", 2))


@settings(
    derandomize=True,
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.lists(st.text("a,;é\"\n\r' \\", max_size=6), min_size=3, max_size=3)))
def test_reads_back_what_was_written(tmp_path: Path, rows: list[list[str]]) -> None:
    quoted = [[field.replace('"', '""') for field in row] for row in rows]
    lines = ["h,i,j", *(",".join(f'"{field}"' for field in row) for row in quoted)]
    path = tmp_path / "rows.csv"
    path.write_bytes("\r\n".join(lines).encode())
    records, bad = read(CsvFile.open(path, delimiter=",", encoding="utf-8"))
    assert [[(field or b"").decode() for field in record.fields] for record in records] == rows
    assert bad == []
