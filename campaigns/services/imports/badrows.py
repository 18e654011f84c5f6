"""The file that collects the rows an import leaves out."""

import csv
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from campaigns.services.imports.records import BadRow


class BadRowFile:
    """CSV of line number, reason and raw row. It appears, complete, when the import succeeds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> Self:
        self._file = self._partial.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(("line", "reason", "row"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink()

    def write(self, rows: Iterable[BadRow]) -> None:
        """Add rows, in the order of their lines."""
        for row in sorted(rows, key=lambda row: row.line):
            column = f'column "{row.column}": ' if row.column else ""
            raw = row.raw.decode(errors="backslashreplace")
            self._writer.writerow((row.line, column + row.reason, raw))
            self.count += 1
