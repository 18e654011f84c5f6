"""What a plan reads of a customer besides the columns of the segment, all of it frozen with them.

Each input becomes one or more columns of the frozen rows, under a name that no column of a table
can have taken: conditions and scores then read it like any other column.
"""

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal

from executor.flow.types import Kind

#: The frozen columns with the customer's key, and with h(key).
KEY, HASH = "_key", "_hash"
#: Starts the name of a column that is not one of the segment's.
MARK = "="

Source = Literal["contacts", "impressions", "outcomes"]
Aggregate = Literal["count", "last"]


@dataclass(frozen=True, slots=True)
class Enrichment:
    """Columns of another schema's row, found by a column of the customer (or of one before).

    The key column of that schema is unique, so nothing multiplies customers. Column `c` is named
    `<prefix>.c`, and is null where no row is found.
    """

    prefix: str
    relation_schema: str
    relation_name: str
    key_column: str
    #: A column of the segment, or `<prefix>.<column>` of an enrichment before this one.
    lookup: str
    kinds: Mapping[str, Kind]

    def name(self, column: str) -> str:
        return f"{self.prefix}.{column}"


@dataclass(frozen=True, slots=True)
class SegmentFlag:
    """Whether the customer's key is in a segment: a boolean, never null."""

    view: str
    key_column: str

    @property
    def name(self) -> str:
        return f"{MARK}segment:{self.view}"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of the customer's history, up to the instant of the run.

    `count` is how many events there are (0 if none), `last` the seconds from the latest event to
    the instant of the run (null if there is none). Only events from `since` on count, and of
    those only the ones that every given list of keys (or words) has.
    """

    source: Source
    aggregate: Aggregate = "count"
    since: datetime | None = None
    outcomes: tuple[str, ...] = ()
    offers: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    creatives: tuple[int, ...] = ()
    campaigns: tuple[int, ...] = ()
    without_campaigns: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The same for equal metrics, whatever else the plan reads."""
        told = json.dumps(asdict(self), default=str, sort_keys=True)
        return f"{MARK}{self.source}:{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def read_of(enrichments: tuple[Enrichment, ...], columns: Set[str]) -> tuple[Enrichment, ...]:
    """Those that the columns, or the lookup of one behind, need; with what is read of each."""
    wanted = set(columns)
    found: list[Enrichment] = []
    for one in reversed(enrichments):
        if any(one.name(column) in wanted for column in one.kinds):
            used = {name: kind for name, kind in one.kinds.items() if one.name(name) in wanted}
            found.append(replace(one, kinds=used))
            wanted.add(one.lookup)
    return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything the freeze puts beside the columns of the segment that the plan reads."""

    enrichments: tuple[Enrichment, ...] = ()
    segments: tuple[SegmentFlag, ...] = ()
    metrics: tuple[Metric, ...] = ()
