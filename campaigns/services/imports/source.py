"""What a file of customers gives to the loader, whatever its format: columns and clean batches."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from campaigns.services.imports.records import BadRow, Record

#: Called with a phase ("check" or "load"), the bytes done and the bytes there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows as CSV that COPY reads as it is: UTF-8, one kind of line end, equal widths."""

    data: bytes
    #: Rows that were left out of `data`, and why.
    bad: tuple[BadRow, ...]
    row_count: int
    #: Bytes of the file that are read once this batch is.
    position: int
    #: The rows of `data` one by one, numbered as in the file; slow, for explaining a failure.
    records: Callable[[], list[Record]]


class Source(Protocol):
    """An open file: its columns are known, its rows can be read any number of times."""

    @property
    def unit(self) -> str:
        """What the numbers of its records count: line or row."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    @property
    def delimiter(self) -> str:
        """What separates the fields of its batches."""
        ...

    @property
    def headers(self) -> tuple[str, ...]:
        """Column names as the file has them."""
        ...

    @property
    def declared(self) -> Mapping[int, str]:
        """Types the file itself declares, by position; a CSV file declares none."""
        ...

    @property
    def description(self) -> str:
        """How the file is read, for the user: encoding and delimiter."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Read the rows in file order; memory does not grow with the file."""
        ...


def read_ahead(source: Source) -> Iterator[Batch]:
    """The batches, the next one prepared in a thread while the caller works on this one."""
    batches = source.batches()
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, batches, None)
        while batch := coming.result():
            coming = thread.submit(next, batches, None)
            yield batch
